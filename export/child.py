"""The name of a module and a job file → the job done, in a process that ends at once after it."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from pathlib import Path


def main(module: str, job_path: Path) -> None:
    """Runs `main(job_path)` of a module and ends the process.

    What importing TensorFlow leaves is never looked through for garbage, and nothing is torn down
    at the end: an export is short, so that both are a good part of it.

    Args:
        module: Whole name of a module whose `main` takes a path, and which writes nothing to files
            that are still open when it returns.
        job_path: The job file.
    """
    gc.disable()
    imported = importlib.import_module(module)
    gc.freeze()
    gc.enable()
    imported.main(job_path)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
