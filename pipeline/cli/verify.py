"""`tfpipe verify`: whether an exported file computes what its model does, and where not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tfpipe.cli.devices import device_options
from tfpipe.cli.output import format_option, print_result
from tfpipe.cli.paths import ARTIFACT, FILE, RUN


@click.command()
@click.argument("artifact", type=ARTIFACT)
@click.option("--data", type=FILE, help="Labelled texts; else the run's test split.")
@click.option("--run", type=RUN, help="The run, if the artifact was moved out of it.")
@click.option("--layers", is_flag=True, help="Show instead where file and model differ, and why.")
@device_options
@format_option
def verify(
    artifact: Path, devices: tuple[str, ...], layers: bool, output_format: str, **options: Any
) -> None:
    """Prove that an exported file computes what its model does, on the whole test split.

    \b
    Example:
      tfpipe verify runs/topics/exports/cpu-int8
    """
    from tfpipe.verify import VerificationError, format_verification, verify

    if len(devices) > 1:
        raise click.UsageError("verify takes one --device.")
    if layers:
        if devices != ("local",):
            raise click.UsageError(
                "--layers looks into the file on this machine: leave --device out."
            )
        from tfpipe.layers import compare_layers, format_layers

        print_result(compare_layers(artifact, **options), output_format, format_layers)
        return
    try:
        result = verify(artifact, device=devices[0], **options)
        print_result(result, output_format, format_verification)
    except VerificationError as error:
        print_result(error.result, output_format, format_verification)
        raise
