"""An artifact and its run → where file and trained form differ, layer by layer."""

from __future__ import annotations

from tfpipe.layers.artifact import compare_layers
from tfpipe.layers.table import format_layers

__all__ = ["compare_layers", "format_layers"]
