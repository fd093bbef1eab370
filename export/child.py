"""A module's name and job files → the jobs done, one after the other, in a process of its own."""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any

# TensorFlow imports Keras 3, and with it scikit-learn and SciPy, unless it is told to import
# tf_keras, which the models are made of.
ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "1", "TF_USE_LEGACY_KERAS": "1"}
JOB_FILE = "job.json"
LOG_FILE = "log.txt"
DONE = b"done\n"


class Child:
    """Does the jobs of one module in a process that the first job starts.

    Importing TensorFlow takes longer than converting a small model: jobs share that. A job that
    fails ends the process; the next one starts another. Use it in a `with` block, which ends the
    process.

    Attributes:
        module: Whole name of a module whose `main` takes the path of a job file, and which writes
            nothing to files that are still open when it returns.
    """

    def __init__(self, module: str) -> None:
        self.module = module
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._end(self._process)

    def run(self, job: dict[str, Any], folder: Path, time_limit: float) -> int | str:
        """Does a job, of which `folder` gets the file and the log.

        Args:
            job: What the module is told, as JSON.
            folder: Is there.
            time_limit: Seconds until the process is ended.

        Returns:
            0 if the module's `main` returned, else the process' exit code (negative: the signal
            that ended it), or that it took too long.
        """
        path, log = folder / JOB_FILE, folder / LOG_FILE
        path.write_text(json.dumps(job), "utf-8")
        log.write_bytes(b"")
        if self._process is not None and self._process.poll() is not None:
            self._end(self._process)  # the system ended it between two jobs
        process = self._process = self._process or start(self.module, log)
        late = threading.Event()

        def give_up() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(time_limit, give_up)
        timer.start()
        try:
            answer = ask(process, path)
        except BaseException:
            process.kill()
            raise
        finally:
            timer.cancel()
        if answer == DONE and not late.is_set():
            return 0
        code = self._end(process)
        return f"not done after {time_limit:g} s" if late.is_set() else code

    def _end(self, process: subprocess.Popen[bytes]) -> int:
        """Waits for the end of a process that gets no more jobs; returns its exit code."""
        self._process = None
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        return process.wait()


def start(module: str, log: Path) -> subprocess.Popen[bytes]:
    """Starts the process of a module; what it says before its first job goes into `log`."""
    with log.open("wb") as stderr:
        return subprocess.Popen(
            # -P: nothing in the user's present folder may stand in for a module.
            [sys.executable, "-P", "-m", "tfpipe.export.child", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, **ENVIRONMENT},
        )


def ask(process: subprocess.Popen[bytes], path: Path) -> bytes:
    """Sends the path of a job file; returns DONE, or nothing of a process that ended."""
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the process was started without pipes")
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(str(path)).encode() + b"\n")
        process.stdin.flush()
    return process.stdout.readline()


def main(module: str) -> None:
    """Does the jobs whose files stand on stdin, one JSON string a line, and ends the process at
    once; what a job prints goes into LOG_FILE beside its file, and DONE to stdout after it.

    What importing TensorFlow leaves is never looked through for garbage, and nothing is torn down
    at the end: an export is short, so that both are a good part of it.
    """
    answers: IO[bytes] = os.fdopen(os.dup(1), "wb")
    for line in sys.stdin.buffer:
        path = Path(json.loads(line))
        log_to(path.with_name(LOG_FILE))
        main_of(module)(path)
        sys.stdout.flush()
        sys.stderr.flush()
        answers.write(DONE)
        answers.flush()
        gc.collect()
    os._exit(0)


def log_to(path: Path) -> None:
    """Sends what the process prints to a file, native code's words too."""
    with path.open("wb") as log:
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
