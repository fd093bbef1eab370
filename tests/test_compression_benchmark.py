"""benchmarks/compression.py: which cells are made, measured together and taken from the .json."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import load_benchmark


@pytest.fixture
def benchmark() -> ModuleType:
    return load_benchmark("compression")


def write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), "utf-8")


class Commands:
    """Stands in for the command line, with files as its commands leave them."""

    def __init__(self, data_sha256: str) -> None:
        self.data_sha256 = data_sha256
        self.called: list[tuple[str, ...]] = []

    def __call__(self, *arguments: str | Path) -> None:
        command, first, *rest = map(str, arguments)
        getattr(self, command)(Path(first), rest)

    def train(self, table: Path, options: list[str]) -> None:
        run = Path(options[options.index("--run") + 1])
        self.called.append(("train", str(table), run.name))
        metrics = {"test": {"accuracy": 0.9}}
        data = {"fingerprint_sha256": self.data_sha256}
        write(run / "run.json", {"data": data, "metrics": metrics, "parameters": 1000})

    def compress(self, run: Path, options: list[str]) -> None:
        self.called.append(("compress", run.name, *options[2:]))
        write(run / "variants" / options[1] / "compress.json", {"parameters": 500})

    def export(self, run: Path, options: list[str]) -> None:
        variant, scheme = options[1], options[3]
        name = f"cpu-{scheme}" if variant == "base" else f"{variant}-cpu-{scheme}"
        self.called.append(("export", run.name, name))
        write(run / "exports" / name / "manifest.json", {})
        sizes = {"model_size_bytes": 2000, "zip_size_bytes": 1000}
        write(run / "exports" / name / "check.json", sizes)

    def verify(self, artifact: Path, _: list[str]) -> None:
        figures = {"agreement": 1.0, "clear_agreement": 1.0, "median_abs_error": 0.0}
        said = {"artifact": 0.89, "passed": True, "model_sha256": artifact.name, **figures}
        write(artifact / "verify.json", said)

    def bench(self, first: Path, others: list[str]) -> None:
        names = [first.name, *(Path(other).name for other in others)]
        self.called.append(("bench", *names))
        results = [{"model_sha256": name, "p50_ns": 7000, "validity": "valid"} for name in names]
        write(first.parents[1] / "bench" / "1.json", {"results": results})


@pytest.fixture
def commands(benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    digest = benchmark.Benchmark(tmp_path, "topics", 1).data_sha256()
    stand_in = Commands(digest)
    monkeypatch.setattr("compression_runs.tfpipe", stand_in)
    return stand_in


def call(
    benchmark: ModuleType, runs: Path, monkeypatch: pytest.MonkeyPatch, *options: str
) -> list[str]:
    """Calls the program on topics' LSTM; returns its rows in the page."""
    page = runs.parent / "page.md"
    if not page.is_file():
        page.write_text("# Page\n", "utf-8")
    names = ["--runs", str(runs), "--page", str(page), "--sets", "topics", "--models", "lstm"]
    monkeypatch.setattr("sys.argv", ["compression.py", *names, *options])
    benchmark.main()
    lines = page.read_text("utf-8").splitlines()
    return [line for line in lines if line.startswith("| topics | lstm")]


def test_finished_cells_need_no_run(
    benchmark: ModuleType, commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    methods = ("--tables", "methods", "--cells", "float32", "prune 0.8")
    call(benchmark, tmp_path / "first", monkeypatch, *methods, "--seeds", "1", "2")
    assert commands.called == [
        ("train", "topics", "lstm"),
        ("export", "lstm", "cpu-float32"),
        ("compress", "lstm", "--prune", "0.8"),
        ("export", "lstm", "prune0.8-cpu-dynamic_int8"),
        ("train", "topics", "lstm-2"),
        ("export", "lstm-2", "cpu-float32"),
        ("compress", "lstm-2", "--prune", "0.8"),
        ("export", "lstm-2", "prune0.8-cpu-dynamic_int8"),
    ]
    # Another machine goes on where this one stopped.
    commands.called.clear()
    rows = call(benchmark, tmp_path / "second", monkeypatch, *methods)
    assert {called[1] for called in commands.called[1:]} == {"lstm-3"}
    assert [row.split(" | ")[2:5] for row in rows] == [
        ["float32", "float32", "3"],
        ["prune 0.8", "dynamic_int8", "3"],
    ]


def test_cells_of_another_table_are_made_anew(
    benchmark: ModuleType, commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    methods = ("--tables", "methods", "--cells", "float32", "--seeds", "1")
    call(benchmark, tmp_path / "first", monkeypatch, *methods)
    commands.called.clear()
    call(benchmark, tmp_path / "second", monkeypatch, *methods)
    assert not commands.called
    call(benchmark, tmp_path / "first", monkeypatch, *methods[:-1], "2")
    # Both seeds' figures are of tables that are gone; one seed of today's tables is known then.
    commands.data_sha256 = "another"
    monkeypatch.setattr(benchmark.Benchmark, "data_sha256", lambda self: "another")
    (tmp_path / "page.md").write_text("# Page\n", "utf-8")
    (row,) = call(benchmark, tmp_path / "third", monkeypatch, *methods)
    assert ("train", "topics", "lstm") in commands.called
    assert row.split(" | ")[4] == "1"


def test_row_of_more_seeds_stays_until_as_many_are_known(
    benchmark: ModuleType, commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    methods = ("--tables", "methods", "--cells", "float32", "--seeds")
    call(benchmark, tmp_path / "first", monkeypatch, *methods, "1", "2")
    (tmp_path / "page.json").unlink()
    (old,) = call(benchmark, tmp_path / "second", monkeypatch, *methods, "3")
    assert old.split(" | ")[4] == "2"
    page = tmp_path / "page.md"
    page.write_text(page.read_text("utf-8").replace("0.8900", "0.7000"), "utf-8")
    (old,) = call(benchmark, tmp_path / "second", monkeypatch, *methods, "3")
    assert "0.7000" in old
    (new,) = call(benchmark, tmp_path / "second", monkeypatch, *methods, "1", "3")
    assert new.split(" | ")[4] == "2" and "0.8900" in new


def test_latencies_of_a_model_are_of_one_call(
    benchmark: ModuleType, commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smaller = ("--tables", "smaller", "--seeds", "1", "--cells")
    call(benchmark, tmp_path / "first", monkeypatch, *smaller, "dynamic_int8", "shrink 0.5")
    together = ("bench", "cpu-dynamic_int8", "shrink0.5-cpu-dynamic_int8")
    assert commands.called[-1] == together
    commands.called.clear()
    call(benchmark, tmp_path / "second", monkeypatch, *smaller, "dynamic_int8")
    assert not commands.called
    # One more, on another machine: what it is set against is measured there too.
    rows = call(benchmark, tmp_path / "second", monkeypatch, *smaller, "shrink 0.7")
    assert commands.called[-1] == (*together, "shrink0.7-cpu-dynamic_int8")
    assert [row.split(" | ")[2] for row in rows] == ["dynamic_int8", "shrink 0.5", "shrink 0.7"]
    assert all(row.endswith("| 1.00 | 1.00 |") for row in rows)
    # Another seed's files are measured beside those of that seed's run.
    seeds = ("--tables", "smaller", "--seeds", "1", "2", "--cells", "dynamic_int8", "shrink 0.5")
    rows = call(benchmark, tmp_path / "second", monkeypatch, *seeds)
    assert commands.called[-1] == together
    assert [row.split(" | ")[4] for row in rows] == ["2", "2", "1"]


def test_new_records_leave_those_of_other_kinds_where_they_are(
    benchmark: ModuleType, tmp_path: Path
) -> None:
    page = tmp_path / "page.md"
    first, second = (
        benchmark.Records(page, kind, ("set", "seed"), ("set",)) for kind in ("first", "second")
    )
    record = {"set": "topics", "seed": 1, "data_sha256": "a"}
    first.add([record])
    for added, records in enumerate((second, first, second)):
        records.add([{**record, "seed": 1 + added}])
        kept = json.loads(page.with_suffix(".json").read_text("utf-8"))
        assert list(kept) == ["first", "second"]
    assert [[entry["seed"] for entry in entries] for entries in kept.values()] == [[1, 2], [1, 3]]
