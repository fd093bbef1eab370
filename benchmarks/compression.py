"""Benchmark sets × models × seeds × compressions → accuracy, agreement, sizes: resumable tables.

    python benchmarks/compression.py --runs runs/benchmarks --sets topics --models lstm transformer

Works on the runs of benchmarks/accuracy.py (seed 1; those of other seeds it trains beside them, as
RUNS/SET/MODEL-SEED) and goes through the command line, as a user would. What is done is skipped: a
finished training, a variant that is there, an export of the same weights, its verification, a bench
of the same files. Each table replaces what stands under its heading in docs/compression.md, and
holds all that is there, whichever cells were asked for.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accuracy import read
from compression_tables import write_methods, write_smaller
from datasets import make_dataset

from tfpipe.data import PACKAGED

# name → seeds
SETS = {"topics": (1, 2, 3), "snips": (1, 2, 3), "r8": (1, 2, 3), "20ng": (1,)}
MODELS = ("lstm", "transformer")


@dataclass(frozen=True)
class Cell:
    """One way to make a file of a trained run.

    Attributes:
        options: Of `tfpipe compress`; empty for the trained model itself. "TEACHERS" stands for the
            runs of MODELS with the same set and seed.
        scheme: Of `tfpipe export`.
    """

    options: tuple[str, ...]
    scheme: str

    @property
    def variant(self) -> str:
        """Name of the variant."""
        name = "".join(self.options).replace("--", "-").replace("TEACHERS", "-taught")
        return name.strip("-") or "base"

    @property
    def artifact(self) -> str:
        """Name of the artifact, as `tfpipe export` has it."""
        target = f"cpu-{self.scheme}"
        return target if self.variant == "base" else f"{self.variant}-{target}"


METHODS = {
    "float32": Cell((), "float32"),
    "post-training int8": Cell((), "int8"),
    "qat": Cell(("--qat",), "int8"),
    "prune 0.8": Cell(("--prune", "0.8"), "dynamic_int8"),
    "cluster 16": Cell(("--cluster", "16"), "dynamic_int8"),
    "prune 0.8, cluster 16, qat": Cell(("--prune", "0.8", "--cluster", "16", "--qat"), "int8"),
}
SMALLER = {
    "float32": Cell((), "float32"),
    "dynamic_int8": Cell((), "dynamic_int8"),
    "int8": Cell((), "int8"),
    "shrink 0.5": Cell(("--shrink", "0.5"), "dynamic_int8"),
    "shrink 0.7": Cell(("--shrink", "0.7"), "dynamic_int8"),
    "shrink 0.8": Cell(("--shrink", "0.8"), "dynamic_int8"),
    "shrink 0.5, taught": Cell(("--shrink", "0.5", "TEACHERS"), "dynamic_int8"),
}


def tfpipe(*arguments: str | Path) -> None:
    """Runs one command; what it says on stderr stays visible, its failure shows in the table."""
    command = [sys.executable, "-m", "tfpipe.cli", *map(str, arguments)]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=False)


@dataclass(frozen=True)
class Benchmark:
    """Where the runs of one data set and seed lie, and what is made of them.

    Attributes:
        runs: Folder of all runs.
        name: Of the data set.
        seed: Of the training, and of the split of a table without a test file.
    """

    runs: Path
    name: str
    seed: int

    def run(self, model: str) -> Path:
        """Returns the folder of a model's run."""
        return self.runs / self.name / (model if self.seed == 1 else f"{model}-{self.seed}")

    def data(self) -> list[str]:
        """Returns what `tfpipe train` is told of the table."""
        if self.name in PACKAGED:
            return [self.name]
        folder = make_dataset(self.name, self.runs / "data", shared=Path("../shared/data"))
        return [str(folder / "train.csv"), "--test", str(folder / "test.csv")]

    def train(self, run: Path, model: str, *values: str, teachers: Sequence[str] = ()) -> None:
        """Trains a run that is not there."""
        if (run / "run.json").is_file():
            return
        settings = (f"train.seed={self.seed}", *values)
        options = [part for value in settings for part in ("--set", value)]
        where = ("--run", run, "--model", model, "--resume")
        tfpipe("train", *self.data(), *where, *options, *teachers)

    def teachers(self) -> list[str]:
        """Returns the options that name the teachers."""
        return [part for model in MODELS for part in ("--teacher", str(self.run(model)))]

    def make(self, model: str, cell: Cell) -> None:
        """Compresses, exports and verifies what is not there yet."""
        run = self.run(model)
        artifact = run / "exports" / cell.artifact
        if cell.options and not (run / "variants" / cell.variant / "compress.json").is_file():
            options = [option for option in cell.options if option != "TEACHERS"]
            if "TEACHERS" in cell.options:
                options += self.teachers()
            tfpipe("compress", run, "--as", cell.variant, *options)
        if not (artifact / "manifest.json").is_file():
            tfpipe("export", run, "--variant", cell.variant, "--scheme", cell.scheme)
        if artifact.is_dir() and not (artifact / "verify.json").is_file():
            tfpipe("verify", artifact)

    def facts(self, model: str, cell: Cell) -> dict[str, Any]:
        """Returns what is known of a cell's file; nothing if it is not there."""
        run = self.run(model)
        artifact = run / "exports" / cell.artifact
        found = {**read(artifact / "check.json"), **read(artifact / "verify.json")}
        if not found:
            return {}
        compressed = read(run / "variants" / cell.variant / "compress.json")
        own = {"scheme": cell.scheme, "run": read(run / "run.json"), "compressed": compressed}
        return {**found, **own}


def bench_together(run: Path, cells: list[Cell]) -> None:
    """Measures the verified files of a run in turn, unless one call did."""
    wanted = [run / "exports" / cell.artifact for cell in cells]
    wanted = [path for path in wanted if read(path / "verify.json").get("passed")]
    digests = {read(path / "verify.json")["model_sha256"] for path in wanted}
    calls = [read(file)["results"] for file in sorted((run / "bench").glob("*.json"))]
    if not any(digests <= {result["model_sha256"] for result in call} for call in calls):
        tfpipe("bench", *wanted)


def fill_methods(runs: Path, options: argparse.Namespace) -> None:
    """Makes the cells of METHODS and their table, a set at a time."""
    for name in options.sets:
        for seed in [seed for seed in SETS[name] if seed in options.seeds]:
            for model in options.models:
                benchmark = Benchmark(runs, name, seed)
                benchmark.train(benchmark.run(model), model)
                for cell in [METHODS[cell] for cell in METHODS if cell in options.cells]:
                    benchmark.make(model, cell)
                    show_methods(runs, options.page)


def show_methods(runs: Path, page: Path) -> None:
    """Writes the table of METHODS."""
    found = {
        (name, model, cell): [
            facts
            for seed in SETS[name]
            if (facts := Benchmark(runs, name, seed).facts(model, METHODS[cell]))
        ]
        for name in SETS
        for model in MODELS
        for cell in METHODS
    }
    write_methods(page, found)


def fill_smaller(runs: Path, options: argparse.Namespace) -> None:
    """Makes the cells of SMALLER, with the first seed, and their table; a run's files are measured
    together."""
    found = {}
    for name in SETS:
        for model in MODELS:
            benchmark = Benchmark(runs, name, SETS[name][0])
            if name in options.sets and model in options.models:
                benchmark.train(benchmark.run(model), model)
                for cell in [SMALLER[cell] for cell in SMALLER if cell in options.cells]:
                    benchmark.make(model, cell)
            cells = [cell for cell in SMALLER if benchmark.facts(model, SMALLER[cell])]
            if name in options.sets and cells:
                bench_together(benchmark.run(model), [SMALLER[cell] for cell in cells])
            calls = sorted((benchmark.run(model) / "bench").glob("*.json"))
            results = [result for file in calls for result in read(file)["results"]]
            benches = {result["model_sha256"]: result for result in results}
            for cell in cells:
                facts = benchmark.facts(model, SMALLER[cell])
                bench = benches.get(facts.get("model_sha256"), {})
                measured = {key: bench.get(key) for key in ("p50_ns", "validity")}
                found[name, model, cell] = {**facts, **measured}
    write_smaller(options.page, found)


TABLES = {"methods": fill_methods, "smaller": fill_smaller}


def main() -> None:
    """Fills the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    every = list({**METHODS, **SMALLER})
    parser.add_argument("--cells", nargs="+", default=every, choices=every, metavar="CELL")
    parser.add_argument("--tables", nargs="+", default=list(TABLES), choices=list(TABLES))
    parser.add_argument("--page", type=Path, default=Path("docs/compression.md"))
    options = parser.parse_args()
    for name in options.tables:
        TABLES[name](options.runs, options)


if __name__ == "__main__":
    main()
