"""Tests of benchmarks/overhead.py: what is a miss, what its loops do, and the runner's limits."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from conftest import load_benchmark

from device_runner.turn import Contestant, Turn


@pytest.fixture(scope="module")
def overhead() -> ModuleType:
    return load_benchmark("overhead")


def record(ratio: float, interval: list[float], beyond: int = 0, overhead_ns: int = 700) -> Any:
    found = {"artifact": "a", "runner_to_bare": {"ratio": ratio, "interval": interval}}
    memory = {"beyond_samples_bytes": beyond}
    return {"overhead": {"beyond_bare_ns": overhead_ns}, "models": [{**found, "memory": memory}]}


@pytest.mark.parametrize(
    ("given", "missed"),
    [
        (record(1.02, [1.01, 1.03]), []),
        (record(1.05, [0.98, 1.12]), []),  # not beyond doubt
        (record(1.05, [1.04, 1.06]), ["a: ratio 1.050 to the bare loop"]),
        (record(0.95, [0.94, 0.96]), ["a: ratio 0.950 to the bare loop"]),
        (record(1, [1, 1], overhead_ns=3000), ["overhead of 3000 ns a call"]),
        (record(1, [1, 1], beyond=3 << 20), ["a: memory grows, {'beyond_samples_bytes': 3145728}"]),
    ],
)
def test_only_what_misses_a_limit_is_told(overhead: Any, given: Any, missed: list[str]) -> None:
    assert overhead.check(given) == missed


def test_both_loops_make_the_same_calls(overhead: Any) -> None:
    calls: dict[str, list[Any]] = {"bare": [], "runner": []}

    class Model:
        def __init__(self, name: str) -> None:
            self.log = calls[name]

        def set_input(self, value: Any) -> None:
            self.log.append(value)

        def invoke(self) -> None:
            self.log.append("invoke")

    bare = Model("bare")
    kept = overhead.bare_block(bare.set_input, bare.invoke, ["x", "y", "z"], 0)
    turn = Turn(Contestant("runner", Model("runner"), ["x", "y", "z"]), iter(range(1000)).__next__)
    assert len(overhead.runner_block(turn)) == len(kept) == 45
    assert calls["bare"] == calls["runner"] and calls["bare"][:4] == ["x", "invoke", "y", "invoke"]


def test_tool_that_fails_is_said_to(overhead: Any) -> None:
    found = {
        "as_it_is": {"error": "RuntimeError: code=3"},
        "with_valid_ids": {"result": {"latency": {"median_ms": 0.07, "p95_ms": 0.1}}},
    }
    assert overhead.tool_median(found) == "as it is: fails, with valid ids: 70.0 us"


def test_memory_does_not_grow_over_100_000_calls(tiny_artifact: Path) -> None:
    """In a process of its own: what tests before it left behind is neither given back nor used."""
    script = (
        "import json, sys, numpy as np, overhead; from device_runner.runnable import open_runnable;"
        "runnable = open_runnable(sys.argv[1]);"
        "rows = [np.ascontiguousarray(runnable.encode(f'w{i} w3')) for i in range(17)];"
        "print(json.dumps(overhead.measure_memory(runnable, rows)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tiny_artifact)],
        cwd=Path(__file__).parents[1] / "benchmarks",
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["num_runs"] == 100_000 and found["samples_bytes"] == 8 * 90_000
    assert found["beyond_samples_bytes"] < 2 << 20  # 21 bytes a call would be more


def test_model_that_leaks_is_seen(overhead: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[bytearray] = []
    filled = bytearray(b"x")
    monkeypatch.setattr(overhead, "MEMORY_RUNS", 2000)
    leaking = SimpleNamespace(
        set_input=lambda row: None, invoke=lambda: kept.append(filled * 20_000)
    )
    found = overhead.measure_memory(SimpleNamespace(model=leaking), [0])
    # Of the 40 MB some may fit where tests before this one gave memory back.
    assert found["beyond_samples_bytes"] > overhead.MEMORY_SLACK_BYTES
