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
