"""Name of an Android system property → its value, or None elsewhere."""

from __future__ import annotations

import shutil
import subprocess
from typing import Optional

_TIME_LIMIT_S = 5.0


def read_property(name: str) -> Optional[str]:
    """Returns what `getprop NAME` prints, or None: no Android, or no such property."""
    program = shutil.which("getprop")
    return read_command(program, name) if program else None


def read_command(program: str, *arguments: str) -> Optional[str]:
    """Returns what a command prints, or None when it fails, hangs or prints nothing."""
    try:
        done = subprocess.run(
            [program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_TIME_LIMIT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    text = done.stdout.decode("utf-8", "replace").strip()
    return text if done.returncode == 0 and text else None
