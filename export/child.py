"""Jobs of one module → done one after the other in a process of its own, or how that ended."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

# TensorFlow imports Keras 3, and with it scikit-learn and SciPy, unless it is told to import
# tf_keras, which the models are made of.
ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "1", "TF_USE_LEGACY_KERAS": "1"}
JOB_FILE = "job.json"
LOG_FILE = "log.txt"
# What the process answers to the path of a job, a JSON string a line: see `tfpipe.export.jobs`.
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
            0 if the module's `main` returned, else the process' exit code (0 as well where `main`
            ended it so; negative: the signal that ended it), or that it took too long.
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
            is_done = ask(process, path)
            code = 0 if is_done else self._end(process)
        except BaseException:
            process.kill()
            raise
        finally:
            timer.cancel()
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
            [sys.executable, "-P", "-m", "tfpipe.export.jobs", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, **ENVIRONMENT},
        )


def ask(process: subprocess.Popen[bytes], path: Path) -> bool:
    """Sends the path of a job file and waits; returns whether the process answered DONE, or ended.
    What it says before is no answer: a user's environment may print when Python starts."""
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the process was started without pipes")
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(str(path)).encode() + b"\n")
        process.stdin.flush()
    return any(line.endswith(DONE) for line in process.stdout)
