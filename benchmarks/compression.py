"""Benchmark sets × models × compressions → accuracy, agreement and size, one resumable table.

    python benchmarks/compression.py --runs runs/benchmarks --sets topics --models lstm transformer

Works on the runs of benchmarks/accuracy.py and goes through the command line, as a user would.
What is done is skipped: a variant that is there, an export of the same weights, its verification.
The table replaces what stands under "## Measured" in docs/compression.md.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

from accuracy import read
from datasets import BENCHMARK_SETS

from device_runner.files import write_file_atomic
from tfpipe.config import MODEL_NAMES

HEADING = "## Measured\n"
ABOUT = """
Made by `python benchmarks/compression.py`, default recipes and options, seed 1, one run each.
*float* is the accuracy of the trained float model, *form* that of the Keras model which the file is
verified against (the quantization-aware form for qat), *file* that of the exported file run by
ai-edge-litert, all on the n test texts; *agreement* the share of those that file and form predict
alike; *median* the median over the texts of the largest difference of their outputs, in quanta of
1/256. zip / float32 is the zipped file over the zipped float32 file.
"""
# name → (options of `tfpipe compress`, scheme of the file)
CELLS: dict[str, tuple[list[str], str]] = {
    "float32": ([], "float32"),
    "post-training int8": ([], "int8"),
    "qat": (["--qat"], "int8"),
    "prune 0.8": (["--prune", "0.8"], "dynamic_int8"),
    "cluster 16": (["--cluster", "16"], "dynamic_int8"),
    "prune 0.8, cluster 16, qat": (["--prune", "0.8", "--cluster", "16", "--qat"], "int8"),
}


def tfpipe(*arguments: str | Path) -> None:
    """Runs one command; what it says on stderr stays visible, its failure shows in the table."""
    command = [sys.executable, "-m", "tfpipe.cli", *map(str, arguments)]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=False)


def variant_of(cell: str) -> str:
    """Returns the name of a cell's variant."""
    options, _ = CELLS[cell]
    return "".join(options).replace("--", "-").strip("-") or "base"


def run_cell(run: Path, cell: str, data: list[str]) -> dict[str, Any]:
    """Compresses, exports and verifies what is not there yet; returns the row's figures."""
    options, scheme = CELLS[cell]
    variant = variant_of(cell)
    if options and not (run / "variants" / variant / "compress.json").is_file():
        tfpipe("compress", run, "--as", variant, *options, *data)
    name = f"cpu-{scheme}" if variant == "base" else f"{variant}-cpu-{scheme}"
    artifact = run / "exports" / name
    if not (artifact / "manifest.json").is_file():
        tfpipe("export", run, "--variant", variant, "--scheme", scheme)
    if artifact.is_dir() and not (artifact / "verify.json").is_file():
        tfpipe("verify", artifact)
    return {**read(artifact / "check.json"), **read(artifact / "verify.json")}


def format_row(run: Path, cell: str, facts: dict[str, Any], float32: dict[str, Any]) -> str:
    """Returns one line of the table; "–" is unknown."""

    def figure(value: Any, pattern: str) -> str:
        return "–" if value is None else format(value, pattern)

    content = read(run / "run.json")
    zipped, before = facts.get("zip_size_bytes"), float32.get("zip_size_bytes")
    quanta = facts.get("median_abs_error")
    cells = [
        run.parent.name,
        run.name,
        cell,
        CELLS[cell][1],
        figure(content["metrics"]["test"]["accuracy"], ".4f"),
        *(figure(facts.get(key), ".4f") for key in ("keras", "artifact", "agreement")),
        figure(None if quanta is None else quanta * 256, ".2f"),
        figure(facts.get("num_examples"), "d"),
        figure(facts.get("model_size_bytes", 0) / 1000, ".0f"),
        figure(zipped / before if zipped and before else None, ".3f"),
        {True: "yes", False: "no"}.get(facts.get("passed"), "–"),  # type: ignore[arg-type]
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Fills the table cell by cell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=list(BENCHMARK_SETS))
    parser.add_argument("--models", nargs="+", default=["lstm", "transformer"], choices=MODEL_NAMES)
    parser.add_argument("--cells", nargs="+", default=list(CELLS), choices=list(CELLS))
    parser.add_argument("--page", type=Path, default=Path("docs/compression.md"))
    options = parser.parse_args()
    lines = [
        "| set | model | what | scheme | float | form | file | agreement | median | n | kB "
        "| zip / float32 | verified |",
        "|---|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for name in options.sets:
        folder = options.runs / "data" / name
        table = ["--data", str(folder / "train.csv"), "--test", str(folder / "test.csv")]
        for model in options.models:
            run = options.runs / name / model
            if not (run / "run.json").is_file():
                continue
            float32 = run_cell(run, "float32", [])
            for cell in options.cells:
                facts = run_cell(run, cell, table if folder.is_dir() else [])
                lines.append(format_row(run, cell, facts, float32))
                print(lines[-1], flush=True)
                text, _, _ = options.page.read_text("utf-8").partition(HEADING)
                page = f"{text}{HEADING}{ABOUT}\n" + "\n".join(lines) + "\n"
                write_file_atomic(options.page, page.encode())


if __name__ == "__main__":
    main()
