"""`tfpipe verify --layers` → the layers' differences on stdout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tfpipe.cli_output import print_result


def show_layers(artifact: Path, device: str, output_format: str, **options: Any) -> None:
    """Compares an artifact's layers with its model's on this machine; prints what was found."""
    if device != "local":
        raise click.UsageError("--layers looks into the file on this machine: leave --device out.")
    from tfpipe.layers import compare_layers, format_layers

    print_result(compare_layers(artifact, **options), output_format, format_layers)
