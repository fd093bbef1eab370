"""benchmarks/students.py: who teaches whom with which texts and labels, and the table."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import load_benchmark


@pytest.fixture(scope="module")
def students() -> ModuleType:
    return load_benchmark("students")


def run_of(accuracy: float) -> dict[str, Any]:
    linear = {"tfidf_logistic_regression": {"accuracy": 0.8}}
    metrics = {"test": {"accuracy": accuracy}, "baseline": linear}
    data = {"fingerprint_sha256": "of these tables"}
    return {"metrics": metrics, "data": data, "recipe": {"train": {"epochs": 17}}}


@pytest.fixture
def trained(students: ModuleType, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """{folder of a run: recipe values and teachers}, of the runs that were asked for."""
    asked: dict[str, list[str]] = {}

    def train(self: Any, run: Path, model: str, *values: str, teachers: Any = ()) -> None:
        asked[str(run.relative_to(self.runs))] = [*values, *teachers]
        run.mkdir(parents=True)
        (run / "run.json").write_text(json.dumps(run_of(0.9)))

    monkeypatch.setattr(students.Benchmark, "train", train)
    return asked


def test_with_all_labels_the_runs_of_the_same_seed_teach(
    students: ModuleType, trained: dict[str, list[str]], tmp_path: Path
) -> None:
    benchmark = students.benchmark_of(tmp_path, "topics", 2, students.ALL)
    students.fill(benchmark, students.TEACHERS[students.ALL])
    runs = [f"{tmp_path}/topics/lstm-2", "--teacher", f"{tmp_path}/topics/transformer-2"]
    assert trained == {
        "topics/lstm-2": [],
        "topics/transformer-2": [],
        "topics/average-taught-by-runs-2": ["--teacher", *runs],
        "topics/average-taught-by-TF-IDF-2": ["--teacher", "tfidf"],
        "topics/average-2": [],
    }


def test_with_a_fifth_of_the_labels_the_other_texts_teach_and_who_is_alone_learns_as_long(
    students: ModuleType, trained: dict[str, list[str]], tmp_path: Path
) -> None:
    benchmark = students.benchmark_of(tmp_path, "topics", 1, students.FIFTH)
    students.fill(benchmark, students.TEACHERS[students.FIFTH])
    folder = tmp_path / "data" / "topics-fifth"
    taught = trained["topics-fifth/average-taught-by-runs-TF-IDF"]
    runs = [f"{tmp_path}/topics-fifth/{model}" for model in students.MODELS]
    options = ["--teacher", runs[0], "--teacher", runs[1], "--teacher", "tfidf"]
    assert taught == [*options, "--unlabelled", f"{folder}/unlabelled.txt"]
    assert trained["topics-fifth/average"] == ["train.epochs=85"]
    assert benchmark.tables() == (f"{folder}/train.csv", folder / "test.csv")

    with (tmp_path / "data/topics/train.csv").open(newline="", encoding="utf-8") as file:
        every = {row["text"]: row["label"] for row in csv.DictReader(file)}
    with (folder / "train.csv").open(newline="", encoding="utf-8") as file:
        known = {row["text"]: row["label"] for row in csv.DictReader(file)}
    others = set((folder / "unlabelled.txt").read_text("utf-8").splitlines())
    assert known.items() <= every.items() and not known.keys() & others
    assert known.keys() | others == every.keys()
    assert 0.17 < len(known) / len(every) < 0.23


def test_points_are_paired_by_seed(students: ModuleType) -> None:
    seeds = [
        {"alone": 0.90, "taught": 0.92, "tfidf": 0.8},
        {"alone": 0.80, "taught": 0.79, "tfidf": 0.8},
    ]
    assert students.format_row(("topics", "all", "runs"), seeds) == (
        "| topics | all | runs | 2 | 0.8500 | 0.8550 | +0.50 (-1.00 to +2.00) | 0.8000 |"
    )


def test_figures_outlive_their_runs(
    students: ModuleType, trained: dict[str, list[str]], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    page = tmp_path / "page.md"
    page.write_text("# Page\n", "utf-8")
    digest = students.Benchmark(tmp_path, "topics", 1).data_sha256()
    monkeypatch.setattr(students.Benchmark, "data_sha256", lambda self: "of these tables")
    for machine, labels in (("first", "all"), ("second", "all"), ("second", "a fifth")):
        names = ["--runs", str(tmp_path / machine), "--sets", "topics", "--page", str(page)]
        monkeypatch.setattr("sys.argv", ["students.py", *names, "--seeds", "1", "--labels", labels])
        trained.clear()
        students.main()
        assert (labels == "all" and machine == "second") == (not trained)
    rows = [line for line in page.read_text("utf-8").splitlines() if line.startswith("| topics")]
    assert rows == [
        f"| topics | {labels} | {who} | 1 | 0.9000 | 0.9000 | +0.00 | 0.8000 |"
        for labels, who in (
            ("all", "runs"), ("all", "TF-IDF"), ("a fifth", "runs"), ("a fifth", "runs + TF-IDF"),
        )
    ]  # fmt: skip
    # Other tables, other figures: what is known of those is not taken for these.
    monkeypatch.setattr(students.Benchmark, "data_sha256", lambda self: digest)
    monkeypatch.setattr("sys.argv", ["students.py", *names, "--seeds", "1", "--labels", "all"])
    students.main()
    assert "topics/average" in trained
