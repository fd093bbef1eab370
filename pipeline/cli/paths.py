"""The kinds of path that commands take."""

from __future__ import annotations

from pathlib import Path

import click

RUN = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FILE_OR_STDIN = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
ARTIFACT = click.Path(exists=True, file_okay=False, path_type=Path)
