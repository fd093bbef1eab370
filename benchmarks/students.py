"""Small models × who teaches them × benchmark sets × seeds → how much teaching gains: one table.

    python benchmarks/students.py --runs runs/benchmarks --sets topics --seeds 1

Works on the runs of benchmarks/accuracy.py and compression.py, whose LSTM and Transformer of the
same set and seed teach; it trains those that are not there. With a fifth of the labels, all of them
know the labels of that fifth alone, and the other texts teach without theirs; such runs lie in
RUNS/SET-fifth. Finished ones are skipped, and so is a row whose figures stand in
docs/compression.json. The table replaces what stands under its heading in docs/compression.md; a
row without figures in the .json stays as it is.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from accuracy import read
from compression import SETS
from compression_records import Record, Records
from compression_runs import MODELS, Benchmark
from compression_tables import figure, spread, write_table
from datasets import format_csv, make_dataset

from device_runner.files import write_file_atomic

HEADING = "## Students, measured\n"
ABOUT = """
Made by `python benchmarks/students.py --runs RUNS`: the average model, trained alone and with
teachers, otherwise with its default recipe. *runs* are the set's LSTM and Transformer runs of the
same seed (`--teacher LSTM --teacher TRANSFORMER`), *TF-IDF* is `--teacher tfidf`, whose own
accuracy stands last. Where a fifth of the training rows have *labels*, all models know those alone,
and the texts of the other rows come to the students with `--unlabelled`; who learns alone may take
as many updates as who is taught (`train.epochs`, with early stopping). Accuracies on the test split
are means over n seeds; *points* is taught - alone, paired by seed: mean (lowest to highest).
"""
KEY = ("set", "labels", "taught_by", "seed")
STUDENT = "average"
ALL, FIFTH = "all", "a fifth"
FIFTHS = 5
RUNS, TFIDF = "runs", "TF-IDF"
# share of the rows with labels → who teaches beside the labels
TEACHERS: dict[str, tuple[tuple[str, ...], ...]] = {
    ALL: ((RUNS,), (TFIDF,)),
    FIFTH: ((RUNS,), (RUNS, TFIDF)),
}


class FewLabels(Benchmark):
    """Runs that know the labels of a fifth of the training rows."""

    def __init__(self, runs: Path, name: str, seed: int) -> None:
        super().__init__(runs, f"{name}-fifth", seed)

    def tables(self) -> tuple[str, Path | None]:
        """Returns the table of the fifth, and the test table."""
        folder = self.make_table()
        return str(folder / "train.csv"), folder / "test.csv"

    def texts(self) -> Path:
        """Returns the file with the texts of the other rows."""
        return self.make_table() / "unlabelled.txt"

    def make_table(self) -> Path:
        """Returns the folder of the table and of the other texts, made if need be; a text's SHA-1
        decides."""
        folder = self.runs / "data" / self.name
        if (folder / "unlabelled.txt").is_file():  # the last that is written
            return folder
        source = make_dataset(self.name.removesuffix("-fifth"), self.runs / "data")
        with (source / "train.csv").open(encoding="utf-8", newline="") as file:
            rows = [(row["text"], row["label"]) for row in csv.DictReader(file)]
        known = [row for row in rows if keeps_label(row[0])]
        others = [" ".join(text.split()) for text, _ in rows if not keeps_label(text)]
        folder.mkdir(parents=True, exist_ok=True)
        write_file_atomic(folder / "train.csv", format_csv(known))
        write_file_atomic(folder / "test.csv", (source / "test.csv").read_bytes())
        write_file_atomic(folder / "unlabelled.txt", "".join(f"{t}\n" for t in others).encode())
        return folder


def keeps_label(text: str) -> bool:
    """Returns whether a text is of the fifth."""
    return hashlib.sha1(text.encode(), usedforsecurity=False).digest()[0] % FIFTHS == 0


def benchmark_of(runs: Path, name: str, seed: int, labels: str) -> Benchmark:
    """Returns where the runs lie that know all labels or a fifth."""
    return FewLabels(runs, name, seed) if labels == FIFTH else Benchmark(runs, name, seed)


def student_run(benchmark: Benchmark, teachers: Sequence[str]) -> Path:
    """Returns the folder of a student's run."""
    return benchmark.run("-".join((STUDENT, "taught-by", *teachers) if teachers else (STUDENT,)))


def fill(benchmark: Benchmark, teachings: Sequence[Sequence[str]]) -> None:
    """Trains the teachers of a set and seed, their students, and the student without them."""
    for model in MODELS:
        benchmark.train(benchmark.run(model), model)
    for teachers in teachings:
        options = benchmark.teachers() if RUNS in teachers else []
        options += ["--teacher", "tfidf"] if TFIDF in teachers else []
        if isinstance(benchmark, FewLabels):
            options += ["--unlabelled", str(benchmark.texts())]
        benchmark.train(student_run(benchmark, teachers), STUDENT, teachers=options)
    values = []
    if isinstance(benchmark, FewLabels):
        taught = read(student_run(benchmark, teachings[0]) / "run.json")
        values = [f"train.epochs={FIFTHS * taught['recipe']['train']['epochs']}"]
    benchmark.train(student_run(benchmark, ()), STUDENT, *values)


def describe(name: str, labels: str, benchmark: Benchmark, teachers: Sequence[str]) -> Record:
    """Returns how a student of `teachers` and the one without did; {} if a run is missing."""
    alone, taught = (read(student_run(benchmark, who) / "run.json") for who in ((), teachers))
    if not alone or not taught:
        return {}
    linear = alone["metrics"]["baseline"]["tfidf_logistic_regression"]
    return {
        **dict(zip(KEY, (name, labels, " + ".join(teachers), benchmark.seed), strict=True)),
        "data_sha256": alone["data"]["fingerprint_sha256"],
        "alone": alone["metrics"]["test"]["accuracy"],
        "taught": taught["metrics"]["test"]["accuracy"],
        "tfidf": linear["accuracy"],
    }


def show(page: Path, records: Records) -> None:
    """Writes the table."""
    header = (
        "| set | labels | taught by | n | alone | taught | points | TF-IDF |\n"
        "|---|---|---|--:|--:|--:|--:|--:|"
    )
    rows = {}
    for name in SETS:
        for labels, teachings in TEACHERS.items():
            for teachers in teachings:
                names = name, labels, " + ".join(teachers)
                seeds = records.select(**dict(zip(KEY[:3], names, strict=True)))
                rows[names] = format_row(names, seeds) if seeds else None
    write_table(page, HEADING, ABOUT, header, rows)


def format_row(names: Sequence[str], seeds: Sequence[Record]) -> str:
    """Returns a line of the table, made of the records of all seeds."""
    alone, taught, linear = (
        np.array([record[key] for record in seeds]) for key in ("alone", "taught", "tfidf")
    )
    figures = [
        str(len(seeds)),
        figure(alone.mean(), ".4f"),
        figure(taught.mean(), ".4f"),
        spread((taught - alone).tolist()),
        figure(linear.mean(), ".4f"),
    ]
    return f"| {' | '.join([*names, *figures])} |"


def main() -> None:
    """Fills the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--labels", nargs="+", default=list(TEACHERS), choices=list(TEACHERS))
    parser.add_argument("--page", type=Path, default=Path("docs/compression.md"))
    options = parser.parse_args()
    records = Records(options.page, "students", KEY, ("set", "labels"))
    for name in options.sets:
        for seed in [seed for seed in SETS[name] if seed in options.seeds]:
            for labels in options.labels:
                benchmark = benchmark_of(options.runs, name, seed, labels)
                digest = benchmark.data_sha256()
                by = [" + ".join(teachers) for teachers in TEACHERS[labels]]
                if all(records.find(name, labels, who, seed, data_sha256=digest) for who in by):
                    continue
                fill(benchmark, TEACHERS[labels])
                found = [describe(name, labels, benchmark, who) for who in TEACHERS[labels]]
                records.add(filter(None, found))
                show(options.page, records)
    show(options.page, records)


if __name__ == "__main__":
    main()
