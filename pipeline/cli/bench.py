"""The command that measures: options → results of one device or several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tfpipe.cli.devices import device_options
from tfpipe.cli.output import format_option, print_result

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@device_options
@click.option(
    "--num-threads",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="CPU threads of the interpreter.",
)
@click.option(
    "--delegate",
    help="cpu, xnnpack, none (no XNNPACK), gpu or edgetpu; else what the artifact is made for.",
)
@click.option(
    "--profile", default="quick", show_default=True, help="quick, mlperf, sustained or paced."
)
@click.option("--duration", type=float, metavar="SECONDS", help="For sustained (300) and paced.")
@click.option("--rate", type=float, metavar="HZ", help="Requests a second, for paced (5).")
@click.option("--profile-ops", is_flag=True, help="Also say where the time goes, op by op.")
@click.option(
    "--benchmark-model",
    type=FILE,
    help="Google's tool, for Android devices without Python; numerics are then not verified.",
)
@click.option("--texts", type=FILE, help="Texts to run; else the run's test split.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where the results go; else RUN/bench.",
)
@format_option
def bench(
    paths: tuple[Path, ...], devices: tuple[str, ...], output_format: str, **options: Any
) -> None:
    """Measure artifacts (or bare .tflite files) in turn: latency, memory, end to end.

    \b
    Example:
      tfpipe bench runs/topics/exports/cpu-float32 runs/topics/exports/cpu-int8
    """
    from dataclasses import replace

    from device_runner.profiles import OP_RUNS, choose_profile
    from tfpipe.bench import format_bench
    from tfpipe.bench.benchmark_tool import bench_with_tool
    from tfpipe.bench.progress import BenchProgress
    from tfpipe.fleet import bench_fleet

    duration, rate = options.pop("duration"), options.pop("rate")
    profile = choose_profile(options.pop("profile"), duration_s=duration, rate_hz=rate)
    profile = replace(profile, op_runs=OP_RUNS if options.pop("profile_ops") else 0)
    tool = options.pop("benchmark_model")
    if tool and (len(devices) > 1 or options.pop("texts") or options.pop("delegate")):
        raise click.UsageError(
            "--benchmark-model takes one --device, and no --texts and no --delegate."
        )
    if tool and profile.op_runs:
        raise click.UsageError(
            "--profile-ops would change nothing here: --benchmark-model times whole calls. Leave "
            "one of them out."
        )
    with BenchProgress(profile, len(paths)):
        if tool is None:
            result = bench_fleet(list(paths), devices, profile=profile, **options)
        else:
            result = bench_with_tool(list(paths), devices[0], tool, profile=profile, **options)
    print_result(result, output_format, format_bench)
    if result["failures"]:
        raise click.ClickException("\n".join(entry["error"] for entry in result["failures"]))
