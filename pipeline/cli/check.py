"""The command `tfpipe check`: a .tflite file → what will happen to it, exit 1 if it won't run."""

from __future__ import annotations

from pathlib import Path

import click

from tfpipe.cli.output import format_option, print_result


@click.command()
@click.argument("path", metavar="MODEL|ARTIFACT", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--target",
    help="Where it shall run whole: cpu, gpu, edgetpu, mediapipe or web; else the artifact's own "
    "target, or cpu.",
)
@click.option(
    "--runtime",
    metavar="NAME==VERSION",
    help="Runtime that loads it there, such as tflite-runtime==2.14.0; else the ai-edge-litert "
    "that is installed.",
)
@format_option
def check(path: Path, target: str | None, runtime: str | None, output_format: str) -> None:
    """Say whether a .tflite file, of anybody's, loads and runs whole; nothing of it is run.

    The codes of the findings are explained in docs/check.md.

    \b
    Example:
      tfpipe check model.tflite --target gpu --format text
    """
    from tfpipe.check import check, format_check

    result = check(path, target=target, runtime=runtime)
    print_result(result, output_format, format_check)
    if not result["ok"]:
        codes = dict.fromkeys(
            entry["code"] for entry in result["findings"] if entry["severity"] == "error"
        )
        raise click.ClickException(
            f"{path} does not run whole on {result['target']} with {result['runtime']}: "
            f"{', '.join(codes)}. The findings say what cures each."
        )
