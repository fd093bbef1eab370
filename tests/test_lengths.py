"""Tests of benchmarks/lengths.py: its lines, its table, and texts that are as long as asked."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from conftest import load_benchmark


@pytest.fixture(scope="module")
def lengths() -> ModuleType:
    return load_benchmark("lengths")


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
    assert "lstm of the demo: " not in text
    assert "Error: lowering=unrolled with sequence_length=1025" in text


def test_schemes_of_the_demo_are_summed_up(lengths: ModuleType) -> None:
    row = {"model": lengths.DEMO, "lowering": "auto", "length": 40, "took": "loop", "error": None}
    cost = {"seconds": 12.3, "cpu_seconds": 9.9, "load_average": 0.5, "size_bytes": 1000}
    rows = [{**row, **cost, "scheme": scheme} for scheme in ("float32", "int8")]
    machine = {"cpu_model": "X", "num_cores": 2, "os": "Y"}
    assert "lstm of the demo: 2 schemes in 25 s.\n" in lengths.format_page(rows, machine)
    rows += [{**row, **cost, "scheme": "float32, int8", "seconds": 20.4}]
    page = lengths.format_page(rows, machine)
    assert "lstm of the demo: 2 schemes in 25 s, by one call in 20 s.\n" in page
