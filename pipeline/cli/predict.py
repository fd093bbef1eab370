"""The command that classifies texts: texts, a file or stdin → labels and scores."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from tfpipe.cli.devices import device_options
from tfpipe.cli.output import format_option, print_result
from tfpipe.cli.paths import ARTIFACT, FILE_OR_STDIN


@click.command()
@click.argument("artifact", type=ARTIFACT)
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option(
    "--file",
    type=FILE_OR_STDIN,
    help="Texts, one a line, or JSON lines (.jsonl) with a text each; - reads lines from stdin.",
)
@device_options
@format_option
def predict(
    artifact: Path,
    texts: tuple[str, ...],
    file: Path | None,
    devices: tuple[str, ...],
    output_format: str,
) -> None:
    """Classify texts with an artifact, as a device would.

    \b
    Example:
      tfpipe predict runs/topics/exports/cpu-int8 "a small bird with a red breast"
    """
    if bool(texts) == (file is not None):
        raise click.UsageError("Give texts or --file, one of them.")
    from device_runner.texts import texts_of_lines
    from tfpipe.fleet import raise_failures
    from tfpipe.predict import format_predictions
    from tfpipe.shards import predict_fleet

    if file == Path("-"):
        texts, file = tuple(texts_of_lines(sys.stdin.buffer, "stdin")), None
    result = predict_fleet(artifact, file or list(texts), devices)
    print_result(result, output_format, format_predictions)
    if not result.get("complete", True):
        raise_failures(result)
