"""A time of day that jumps, as on boards without a clock of their own: no result changes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_profiles import PACED, SUSTAINED, Clock, Model, contestant, nothing_read

from device_runner.latency import measure
from device_runner.profiles import PROFILES, Profile
from device_runner.record import describe_measurement
from device_runner.store import Store

# Days forward, days back, and to 1970: every reading of the time of day is another.
JUMPS = """
import itertools
import time

_REAL = time.time
_OFFSETS = itertools.cycle([0.0, 86400.0, -86400.0, 20 * 365 * 86400.0, -_REAL()])
time.time = lambda: _REAL() + next(_OFFSETS)
time.time_ns = lambda: int(time.time() * 1e9)
"""


def jump(monkeypatch: pytest.MonkeyPatch) -> None:
    offsets = iter(range(10**6))
    monkeypatch.setattr(time, "time", lambda: -(10.0**9) * (-1) ** next(offsets))
    monkeypatch.setattr(time, "time_ns", lambda: int(time.time() * 1e9))


@pytest.mark.parametrize("profile", [PROFILES["quick"], SUSTAINED, PACED], ids=lambda p: p.name)
def test_numbers_are_the_same_to_the_last(
    profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a monotonic clock of the test's own, so that two runs are equal at all."""

    def numbers() -> Any:
        clock = Clock()
        model = Model(clock, lambda now: 10**6 + now % 977)
        (result,) = measure(
            [contestant(model)], profile, clock, sleep=clock.sleep, read=nothing_read
        )
        return describe_measurement(result, profile), result.latencies_ns

    steady = numbers()
    jump(monkeypatch)
    assert numbers() == steady


DAY = 24 * 3600.0


def sweep_at(store: Store, *times: float, touch: str | None = None) -> list[str]:
    """Sweeps when the time of day says so; returns what lies in `work` then."""
    with pytest.MonkeyPatch.context() as patch:
        for now in times:
            patch.setattr(time, "time", lambda now=now: now)
            if touch is not None:
                os.utime(Path(store.folder, "work", touch))
            store.sweep()
    return sorted(os.listdir(Path(store.folder, "work")))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(str(tmp_path / "store"))
    Path(made.folder, "work", "left").mkdir()
    return made


def test_no_jump_removes_what_is_fresh(store: Store) -> None:
    """A board starts in 1970 and learns the time minutes later; another's battery is empty."""
    assert sweep_at(store, 60.0, time.time(), time.time() + 40 * DAY, 0.0, 1e10) == ["left"]


def test_no_jump_keeps_what_is_stale_for_ever(store: Store) -> None:
    """What was written while the clock stood in 2040 goes after a week like everything else."""
    path = Path(store.folder, "work", "left")
    os.utime(path, (2.2e9, 2.2e9))
    week = [2.2e9, *(1000.0 + number * DAY for number in range(8))]
    assert sweep_at(store, *week) == ["left"]
    assert sweep_at(store, 1000.0 + 8 * DAY) == []


def test_what_is_used_stays(store: Store) -> None:
    assert sweep_at(store, *(number * DAY for number in range(20)), touch="left") == ["left"]


@pytest.mark.parametrize(
    "ledger", ["", "{", "[]", '{"time": 1}', '{"time": 1, "ages": {"a": [1]}}']
)
def test_damaged_ledger_starts_anew(store: Store, ledger: str) -> None:
    Path(store.folder, "unused.json").write_text(ledger)
    assert sweep_at(store, *(number * DAY for number in range(8))) == ["left"]
    assert sweep_at(store, 8 * DAY) == []


def test_full_disk_does_not_stop_a_sweep(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: str, value: Any) -> None:
        raise OSError(28, "No space left on device", path)

    monkeypatch.setattr("device_runner.store.write_json_atomic", fail)
    assert sweep_at(store, 0.0) == ["left"]


@pytest.fixture
def jumping(tmp_path: Path) -> dict[str, str]:
    """Environment of a Python whose time of day jumps at every reading."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(JUMPS)
    return {**os.environ, "PYTHONPATH": str(folder)}


def test_environment_of_these_tests_really_jumps(jumping: dict[str, str]) -> None:
    code = "import time; print([round(time.time() / 86400) for _ in range(5)])"
    done = subprocess.run(
        [sys.executable, "-c", code], env=jumping, capture_output=True, check=True
    )
    days = sorted(json.loads(done.stdout))
    assert days[0] == 0 and days[3] - days[1] == 2 and days[4] - days[2] == 7300


def test_real_bench_measures_what_the_monotonic_clock_says(
    make_artifact: Callable[..., Path], texts_file: Path, jumping: dict[str, str]
) -> None:
    artifact = make_artifact()
    command = [sys.executable, "-m", "device_runner", "bench", "--profile", "quick"]
    begin = time.monotonic()
    done = subprocess.run(
        [*command, "--texts", str(texts_file), str(artifact)], env=jumping, capture_output=True
    )
    elapsed_ns = (time.monotonic() - begin) * 1e9
    assert done.returncode == 0, done.stderr
    (record,) = json.loads(done.stdout)["results"]
    samples = record["latencies_ns"]
    assert record["num_runs"] == len(samples) >= 100
    assert min(samples) > 0 and sum(samples) < elapsed_ns
    assert 0 < record["p50_ns"] <= record["max_ns"] == max(samples)
    assert 0 < record["init_ns"] < elapsed_ns
    assert record["measure_ns"] >= PROFILES["quick"].measure_ns


def test_time_limit_is_not_reached_early_and_not_missed(jumping: dict[str, str]) -> None:
    """Of a command that the device's session watches."""
    code = """
import os, sys
from device_runner.supervise import run_supervised

host, _ = os.pipe()
done = run_supervised([sys.executable, "-c", "print(7)"], time_limit_s=60.0, host=host)
assert (done.returncode, done.stdout, done.timed_out) == (0, b"7\\n", False), done
sleeps = [sys.executable, "-c", "import time; time.sleep(60)"]
assert run_supervised(sleeps, time_limit_s=0.5, host=host).timed_out
"""
    begin = time.monotonic()
    subprocess.run([sys.executable, "-c", code], env=jumping, check=True)
    assert 0.5 <= time.monotonic() - begin < 40
