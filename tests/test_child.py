"""The process of conversion jobs: what it runs, what its jobs share, how it ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tfpipe.export.child import LOG_FILE, Child

Run = Callable[..., int | str]


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Child]:
    """Makes a process whose module has this `main`, which gets the job file's path."""

    def make(body: str) -> Child:
        lines = "\n    ".join(["job = json.loads(path.read_text())", *body.splitlines()])
        (tmp_path / "some_module.py").write_text(
            f"import atexit, gc, json, os, sys, time\ndef main(path):\n    {lines}\n"
        )
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        return Child("some_module")

    return make


@pytest.fixture
def do(tmp_path: Path) -> Run:
    """Does a job in a folder of that name; returns what `Child.run` does."""

    def _do(child: Child, name: str, time_limit: float = 60, **job: Any) -> int | str:
        (tmp_path / name).mkdir()
        return child.run(job, tmp_path / name, time_limit)

    return _do


def test_jobs_share_a_process_and_each_has_its_own_log(
    child: Callable[[str], Child], do: Run, tmp_path: Path
) -> None:
    body = "print(os.getpid(), job['x'], flush=True)\nos.system('echo of a native program >&2')"
    with child(body) as one:
        assert [do(one, "a", x="ä"), do(one, "b", x=2)] == [0, 0]
    first, second = [(tmp_path / name / LOG_FILE).read_text("utf-8") for name in "ab"]
    pid = first.split()[0]
    assert int(pid) != os.getpid()
    assert first == f"{pid} ä\nof a native program\n"
    assert second == f"{pid} 2\nof a native program\n"


def test_leaving_the_block_ends_the_process_without_tearing_it_down(
    child: Callable[[str], Child], do: Run, tmp_path: Path
) -> None:
    body = "atexit.register(print, 'torn down')\nprint(os.getpid(), gc.get_freeze_count() > 0)"
    with child(body) as one:
        assert do(one, "a") == 0
    pid, frozen = (tmp_path / "a" / LOG_FILE).read_text().split()
    assert frozen == "True"
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


def test_a_child_without_a_job_starts_nothing() -> None:
    with Child("no_such_module"):
        pass


def test_after_a_job_that_ended_it_the_process_is_started_again(
    child: Callable[[str], Child], do: Run, tmp_path: Path
) -> None:
    body = ["print(os.getpid())", "'code' in job and sys.exit(job['code'])", "job and os.abort()"]
    with child("\n".join(body)) as one:
        ends = [do(one, "a"), do(one, "b", code=3), do(one, "c"), do(one, "d", signal=True)]
        assert ends == [0, 3, 0, -6]
        assert do(one, "e") == 0
    a, b, c, _, e = [(tmp_path / name / LOG_FILE).read_text().split()[:1] for name in "abcde"]
    assert a == b != c != e


def test_process_that_the_system_ended_between_two_jobs_is_no_fault_of_the_next(
    child: Callable[[str], Child], do: Run, tmp_path: Path
) -> None:
    with child("print(os.getpid())") as one:
        assert do(one, "a") == 0
        pid = int((tmp_path / "a" / LOG_FILE).read_text())
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert do(one, "b") == 0


def test_traceback_is_in_the_log(child: Callable[[str], Child], do: Run, tmp_path: Path) -> None:
    with child("raise OSError('no room')") as one:
        assert do(one, "a") == 1
    assert (tmp_path / "a" / LOG_FILE).read_text().endswith("OSError: no room\n")


def test_module_that_is_not_there_is_in_the_log(do: Run, tmp_path: Path) -> None:
    with Child("no_such_module") as one:
        assert do(one, "a") == 1
    assert "No module named 'no_such_module'" in (tmp_path / "a" / LOG_FILE).read_text()


def test_what_an_environment_prints_when_python_starts_is_no_answer(
    child: Callable[[str], Child], do: Run, tmp_path: Path
) -> None:
    with child("time.sleep(job['seconds'])") as one:
        (tmp_path / "sitecustomize.py").write_text("print('hello')\n")
        assert do(one, "a", seconds=0) == 0
        assert do(one, "b", 2, seconds=60) == "not done after 2 s"


def test_a_job_that_reads_stdin_finds_its_end(child: Callable[[str], Child], do: Run) -> None:
    with child("sys.exit(len(sys.stdin.read()) + len(os.read(0, 9)))") as one:
        assert do(one, "a", 20) == 0


def test_late_job_ends_the_process_and_the_next_one_has_its_own_time(
    child: Callable[[str], Child], do: Run
) -> None:
    with child("time.sleep(job['seconds'])") as one:
        assert do(one, "a", 2, seconds=60) == "not done after 2 s"
        assert do(one, "b", 30, seconds=0) == 0


def test_interrupted_wait_ends_the_process(
    child: Callable[[str], Child], do: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Any] = []

    def interrupt(process: Any, _: Path) -> bool:
        started.append(process)
        raise KeyboardInterrupt

    monkeypatch.setattr("tfpipe.export.child.ask", interrupt)
    with pytest.raises(KeyboardInterrupt), child("time.sleep(60)") as one:
        do(one, "a")
    assert started[0].returncode == -9
