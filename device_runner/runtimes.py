"""The Python environment → the TFLite runtimes that are installed, and the first that works."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from operator import attrgetter
from typing import Any, Dict, List, Optional, Tuple

# Runtime → the module and where in it the interpreter's class is, best first.
RUNTIMES: Dict[str, Tuple[str, str]] = {
    "ai-edge-litert": ("ai_edge_litert.interpreter", "Interpreter"),
    "tflite-runtime": ("tflite_runtime.interpreter", "Interpreter"),
    "tensorflow": ("tensorflow", "lite.Interpreter"),
}


class RuntimeNotFoundError(RuntimeError):
    """No TFLite runtime that works is installed."""


def import_runtime(runtime: Optional[str] = None) -> Tuple[str, str, Any]:
    """Returns name, version and `Interpreter` class of an installed TFLite runtime.

    Args:
        runtime: A key of `RUNTIMES`; None takes the first that can be imported.

    Raises:
        RuntimeNotFoundError: There is none; the message has the line that installs one.
        ValueError: `runtime` is not a key of `RUNTIMES`.
    """
    if runtime is not None and runtime not in RUNTIMES:
        raise ValueError(f"runtime={runtime!r} is unknown. Use one of: {', '.join(RUNTIMES)}.")
    failures = []
    for name in RUNTIMES if runtime is None else (runtime,):
        try:
            _require_its_numpy(name)
            module, attribute = RUNTIMES[name]
            found = attrgetter(attribute)(importlib.import_module(module))
            return name, runtime_version(name) or "unknown", found
        except (ImportError, AttributeError) as error:
            failures.append(f"{name}: {error}")
    raise RuntimeNotFoundError(
        f"no TFLite runtime works here ({'; '.join(failures)}). Install one: python -m pip "
        "install -r device_runner/requirements.txt"
    )


def _require_its_numpy(name: str) -> None:
    """The last tflite-runtime, 2.14.0, imports under NumPy 2 and then fails on every model."""
    import numpy

    if name == "tflite-runtime" and int(numpy.__version__.split(".")[0]) >= 2:
        importlib.import_module("tflite_runtime")  # not installed at all is the better message
        raise ImportError(
            f"built for NumPy 1, found {numpy.__version__}: python -m pip install 'numpy<2'"
        )


def installed_runtimes() -> List[Dict[str, Optional[str]]]:
    """Returns name and version of every runtime whose package is installed, without loading it."""
    return [
        {"name": name, "version": runtime_version(name)}
        for name, (module, _) in RUNTIMES.items()
        if importlib.util.find_spec(module.split(".")[0]) is not None
    ]


def runtime_version(name: str) -> Optional[str]:
    """Returns the version of an installed runtime, or None when it does not say."""
    try:
        from importlib import metadata  # not in Python 3.7

        return metadata.version(name)
    except ImportError:  # of the module, or PackageNotFoundError for a package like tensorflow-cpu
        package = RUNTIMES[name][0].split(".")[0]
    try:
        # TensorFlow's import takes seconds: its version is told when it is loaded anyway.
        loaded = sys.modules.get(package)
        module = loaded if name == "tensorflow" else importlib.import_module(package)
    except ImportError:
        return None
    version = getattr(module, "__version__", None)
    return None if version is None else str(version)
