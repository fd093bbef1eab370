"""The commands about devices, and the options of every command that can use one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from tfpipe.cli.output import format_lines, format_option, print_result
from tfpipe.cli.paths import ARTIFACT

_HELP = (
    "local, ssh://user@host[:port], adb[:serial], browser[:webgpu], a name from devices.toml, or "
    "all of its names. May be given many times."
)


def device_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --device, --device-python and --runtime; the function gets `devices`, a tuple of
    names."""
    function = click.option("--device", "devices", multiple=True, callback=_names, help=_HELP)(
        function
    )
    function = click.option(
        "--runtime",
        metavar="NAME==VERSION",
        is_eager=True,
        expose_value=False,
        callback=lambda context, _, value: context.meta.update({"runtime": value}),
        help="On this machine another TFLite runtime, such as tflite-runtime==2.14.0, or oldest.",
    )(function)
    return click.option(
        "--device-python",
        metavar="PATH",
        is_eager=True,
        expose_value=False,
        callback=lambda context, _, value: context.meta.update({"device_python": value}),
        help="The device's Python (python3).",
    )(function)


def _names(context: click.Context, _: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    from tfpipe.devices.address import expand_names, parse_address

    settings = {"python": context.meta.get("device_python"), "runtime": context.meta.get("runtime")}
    names = expand_names(value or ("local",), **settings)
    kinds = {parse_address(name).kind for name in names}
    if settings["python"] is not None and not kinds & {"adb", "ssh"}:
        raise click.UsageError(
            f"--device-python {settings['python']} would change nothing here: only devices reached "
            "by ssh or adb have a Python of their own. Name one with --device, or leave it out."
        )
    if settings["runtime"] is not None and "local" not in kinds:
        raise click.UsageError(
            f"--runtime {settings['runtime']} would change nothing here: only this machine can "
            "choose, a device has the runtime that is installed there. Leave it out."
        )
    return tuple(names)


@click.group()
def runner() -> None:
    """The program that runs on devices.

    \b
    Example:
      tfpipe runner build --output runner.pyz
    """


@runner.command()
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="File to write.",
)
@format_option
def build(output: Path, output_format: str) -> None:
    """Write the device runner as one file, for Python 3.7 and newer.

    \b
    Example:
      tfpipe runner build --output runner.pyz
      python runner.pyz info
    """
    from tfpipe.devices.runner_zip import build_runner

    print_result(build_runner(output), output_format, format_lines)


@click.command("devices")
@click.argument("names", nargs=-1, metavar="[DEVICE]...")
@format_option
def list_devices(names: tuple[str, ...], output_format: str) -> None:
    """List devices and what they are: this machine, devices.toml, and what adb shows.

    \b
    Example:
      tfpipe devices --format text
    """
    from tfpipe.inventory import format_devices, list_devices

    print_result(list_devices(names), output_format, format_devices)


@click.command()
@click.argument("artifact", type=ARTIFACT)
@device_options
@click.option("--name", help="Name on the device; else the artifact's own.")
@click.option("--undo", is_flag=True, help="Go back to the version before.")
@format_option
def deploy(artifact: Path, devices: tuple[str, ...], output_format: str, **options: Any) -> None:
    """Copy an artifact to devices: only what changed, checked there, in one step.

    \b
    Example:
      tfpipe deploy runs/topics/exports/cpu-int8 --device ssh://pi@raspberrypi.local
    """
    from tfpipe.fleet import deploy_fleet, format_fleet, raise_failures

    result = deploy_fleet(artifact, devices, **options)
    print_result(result, output_format, format_fleet)
    raise_failures(result)
