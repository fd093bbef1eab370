"""A run and a target → an artifact folder that explains itself."""

from __future__ import annotations

from tfpipe.export.artifact import export_artifact, export_schemes
from tfpipe.verb import make_callable

__all__ = ["export_artifact", "export_schemes"]

make_callable(__name__, export_artifact)
