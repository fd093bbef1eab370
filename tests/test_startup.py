"""Tests of benchmarks/startup.py: it times real starts, and fails where the goal is missed."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
from conftest import load_benchmark


@pytest.fixture(scope="module")
def startup() -> ModuleType:
    return load_benchmark("startup")


def test_starts_are_timed_to_their_first_output(
    startup: ModuleType,
    tiny_artifact: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = tmp_path / "page.md"
    arguments = ["startup.py", str(tiny_artifact), "--runs", "1", "--markdown", str(page)]
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.setattr(startup, "MAX_SECONDS", 0.0)
    assert startup.main() == 1, "nothing starts in no time"
    report = json.loads(capsys.readouterr().out)
    measured = report["measured"]
    assert measured["Python"]["p50_s"] > 0.001
    assert measured[startup.RUNNER]["processor_p50_s"] > measured["Python"]["processor_p50_s"]
    text = page.read_text()
    assert f"| {startup.RUNNER} | {measured[startup.RUNNER]['p50_s']:.3f} |" in text
    assert "ai-edge-litert" in text


def test_time_runs_to_the_first_output_and_not_to_the_end(
    startup: ModuleType, tmp_path: Path
) -> None:
    code = "import time; print(1, flush=True); time.sleep(1)"
    begin = time.perf_counter()
    seconds, processor = startup.start([sys.executable, "-c", code], str(tmp_path))
    assert time.perf_counter() - begin - seconds > 0.9
    assert 0 < processor < 1


def test_command_that_fails_ends_the_benchmark(startup: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"-c 'raise SystemExit\(3\)' ended with 3. Run it by"):
        startup.start([sys.executable, "-c", "raise SystemExit(3)"], str(tmp_path))
