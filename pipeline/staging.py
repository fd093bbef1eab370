"""A destination → a folder beside it that takes its place when it is whole."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


def check_name(name: str) -> str:
    """Returns a name that is safe as a folder's."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", name):
        raise ValueError(
            f"name={name!r} must be 1 to 100 of A-Z a-z 0-9 . _ - and not begin with . or -."
        )
    return name


@contextlib.contextmanager
def staging_folder(destination: Path) -> Iterator[Path]:
    """Gives a folder beside `destination` that takes its place when the block ends well, and goes
    away when it does not; what was there before stays until then."""
    destination.parent.mkdir(exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{destination.name}-", dir=destination.parent))
    retired = staging.with_name(f"{staging.name}-old")
    staging.chmod(0o755)
    try:
        yield staging
        if destination.exists():
            os.replace(destination, retired)
        os.replace(staging, destination)
    except BaseException:
        if retired.exists() and not destination.exists():
            os.replace(retired, destination)
        raise
    finally:
        for folder in (staging, retired):
            shutil.rmtree(folder, ignore_errors=True)
