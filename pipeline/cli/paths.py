"""The kinds of path that commands take."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click


class OutputFile(click.Path):
    """A file to write; refused before any work is done where its folder is not there or cannot be
    written."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, path_type=Path)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> os.PathLike[str]:
        """Returns the path."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if not os.access(path.parent, os.W_OK):
            state = "cannot be written" if path.parent.is_dir() else "is no folder"
            self.fail(f"{str(path.parent)!r} {state}. Make it, or give another path.", param, ctx)
        return path


OUTPUT = OutputFile()
RUN = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FILE_OR_STDIN = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
ARTIFACT = click.Path(exists=True, file_okay=False, path_type=Path)
