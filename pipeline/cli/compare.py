"""The command `tfpipe compare`: two artifacts or files of results → a verdict and an exit code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tfpipe.cli.given import refuse_in_vain
from tfpipe.cli.output import format_option, print_result

_PATH = click.Path(exists=True, path_type=Path)


def parse_share(_: click.Context, __: click.Parameter, value: str) -> float:
    """Returns a share such as 5% or 0.05 as a fraction.

    Raises:
        click.BadParameter: No number, or one of 1 or more without its per cent sign.
    """
    text = value.strip()
    try:
        number = float(text.removesuffix("%"))
    except ValueError as error:
        raise click.BadParameter(
            f"{value!r} is not a share, expected one such as 5% or 0.05"
        ) from error
    if text.endswith("%"):
        return number / 100
    if number >= 1:
        raise click.BadParameter(f"{value!r} is ambiguous, expected {text}% or a number below 1")
    return number


@click.command()
@click.argument("a", type=_PATH)
@click.argument("b", type=_PATH)
@click.option(
    "--max-regression",
    callback=parse_share,
    default="5%",
    show_default=True,
    metavar="SHARE",
    help="How much slower B may be.",
)
@click.option(
    "--allow-different",
    multiple=True,
    metavar="FIELD",
    help="Setting that may differ, such as num_threads; once for each.",
)
@click.option("--device", default="local", show_default=True, help="Where to measure artifacts.")
@click.option(
    "--num-threads", default=1, show_default=True, type=click.IntRange(1), help="CPU threads."
)
@click.option(
    "--delegate",
    help="cpu, xnnpack, none (no XNNPACK), gpu or edgetpu; else what the artifact is made for.",
)
@click.option("--profile", default="quick", show_default=True, help="quick or mlperf.")
@click.option(
    "--texts",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Texts to run; else the run's test split.",
)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Record to write.")
@format_option
def compare(a: Path, b: Path, output_format: str, **options: Any) -> None:
    """Say whether B is slower than A: two artifacts, measured now in turn, or two bench files.

    Exits with 0 for pass and warn, with 1 for fail.

    \b
    Example:
      tfpipe compare old/exports/cpu-int8 new/exports/cpu-int8 --max-regression 5%
    """
    if a.suffix == b.suffix == ".json":
        refuse_in_vain(
            ["device", "num_threads", "delegate", "profile", "texts"],
            "two files of results are measured already. Give artifacts, or leave it out.",
        )
    from device_runner.profiles import choose_profile
    from tfpipe.bench.progress import BenchProgress
    from tfpipe.compare import MeasureOptions, compare, format_comparison

    profile = choose_profile(options.pop("profile"))
    keys = ("max_regression", "allow_different", "output")
    settings = {key: options.pop(key) for key in keys}
    with BenchProgress(profile, 3):
        record = compare(a, b, options=MeasureOptions(profile=profile, **options), **settings)
    print_result(record, output_format, format_comparison)
    if record["verdict"] == "fail":
        raise click.ClickException(
            "\n".join(reason for item in record["comparisons"] for reason in item["reasons"])
        )
