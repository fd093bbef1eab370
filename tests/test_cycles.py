"""Counting cycles: the kernel's own counters where it has any, and the reason where it has none."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest

from device_runner import cycles
from device_runner.cycles import TASK_CLOCK, measure_cycles

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux counts")


def work() -> None:
    sum(range(200_000))


class Calls:
    """A model that does what it is told; `taken` is the thread's own time of each call."""

    def __init__(
        self, call: Callable[[], object] = work, setting: Callable[[], object] = lambda: None
    ) -> None:
        self.call = call
        self.setting = setting
        self.seen: list[int] = []
        self.taken: list[int] = []

    def set_input(self, number: int) -> None:
        self.seen.append(number)
        self.setting()

    def invoke(self) -> None:
        begin = time.thread_time_ns()
        self.call()
        self.taken.append(time.thread_time_ns() - begin)


@linux
def test_kernel_counts_the_time_that_the_calls_take() -> None:
    """TASK_CLOCK counts nanoseconds of the processor, as the thread's own clock does."""
    model = Calls()
    found = measure_cycles(model, [0], TASK_CLOCK)
    assert found["cycles_reason"] is None
    assert found["cycles_per_inference"] == pytest.approx(median(model.taken), rel=0.2)
    assert 1 <= len(model.taken) <= cycles.MAX_CALLS


@linux
def test_count_is_the_median_over_the_inputs() -> None:
    """Two of three inputs are short, the last is long: neither the last nor the mean is told."""
    model = Calls(lambda: [work() for _ in range(20 if model.seen[-1] == 2 else 1)])
    found = measure_cycles(model, [0, 1, 2], TASK_CLOCK)
    assert model.seen[:4] == [0, 1, 2, 0]
    assert found["cycles_per_inference"] == pytest.approx(median(model.taken), rel=0.2)
    assert found["cycles_per_inference"] < sum(model.taken) / len(model.taken) / 2


@linux
def test_setting_an_input_is_not_counted() -> None:
    model = Calls(setting=lambda: [work() for _ in range(20)])
    found = measure_cycles(model, [0], TASK_CLOCK)
    assert found["cycles_per_inference"] == pytest.approx(median(model.taken), rel=0.2)


@linux
def test_threads_that_were_there_before_are_counted() -> None:
    """As those of a runtime's pool are; they ended with the counter of the main thread alone."""
    go, done, end = threading.Event(), threading.Event(), threading.Event()

    def serve() -> None:
        while go.wait() and not end.is_set():
            go.clear()
            work()
            done.set()

    thread = threading.Thread(target=serve)
    thread.start()

    def call() -> None:
        go.set()
        done.wait()
        done.clear()

    begin = time.thread_time_ns()
    work()
    alone = time.thread_time_ns() - begin
    found = measure_cycles(Calls(call), [0], TASK_CLOCK)
    end.set()
    go.set()
    thread.join()
    assert found["cycles_per_inference"] > 0.4 * alone


@linux
def test_no_file_stays_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    measure_cycles(Calls(), [0], TASK_CLOCK)
    measure_cycles(Calls(), [0])
    with pytest.raises(ZeroDivisionError):
        measure_cycles(Calls(lambda: 1 // 0), [0], TASK_CLOCK)
    assert len(os.listdir("/proc/self/fd")) == before


def test_processors_cycles_or_the_reason() -> None:
    found = measure_cycles(Calls(), [0])
    if found["cycles_per_inference"] is None:
        assert found["cycles_reason"]
    else:
        assert found["cycles_per_inference"] > 200_000 and found["cycles_reason"] is None


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (errno.EACCES, r"forbids it .kernel.perf_event_paranoid=.*; 2 or less allows it"),
        (errno.EPERM, "the system forbids it"),
        (errno.ENOENT, "virtual machine, has no cycle counter"),
        (errno.ENOSYS, "or its emulation, has no perf_event_open"),
        (errno.EBUSY, "other programs hold the counters"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_each_refusal_says_why(code: int, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(event: tuple[int, int]) -> list[int]:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(cycles, "_open_counters", refuse)
    found = measure_cycles(Calls(lambda: pytest.fail("nothing is called for nothing")), [0])
    assert found["cycles_per_inference"] is None
    with pytest.raises(ValueError, match=reason):
        raise ValueError(found["cycles_reason"])


def test_machine_that_is_not_known_has_no_counter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "pdp11")
    assert measure_cycles(Calls(), [0])["cycles_reason"].endswith("has no perf_event_open")


@pytest.mark.parametrize(
    ("read", "count"),
    [((600, 100, 100), 600.0), ((600, 100, 50), 1200.0), ((0, 0, 0), 0.0)],
)
def test_shared_counter_is_scaled_up(read: tuple[int, int, int], count: float) -> None:
    assert cycles._read_counter(pipe_with(read)) == count


def test_counter_that_never_ran_is_no_zero() -> None:
    with pytest.raises(OSError, match="busy"):
        cycles._read_counter(pipe_with((0, 100, 0)))


def pipe_with(numbers: tuple[int, int, int]) -> int:
    end, begin = os.pipe()
    os.write(begin, b"".join(number.to_bytes(8, sys.byteorder) for number in numbers))
    os.close(begin)
    return end


@linux
def test_oldest_python_counts_too(old_python: str) -> None:
    code = (
        "from types import SimpleNamespace as N; from device_runner.cycles import *; "
        "model = N(set_input=id, invoke=lambda: sum(range(99999))); "
        "print(measure_cycles(model, [0], TASK_CLOCK)['cycles_per_inference'] > 0)"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run([old_python, "-c", code], cwd=root, capture_output=True, check=False)
    assert done.stdout == b"True\n", done.stderr


def test_bench_says_cycles_or_why_not(make_artifact: Callable[..., Path], texts_file: Path) -> None:
    from device_runner.benchmark import benchmark
    from device_runner.profiles import Profile

    profile = Profile("brief", 2, 0, 10, 0, 0, 10**9)
    (record,) = benchmark([str(make_artifact())], texts=[str(texts_file)], profile=profile)
    assert (record["cycles_per_inference"] is None) == bool(record["cycles_reason"])
