"""Paths of job files on stdin → the jobs done, one after the other; run as a process of its own."""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from tfpipe.export.child import DONE, LOG_FILE


def main(module: str) -> None:
    """Does the jobs of a module whose files stand on stdin, one JSON string a line, and ends the
    process at once; what a job prints goes into LOG_FILE beside its file, and DONE to stdout after
    it.

    What importing TensorFlow leaves is never looked through for garbage, and nothing is torn down
    at the end: an export is short, so that both are a good part of it.
    """
    paths, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    for line in paths:
        path = Path(json.loads(line))
        log_to(path.with_name(LOG_FILE))
        main_of(module)(path)
        gc.collect()
        sys.stdout.flush()
        sys.stderr.flush()
        answers.write(DONE)
        answers.flush()
    os._exit(0)


def log_to(path: Path) -> None:
    """Sends what the process prints to the end of a file, native code's words too."""
    with path.open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)


def main_of(module: str) -> Any:
    """Returns the `main` of a module, imported with its garbage left where it is."""
    if module not in sys.modules:
        gc.disable()
        importlib.import_module(module)
        gc.freeze()
        gc.enable()
    return sys.modules[module].main


if __name__ == "__main__":
    main(sys.argv[1])
