"""Devices for tests: a board's Python as a script, reached through pipes or a real sshd."""

from __future__ import annotations

import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tfpipe.devices.address import Address
from tfpipe.devices.remote import RemoteDevice
from tfpipe.devices.ssh import BOOTSTRAP

# A runtime that imports and then does what the test wants in place of running a model.
FAKE_RUNTIME = """\
import os, signal, time
class Interpreter:
    def __init__(self, **_):
        {action}
"""


def write_script(path: Path, text: str) -> Path:
    """Writes an executable shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def python_with_runtime(folder: Path, action: str) -> Path:
    """Returns a board's Python whose ai-edge-litert runs `action` when a model is loaded."""
    package = folder / "fake" / "ai_edge_litert"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("__version__ = '9.9'\n")
    (package / "interpreter.py").write_text(FAKE_RUNTIME.format(action=action))
    start = f'export PYTHONPATH={package.parent}\nexec {sys.executable} "$@"'
    return write_script(folder / "fake-python", start)


def python_without_packages(folder: Path) -> Path:
    """Returns a board's Python that has neither NumPy nor a runtime."""
    return write_script(folder / "bare-python", f'exec {sys.executable} -S "$@"')


def piped_device(
    folder: Path,
    python: Path | str = sys.executable,
    explain: Callable[[Address, int, str], str] = lambda _, code, said: f"code {code}.",
) -> RemoteDevice:
    """Returns a device whose connection is a pair of pipes to a shell of this machine."""
    command = ["sh", "-c", f"{python} -c {BOOTSTRAP}"]
    address = Address("piped", "ssh", python=str(python))
    return RemoteDevice(address, command, explain, str(folder))


def processes_with(text: str) -> list[int]:
    """Returns the processes that have `text` in their command line, of which none is this one."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if text.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            pass
    return found


def wait_until(condition: Callable[[], object], limit_s: float = 20.0) -> None:
    """Waits for something that must happen soon."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
