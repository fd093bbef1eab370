"""The process of a conversion job: what it runs, how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[[str], subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Returns how a process ended whose module has this `main`, which gets the job file's path."""

    def _run(body: str) -> subprocess.CompletedProcess[str]:
        lines = "\n    ".join(body.splitlines())
        (tmp_path / "some_module.py").write_text(
            f"import atexit, gc, sys\ndef main(path):\n    {lines}\n"
        )
        return subprocess.run(
            [sys.executable, "-P", "-m", "tfpipe.export.child", "some_module", "job.json"],
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )

    return _run


def test_main_gets_the_job_and_nothing_is_torn_down(run: Run) -> None:
    ended = run(
        "atexit.register(print, 'torn down')\n"
        "print(path.name, gc.isenabled(), gc.get_freeze_count() > 0, end='')"
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "job.json True True", "")


def test_exit_code_and_traceback_of_main_are_those_of_the_process(run: Run) -> None:
    assert run("sys.exit(3)").returncode == 3
    failed = run("raise OSError('no room')")
    assert failed.returncode == 1
    assert failed.stderr.endswith("OSError: no room\n")
