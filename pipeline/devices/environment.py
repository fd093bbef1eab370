"""A runtime's name and version → a Python on this machine that has it, made where it is missing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

# Older releases than this have wheels for few Pythons; boards that keep one run its files too.
OLDEST = "tflite-runtime==2.14.0"
_SPEC = re.compile(r"(ai-edge-litert|tflite-runtime)==([0-9]+(?:\.[0-9]+)*)")
# The Pythons that have wheels of the last tflite-runtime, which needs NumPy 1.
_TFLITE_RUNTIME_PYTHONS = ("python3.11", "python3.10", "python3.9")
INSTALL_SECONDS = 600.0


class NoEnvironmentError(ValueError):
    """This machine cannot have that runtime; the message says what is missing."""


@dataclass(frozen=True)
class Runtime:
    """A TFLite runtime as a package.

    Attributes:
        name: "ai-edge-litert" or "tflite-runtime".
        version: Of the package.
    """

    name: str
    version: str

    @property
    def spec(self) -> str:
        """For example "tflite-runtime==2.14.0"."""
        return f"{self.name}=={self.version}"


def parse_runtime(text: str) -> Runtime:
    """Returns what NAME==VERSION, or "oldest", means.

    Raises:
        ValueError: Another name, or no version.
    """
    found = _SPEC.fullmatch(OLDEST if text == "oldest" else text)
    if not found:
        raise ValueError(
            f"runtime={text!r} is unknown. Use oldest, tflite-runtime==VERSION or "
            "ai-edge-litert==VERSION."
        )
    return Runtime(found[1], found[2])


def environment_python(runtime: Runtime) -> Path:
    """Returns the Python of an environment with the runtime; makes it on first use.

    It lies in the user's cache folder and holds the runtime and NumPy alone.

    Raises:
        NoEnvironmentError: No Python here has wheels of it, or pip cannot install it.
    """
    base = _base_python(runtime)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "tfpipe" / "runtimes" / f"{runtime.name}-{runtime.version}-{base.name}"
    python = folder / "bin" / "python"
    if not (folder / ".complete").is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as work:
            made = Path(work) / folder.name
            _install(runtime, base, made)
            (made / ".complete").touch()
            if not folder.exists():
                shutil.move(made, folder)
    return python


def _base_python(runtime: Runtime) -> Path:
    own = Path(sys.executable).resolve()
    if runtime.name != "tflite-runtime" or sys.version_info < (3, 12):
        return own
    for name in _TFLITE_RUNTIME_PYTHONS:
        if found := shutil.which(name):
            return Path(found)
    raise NoEnvironmentError(
        f"runtime={runtime.spec} has no wheel for Python {sys.version_info[0]}."
        f"{sys.version_info[1]}. Put one of {', '.join(_TFLITE_RUNTIME_PYTHONS)} on the path."
    )


def _install(runtime: Runtime, base: Path, folder: Path) -> None:
    numpy = "numpy<2" if runtime.name == "tflite-runtime" else "numpy"
    commands = [
        [str(base), "-m", "venv", str(folder)],
        [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", runtime.spec, numpy],
    ]
    for command in commands:
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS)
            said, failed = done.stderr, done.returncode != 0
        except (OSError, subprocess.TimeoutExpired) as error:
            said, failed = str(error), True
        if failed:
            last = (said.strip().splitlines() or ["it said nothing"])[-1]
            raise NoEnvironmentError(
                f"runtime={runtime.spec} could not be installed for {base.name}: {last[:300]}. "
                "Check the version and the network, or leave --runtime out."
            )
