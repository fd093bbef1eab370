"""The command that trains compressed variants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tfpipe.cli.given import is_given, refuse_in_vain
from tfpipe.cli.output import format_option, print_result
from tfpipe.cli.paths import FILE, RUN
from tfpipe.cli.teachers import teacher_options
from tfpipe.config import AUTO, load_compress_recipe


def read_columns(_: Any, __: Any, text: str) -> int | str:
    """Returns what `--low-rank` means."""
    if text == AUTO:
        return AUTO
    try:
        return int(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is neither a whole number nor {AUTO!r}.") from None


@click.command()
@click.argument("run", type=RUN)
@click.option("--as", "name", required=True, help="Name of the variant.")
@click.option("--from", "source", default="base", show_default=True, help="Variant to begin with.")
@click.option(
    "--recipe", type=FILE, help="TOML file of the options below; see `tfpipe recipe compress`."
)
@click.option("--shrink", default=0.0, help="Share of units to remove, such as 0.5.")
@click.option(
    "--low-rank",
    metavar="COLUMNS",
    default="0",
    callback=read_columns,
    help="Columns to leave in the embedding's table, such as 12; auto: as few as it bears, from 8.",
)
@click.option("--prune", default=0.0, help="Share of weights to set to zero, such as 0.8.")
@click.option(
    "--scan/--no-scan",
    default=True,
    show_default=True,
    help="Prune layers less that do not bear it; else all alike.",
)
@click.option(
    "--block-size",
    default=1,
    show_default=True,
    help="Weights of an output that are pruned together: 4 float32 or 16 int8 ones, as TFLite's "
    "sparse kernels read them.",
)
@click.option(
    "--cluster", default=0, help="Values to leave in each tensor but the logits', such as 16."
)
@click.option("--qat/--no-qat", default=False, help="Train with the rounding of the exported file.")
@click.option(
    "--scheme",
    default="int8",
    show_default=True,
    help="Of that file: int8; dynamic_int8 and dynamic_int4 round the weights alone.",
)
@teacher_options
@click.option(
    "--epochs",
    default=0,
    help="Passes over the data, each method; else 5, to shrink the train.epochs of the run.",
)
@click.option(
    "--learning-rate",
    default=0.0,
    help="The highest; else 0.3 of the run's own, all of it to shrink.",
)
@click.option("--data", type=FILE, help="The run's table, if it has moved.")
@click.option("--test", type=FILE, help="The run's test file, if it has moved.")
@click.option("--overwrite", is_flag=True, help="Replace an existing variant.")
@format_option
def compress(
    run: Path,
    name: str,
    recipe: Path | None,
    overwrite: bool,
    output_format: str,
    **options: Any,
) -> None:
    """Train a compressed variant of a run; `tfpipe export --variant NAME` writes its file, after
    --qat with its --scheme.

    \b
    Example:
      tfpipe compress runs/topics --as small --low-rank auto
    """
    written = load_compress_recipe(recipe) if recipe else {}
    options |= {key: value for key, value in written.items() if not is_given(key)}
    if not options["prune"]:
        reason = "it says how to prune. Give --prune SHARE, or leave it out."
        refuse_in_vain(["scan", "block_size"], reason)
    from tfpipe.cli.output import format_compression
    from tfpipe.cli.progress import ProgressDisplay
    from tfpipe.quiet import import_tensorflow

    import_tensorflow()
    from tfpipe.compress.options import CompressOptions
    from tfpipe.compress.variant import compress
    from tfpipe.train.teacher import Teaching

    teaching = Teaching.of(options.pop("teachers"), options.pop("unlabelled"))
    chosen = CompressOptions(**options, teaching=teaching)
    with ProgressDisplay() as progress:
        result = compress(run, name, chosen, overwrite=overwrite, progress=progress)
    print_result(result, output_format, format_compression)
