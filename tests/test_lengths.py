"""Tests of benchmarks/lengths.py: its lines, its table, and texts that are as long as asked."""

from __future__ import annotations

import csv
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def lengths() -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / "lengths.py"
    spec = importlib.util.spec_from_file_location("lengths", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_rows_reach_the_length_and_every_label(lengths: ModuleType, tmp_path: Path) -> None:
    lengths.write_rows(tmp_path / "rows.csv", 50)
    with (tmp_path / "rows.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    words = [len(row["text"].split()) for row in rows]
    assert len(rows) == lengths.NUM_ROWS and 45 < max(words) <= 50 and 1 <= min(words) < 6
    assert len({row["label"] for row in rows}) == 6


def test_too_many_steps_are_refused_with_what_to_use(lengths: ModuleType) -> None:
    said = lengths.refusal(1025)
    assert said.startswith("lowering=unrolled with sequence_length=1025: over 1024 steps")
    assert said.endswith("Use --lowering auto.")
    assert lengths.refusal(1024) == "not refused"


def test_done_lines_are_kept_and_a_failed_export_fails_the_command(
    lengths: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def export(run: Path, scheme: str, lowering: str) -> dict[str, object]:
        made.append((run.name, scheme, lowering))
        failed = run.name == "transformer-64" and scheme == "int8"
        cost = {"seconds": 12.3, "cpu_seconds": 9.9, "load_average": None}
        if failed:
            return {**cost, "error": "the op is too large", "took": None, "size_bytes": None}
        took = "loop" if lowering == "auto" else lowering
        return {**cost, "error": None, "took": took, "size_bytes": 5400}

    monkeypatch.setattr(lengths, "train", lambda *_: None)
    monkeypatch.setattr(lengths, "export", export)
    page = tmp_path / "page.md"
    arguments = ["--runs", str(tmp_path), "--markdown", str(page), "--lengths", "64"]
    monkeypatch.setattr(sys, "argv", ["lengths.py", *arguments, "--unrolled", "64"])
    for _ in range(2):
        with pytest.raises(SystemExit, match="1"):
            lengths.main()
    assert len(made) == len(set(made)) == 6
    assert len(json.loads((tmp_path / "page.json").read_text("utf-8"))) == 6
    text = page.read_text("utf-8")
    assert "| lstm | 64 | auto: loop | float32 | 5 | 12 | 10 | – |" in text
    assert "| lstm | 64 | unrolled | int8 | 5 | 12 | 10 | – |" in text
    assert "| transformer | 64 | auto | int8 | **the op is too large** | 12 | 10 | – |" in text
    assert "Error: lowering=unrolled with sequence_length=1025" in text
