"""Tests of the device's watch over what it runs: every end is told, and nothing is left running."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from boards import processes_with, wait_until

from device_runner import supervise
from device_runner.supervise import Completed, HostGoneError, run_supervised


@pytest.fixture
def host() -> Iterator[tuple[int, int]]:
    """A pipe whose write end the "host" holds."""
    read, write = os.pipe()
    yield read, write
    os.close(read)
    try:
        os.close(write)
    except OSError:
        pass


@pytest.fixture
def run(host: tuple[int, int]) -> Callable[..., Completed]:
    def run(script: str, limit_s: float = 20.0, *arguments: str) -> Completed:
        command = [sys.executable, "-c", script, *arguments]
        return run_supervised(command, time_limit_s=limit_s, host=host[0])

    return run


def test_output_and_exit_code_are_told(run: Any) -> None:
    done = run("import sys; print('x' * 300_000); sys.stderr.write('why'); sys.exit(3)")
    assert (done.returncode, done.timed_out, done.stderr) == (3, False, b"why")
    assert done.stdout == b"x" * 300_000 + b"\n"


def test_long_complaint_keeps_its_end(run: Any) -> None:
    done = run("import sys; sys.stderr.write('a' * 50_000 + 'end')")
    assert len(done.stderr) == 4000 and done.stderr.endswith(b"end")


def test_signal_is_told(run: Any) -> None:
    done = run("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert done.returncode == -signal.SIGSEGV


def test_closed_output_does_not_keep_the_watch_busy(run: Any) -> None:
    start = time.process_time()
    done = run("import os, time; os.close(1); os.close(2); time.sleep(1)")
    assert done.returncode == 0 and time.process_time() - start < 0.5


def test_time_limit_ends_the_whole_group(run: Any, tmp_path: Path) -> None:
    """Also a grandchild, and one that ignores being told."""
    script = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(99)', sys.argv[1]]);"
        "print('begun', flush=True); time.sleep(99)"
    )
    start = time.monotonic()
    done = run(script, 1.0, str(tmp_path))
    assert done.timed_out and time.monotonic() - start < 60
    assert done.stdout == b"begun\n"
    wait_until(lambda: not processes_with(str(tmp_path)))


def test_grandchild_that_holds_the_output_does_not_delay_the_end(run: Any, tmp_path: Path) -> None:
    script = "import subprocess, sys; subprocess.Popen(['sleep', '99']); print('done')"
    start = time.monotonic()
    assert run(script).stdout == b"done\n"
    assert time.monotonic() - start < 60


def test_host_that_goes_ends_the_group(host: tuple[int, int], tmp_path: Path) -> None:
    def leave() -> None:
        wait_until(lambda: processes_with(str(tmp_path)))
        os.close(host[1])

    threading.Thread(target=leave).start()
    command = [sys.executable, "-c", "import time; time.sleep(99)", str(tmp_path)]
    with pytest.raises(HostGoneError, match="the host closed the connection"):
        run_supervised(command, time_limit_s=60, host=host[0])
    assert not processes_with(str(tmp_path))


def test_runaway_output_is_stopped(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "MAX_OUTPUT_BYTES", 1 << 20)
    with pytest.raises(ValueError, match="printed more than 1048576 bytes, the limit"):
        run("while True: print('x' * 10_000)")


def test_program_that_is_not_there_is_an_error(host: tuple[int, int], tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError, match="nothing"):
        run_supervised([str(tmp_path / "nothing")], time_limit_s=1, host=host[0])
    assert len(os.listdir("/proc/self/fd")) == before
