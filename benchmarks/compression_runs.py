"""One model of one set and seed → its run, the files made of it, and their figures.

Everything goes through the command line, as a user would do it; what is there is not made again.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from accuracy import read
from compression_records import Record
from datasets import make_dataset

from tfpipe.data import PACKAGED, open_dataset

MODELS = ("lstm", "transformer")
# What tells the figures of one file from those of another, and what `tfpipe verify` says of it.
KEY = ("set", "model", "seed", "variant", "scheme")
VERIFIED = ("agreement", "clear_agreement", "median_abs_error", "passed", "model_sha256")


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

    def tables(self) -> tuple[str, Path | None]:
        """Returns the training table, and the test table if it is not part of that."""
        if self.name in PACKAGED:
            return self.name, None
        folder = make_dataset(self.name, self.runs / "data", shared=Path("../shared/data"))
        return str(folder / "train.csv"), folder / "test.csv"

    def data_sha256(self) -> str:
        """Returns the fingerprint of the tables, as a run of them has it."""
        source, test = self.tables()
        return open_dataset(source, test=test, seed=self.seed).fingerprint_sha256

    def train(self, run: Path, model: str, *values: str, teachers: Sequence[str] = ()) -> None:
        """Trains a run that is not there."""
        if (run / "run.json").is_file():
            return
        settings = (f"train.seed={self.seed}", *values)
        options = [part for value in settings for part in ("--set", value)]
        source, test = self.tables()
        data = [source] if test is None else [source, "--test", test]
        tfpipe("train", *data, "--run", run, "--model", model, "--resume", *options, *teachers)

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

    def describe(self, model: str, cell: Cell) -> Record:
        """Returns what is known of a cell's file, None for what is not; {} if it is not there."""
        run = self.run(model)
        artifact = run / "exports" / cell.artifact
        trained, checked = read(run / "run.json"), read(artifact / "check.json")
        if not checked:
            return {}
        compressed = read(run / "variants" / cell.variant / "compress.json")
        verified = read(artifact / "verify.json")
        bench: Record = {}
        for file in sorted((run / "bench").glob("*.json")):
            for result in read(file)["results"]:
                if result["model_sha256"] == verified.get("model_sha256"):
                    bench = {**result, "bench": file.name}
        return {
            **dict(zip(KEY, (self.name, model, self.seed, cell.variant, cell.scheme), strict=True)),
            "data_sha256": trained["data"]["fingerprint_sha256"],
            "parameters": compressed.get("parameters", trained["parameters"]),
            "float": trained["metrics"]["test"]["accuracy"],
            "file": verified.get("artifact"),
            **{key: verified.get(key) for key in VERIFIED},
            **{key: checked[key] for key in ("model_size_bytes", "zip_size_bytes")},
            **{key: bench.get(key) for key in ("p50_ns", "validity", "bench")},
        }


def bench_together(run: Path, cells: Sequence[Cell]) -> None:
    """Measures the verified files of a run in turn, unless one call did."""
    wanted = [run / "exports" / cell.artifact for cell in cells]
    wanted = [path for path in wanted if read(path / "verify.json").get("passed")]
    digests = {read(path / "verify.json")["model_sha256"] for path in wanted}
    calls = [read(file)["results"] for file in sorted((run / "bench").glob("*.json"))]
    if not any(digests <= {result["model_sha256"] for result in call} for call in calls):
        tfpipe("bench", *wanted)
