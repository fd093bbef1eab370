"""Options of `tfpipe export` that bring a Keras file → the run folder that is made of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from tfpipe.cli.paths import FILE

OPTIONS = (
    click.option(
        "--keras",
        "keras_file",
        type=click.Path(exists=True, path_type=Path),
        help="Your own .keras, .h5 or SavedModel; RUN is made of it.",
    ),
    click.option("--vocabulary", type=FILE, help="With --keras: one token a line, in id order."),
    click.option("--labels", type=FILE, help="With --keras: one label a line, in output order."),
    click.option(
        "--data", type=FILE, help="With --keras: labelled texts to calibrate and verify with."
    ),
    click.option("--text-column", help="With --keras: column with the texts."),
    click.option("--label-column", help="With --keras: column with the labels."),
    click.option("--multi-label", is_flag=True, help="With --keras: labels are separated by |."),
    click.option("--tokenizer", help="With --keras: its kind; else by the vocabulary's beginning."),
    click.option(
        "--lowercase/--keep-case",
        default=None,
        help="With --keras: lower-case texts, or not; else by the vocabulary.",
    ),
    click.option(
        "--sequence-length",
        type=click.IntRange(min=1),
        help="With --keras: tokens, where the model takes any.",
    ),
)
NEEDED = ("vocabulary", "labels", "data")
BROUGHT = (
    *NEEDED, "text_column", "label_column", "multi_label", "tokenizer", "lowercase",
    "sequence_length",
)  # fmt: skip


def keras_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options to a command."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def find_run(
    run: Path | None, keras_file: Path | None, options: dict[str, Any], *, overwrite: bool
) -> Path:
    """Returns the run to export, made of a Keras file if there is one; takes what belongs to the
    file out of `options`.

    Raises:
        UsageError: Neither a run nor a file, or something that belongs to a file is missing.
    """
    brought = {key: options.pop(key) for key in BROUGHT}
    if keras_file is None:
        given = [
            key
            for key, value in brought.items()
            if value is not None and (key != "multi_label" or value)
        ]
        if given:
            raise click.UsageError(f"--{given[0].replace('_', '-')} belongs to --keras FILE.")
        if run is None:
            raise click.UsageError("Give RUN, a trained run, or --keras FILE.")
        return run
    missing = [f"--{key}" for key in NEEDED if brought[key] is None]
    if missing:
        raise click.UsageError(f"--keras needs {', '.join(missing)} as well.")
    from tfpipe.import_keras import ImportOptions, format_import, import_keras

    run = run or Path("runs") / keras_file.stem
    content = import_keras(
        keras_file,
        run,
        ImportOptions(**brought),
        overwrite=overwrite,
        progress=lambda message: click.echo(message, err=True),
    )
    click.echo(format_import(content), err=True)
    for warning in content["data"]["warnings"]:
        click.echo(f"Warning: {warning}", err=True)
    return run
