"""Benchmark sets × models × compressions → accuracy, agreement, size, latency: resumable tables.

    python benchmarks/compression.py --runs runs/benchmarks --sets topics --models lstm transformer

Works on the runs of benchmarks/accuracy.py and goes through the command line, as a user would.
What is done is skipped: a variant that is there, an export of the same weights, its verification,
a bench of the same files. Each table replaces what stands under its heading in docs/compression.md.
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
SMALLER_HEADING = "## Smaller models, measured\n"
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

SMALLER_ABOUT = """
Made by `python benchmarks/compression.py --tables smaller`, default recipes and options, one seed,
one run each, each model from the same trained float one. *float* is the accuracy of that model,
*form* that of the Keras model which the file is verified against, *file* that of the exported file
run by ai-edge-litert, all on the n test texts; *agreement* the share of those that file and form
predict alike. p50 is of one invoke, one thread, a host CPU that other programs used as well, all
files of a model measured in turn by one `tfpipe bench`; the last two columns set file and p50
against those of the unshrunken model in the scheme named beside them. *taught* is
`--teacher LSTM --teacher TRANSFORMER`: both unshrunken runs of the set.
"""
# The same of smaller models; "TEACHERS" stands for the set's runs.
SMALLER_CELLS: dict[str, tuple[list[str], str]] = {
    "float32": ([], "float32"),
    "dynamic_int8": ([], "dynamic_int8"),
    "int8": ([], "int8"),
    "shrink 0.5, float32": (["--shrink", "0.5"], "float32"),
    "shrink 0.5": (["--shrink", "0.5"], "dynamic_int8"),
    "shrink 0.5, taught": (["--shrink", "0.5", "TEACHERS"], "dynamic_int8"),
    # Of the variant in the row above: the weights that one call for both would go on from.
    "shrink 0.5, taught, qat": (["--from", "shrink0.5-taught", "--qat", "TEACHERS"], "int8"),
}
TEACHERS = ("lstm", "transformer")


def tfpipe(*arguments: str | Path) -> None:
    """Runs one command; what it says on stderr stays visible, its failure shows in the table."""
    command = [sys.executable, "-m", "tfpipe.cli", *map(str, arguments)]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=False)


def variant_of(cell: str) -> str:
    """Returns the name of a cell's variant."""
    options, _ = {**CELLS, **SMALLER_CELLS}[cell]
    return "".join(options).replace("--", "-").replace("TEACHERS", "-taught").strip("-") or "base"


def artifact_of(run: Path, cell: str) -> Path:
    """Returns where a cell's artifact lies."""
    _, scheme = {**CELLS, **SMALLER_CELLS}[cell]
    variant = variant_of(cell)
    return run / "exports" / (f"cpu-{scheme}" if variant == "base" else f"{variant}-cpu-{scheme}")


def run_cell(run: Path, cell: str, data: list[str]) -> dict[str, Any]:
    """Compresses, exports and verifies what is not there yet; returns the row's figures."""
    options, scheme = {**CELLS, **SMALLER_CELLS}[cell]
    variant, artifact = variant_of(cell), artifact_of(run, cell)
    if options and not (run / "variants" / variant / "compress.json").is_file():
        plain = [option for option in options if option != "TEACHERS"]
        if "TEACHERS" in options:
            for name in TEACHERS:
                plain += ["--teacher", str(run.parent / name)]
        tfpipe("compress", run, "--as", variant, *plain, *data)
    if not (artifact / "manifest.json").is_file():
        tfpipe("export", run, "--variant", variant, "--scheme", scheme)
    if artifact.is_dir() and not (artifact / "verify.json").is_file():
        tfpipe("verify", artifact)
    return facts_of(run, cell)


def facts_of(run: Path, cell: str) -> dict[str, Any]:
    """Returns what is known of a cell's file; nothing if it is not there."""
    artifact = artifact_of(run, cell)
    return {**read(artifact / "check.json"), **read(artifact / "verify.json")}


def bench_cells(run: Path, cells: list[str]) -> dict[str, dict[str, Any]]:
    """Measures the verified files of some cells in turn, unless one call did; returns the result
    of each file by its digest."""
    paths = [artifact_of(run, cell) for cell in cells]
    digests = {path: read(path / "verify.json").get("model_sha256") for path in paths}
    wanted = [path for path in paths if read(path / "verify.json").get("passed")]

    def results() -> list[dict[str, dict[str, Any]]]:
        calls = [read(file)["results"] for file in sorted((run / "bench").glob("*.json"))]
        return [{result["model_sha256"]: result for result in call} for call in calls]

    def together() -> list[dict[str, dict[str, Any]]]:
        return [call for call in results() if all(digests[path] in call for path in wanted)]

    if wanted and not together():
        tfpipe("bench", *wanted)
    return {} if not together() else together()[-1]


def figure(value: Any, pattern: str) -> str:
    """Returns a number as text; "–" is unknown."""
    return "–" if value is None else format(value, pattern)


def ratio(after: float | None, before: float | None) -> float | None:
    """Returns after / before; None where one is unknown."""
    return after / before if after and before else None


VERDICTS: dict[Any, str] = {True: "yes", False: "no"}


def format_row(run: Path, cell: str, facts: dict[str, Any], float32: dict[str, Any]) -> str:
    """Returns one line of the table; "–" is unknown."""
    content = read(run / "run.json")
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
        figure(ratio(facts.get("zip_size_bytes"), float32.get("zip_size_bytes")), ".3f"),
        VERDICTS.get(facts.get("passed"), "–"),
    ]
    return f"| {' | '.join(cells)} |"


def format_smaller(run: Path, cell: str, found: dict[str, Any], benches: dict[str, Any]) -> str:
    """Returns one line of the table of smaller models."""
    scheme = SMALLER_CELLS[cell][1]
    facts, before = found[cell], found.get(scheme, {})
    record = read(run / "variants" / variant_of(cell) / "compress.json")
    content = read(run / "run.json")
    p50, p50_before = (
        benches.get(each.get("model_sha256"), {}).get("p50_ns") for each in (facts, before)
    )
    size, zipped = facts.get("model_size_bytes"), facts.get("zip_size_bytes")
    cells = [
        run.parent.name,
        run.name,
        cell,
        figure(record.get("parameters", content["parameters"]), ",d"),
        figure(content["metrics"]["test"]["accuracy"], ".4f"),
        *(figure(facts.get(key), ".4f") for key in ("keras", "artifact", "agreement")),
        figure(facts.get("num_examples"), "d"),
        VERDICTS.get(facts.get("passed"), "–"),
        figure(size and size / 1000, ".0f"),
        figure(zipped and zipped / 1000, ".0f"),
        figure(p50 and p50 / 1000, ".0f"),
        scheme,
        figure(ratio(size, before.get("model_size_bytes")), ".2f"),
        figure(ratio(p50, p50_before), ".2f"),
    ]
    return f"| {' | '.join(cells)} |"


def write_section(page: Path, heading: str, about: str, lines: list[str]) -> None:
    """Puts a table under its heading, up to the next heading or the end."""
    before, _, rest = page.read_text("utf-8").partition(heading)
    _, following, after = rest.partition("\n## ")
    table = "\n".join(lines) + "\n"
    write_file_atomic(page, f"{before}{heading}{about}\n{table}{following}{after}".encode())


def fill_methods(runs: list[tuple[Path, list[str]]], cells: list[str], page: Path) -> None:
    """Fills the table of methods cell by cell."""
    lines = [
        "| set | model | what | scheme | float | form | file | agreement | median | n | kB "
        "| zip / float32 | verified |",
        "|---|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for run, data in runs:
        float32 = run_cell(run, "float32", [])
        for cell in CELLS:
            facts = run_cell(run, cell, data) if cell in cells else facts_of(run, cell)
            if not facts and cell not in cells:
                continue
            lines.append(format_row(run, cell, facts, float32))
            print(lines[-1], flush=True)
            write_section(page, HEADING, ABOUT, lines)


def fill_smaller(runs: list[tuple[Path, list[str]]], cells: list[str], page: Path) -> None:
    """Fills the table of smaller models, a run at a time: its files are measured together."""
    lines = [
        "| set | model | what | parameters | float | form | file | agreement | n | verified | kB "
        "| zip kB | p50 µs | beside | file ratio | p50 ratio |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|---|--:|--:|--:|---|--:|--:|",
    ]
    for run, data in runs:
        for cell in [cell for cell in SMALLER_CELLS if cell in cells]:
            run_cell(run, cell, data)
        found = {cell: facts_of(run, cell) for cell in SMALLER_CELLS}
        found = {cell: facts for cell, facts in found.items() if facts or cell in cells}
        benches = bench_cells(run, list(found))
        for cell in found:
            lines.append(format_smaller(run, cell, found, benches))
            print(lines[-1], flush=True)
        write_section(page, SMALLER_HEADING, SMALLER_ABOUT, lines)


TABLES = {"methods": fill_methods, "smaller": fill_smaller}


def main() -> None:
    """Fills the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=list(BENCHMARK_SETS))
    parser.add_argument("--models", nargs="+", default=["lstm", "transformer"], choices=MODEL_NAMES)
    every = list({**CELLS, **SMALLER_CELLS})
    parser.add_argument(
        "--cells", nargs="+", default=every, choices=every, help="to make; all there are are shown"
    )
    parser.add_argument("--tables", nargs="+", default=list(TABLES), choices=list(TABLES))
    parser.add_argument("--page", type=Path, default=Path("docs/compression.md"))
    options = parser.parse_args()
    runs = []
    for name in options.sets:
        folder = options.runs / "data" / name
        table = ["--data", str(folder / "train.csv"), "--test", str(folder / "test.csv")]
        for model in options.models:
            run = options.runs / name / model
            if (run / "run.json").is_file():
                runs.append((run, table if folder.is_dir() else []))
    for name in options.tables:
        TABLES[name](runs, options.cells, options.page)


if __name__ == "__main__":
    main()
