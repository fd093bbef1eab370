"""Benchmark sets × models × schemes → accuracy of the file, size and p50, one resumable table.

    python benchmarks/accuracy.py --runs runs/benchmarks                    # everything
    python benchmarks/accuracy.py --runs runs/benchmarks --sets topics --models lstm

Every cell goes through the command line, as a user's would. What is done is skipped: a finished
training, a verified export, a bench of the same file. The table is kept as RUNS/accuracy.json and
RUNS/accuracy.md.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from datasets import BENCHMARK_SETS, make_dataset

from device_runner.files import write_file_atomic, write_json_atomic
from tfpipe.config import MODEL_NAMES
from tfpipe.data import PACKAGED
from tfpipe.export.target import TARGETS

ABOUT = """# Accuracy, size and latency on the benchmark sets

Made by `make bench` (`benchmarks/accuracy.py`), default recipes, seed 1. *baseline* is TF-IDF +
logistic regression on the same test split, *Keras* the trained model, *file* the exported file run
by ai-edge-litert, all as accuracy; *agreement* the share of the n test texts that file and Keras
predict alike; T the sequence length. p50 is of one invoke, one thread, on the machine that made the
table: compare within a row's set and model, whose four files were measured in turn. A file that
fails verification has no latency; "–" is not measured yet. First the models, then the files.
"""
SCHEMES = TARGETS["cpu"].schemes


def tfpipe(*arguments: str | Path) -> str:
    """Runs one command; returns "" or the last line of its error."""
    command = [sys.executable, "-m", "tfpipe.cli", *map(str, arguments)]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    if child.returncode == 0:
        return ""
    print(child.stderr, file=sys.stderr)
    return (child.stderr.strip().splitlines() or ["no message"])[-1]


def run_cell(name: str, model: str, runs: Path, shared: Path) -> None:
    """Trains, exports every scheme, verifies each and benches those that passed, in one run."""
    run = runs / name / model
    if not (run / "run.json").is_file():
        data = [name]
        if name not in PACKAGED:
            folder = make_dataset(name, runs / "data", shared=shared)
            data = [str(folder / "train.csv"), "--test", str(folder / "test.csv")]
        fault = tfpipe("train", *data, "--run", run, "--model", model, "--resume")
        if fault:
            return
    artifacts = [run / "exports" / f"cpu-{scheme}" for scheme in SCHEMES]
    for artifact, scheme in zip(artifacts, SCHEMES, strict=True):
        if not (artifact / "manifest.json").is_file():
            tfpipe("export", run, "--scheme", scheme)
        if artifact.is_dir() and not (artifact / "verify.json").is_file():
            tfpipe("verify", artifact)
    passed = [artifact for artifact in artifacts if read(artifact / "verify.json").get("passed")]
    known = {result["model_sha256"] for result in bench_results(run)}
    if any(read(artifact / "verify.json")["model_sha256"] not in known for artifact in passed):
        tfpipe("bench", *passed)
    tfpipe("report", run)


def read(path: Path) -> Any:
    """Returns a JSON file's content, {} where there is none."""
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def bench_results(run: Path) -> list[dict[str, Any]]:
    """Returns every bench result of a run, the oldest first."""
    files = sorted((run / "bench").glob("*.json"))
    return [result for file in files for result in read(file)["results"]]


def describe_cell(name: str, model: str, runs: Path) -> list[dict[str, Any]]:
    """Returns one row a scheme of a run; a figure that is not there is None."""
    run = runs / name / model
    content = read(run / "run.json")
    if not content:
        return []
    metrics = content["metrics"]
    benches = {result["model_sha256"]: result for result in bench_results(run)}
    rows = []
    for scheme in SCHEMES:
        artifact = run / "exports" / f"cpu-{scheme}"
        verified, facts = read(artifact / "verify.json"), read(artifact / "check.json")
        bench = benches.get(verified.get("model_sha256"), {}) if verified.get("passed") else {}
        rows.append(
            {
                "set": name,
                "model": model,
                "scheme": scheme,
                "baseline": metrics["baseline"]["tfidf_logistic_regression"]["accuracy"],
                "keras": metrics["test"]["accuracy"],
                "file": verified.get("artifact"),
                "agreement": verified.get("agreement"),
                "passed": verified.get("passed"),
                "num_examples": verified.get("num_examples"),
                "size_bytes": facts.get("model_size_bytes"),
                "p50_ns": bench.get("p50_ns"),
                "num_runs": bench.get("num_runs"),
                "validity": bench.get("validity"),
                "training_seconds": content["training"]["seconds"],
                "sequence_length": content["recipe"]["data"]["sequence_length"],
            }
        )
    return rows


def format_rows(rows: list[dict[str, Any]]) -> str:
    """Returns the rows as a Markdown table; "–" is unknown."""
    lines = [
        "| set | model | T | scheme | baseline | Keras | file | agreement | n | kB | p50 µs "
        "| bench |",
        "|---|---|--:|---|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for row in rows:
        verdict = row["validity"] or ("failed" if row["passed"] is False else "–")
        cells = [
            row["set"],
            row["model"],
            str(row["sequence_length"]),
            row["scheme"],
            *(
                f"{row[key]:.4f}" if row[key] is not None else "–"
                for key in ("baseline", "keras", "file", "agreement")
            ),
            str(row["num_examples"] or "–"),
            f"{row['size_bytes'] / 1000:.0f}" if row["size_bytes"] else "–",
            f"{row['p50_ns'] / 1000:.0f}" if row["p50_ns"] else "–",
            verdict,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def format_models(rows: list[dict[str, Any]]) -> str:
    """Returns the trained models' accuracy as a Markdown table, a line a set."""
    keras = {(row["set"], row["model"]): row["keras"] for row in rows}
    baselines = {row["set"]: row["baseline"] for row in rows}
    lines = [
        f"| set | baseline | {' | '.join(MODEL_NAMES)} |",
        f"|---|--:|{'--:|' * len(MODEL_NAMES)}",
    ]
    for name, baseline in baselines.items():
        found = [keras.get((name, model)) for model in MODEL_NAMES]
        cells = [name, f"{baseline:.4f}", *(f"{one:.4f}" if one else "–" for one in found)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def format_page(rows: list[dict[str, Any]]) -> str:
    """Returns the whole page: the trained models, then the files that were made and verified."""
    files = [row for row in rows if row["file"] is not None]
    return f"{ABOUT}\n{format_models(rows)}\n{format_rows(files)}"


def main() -> None:
    """Fills the table cell by cell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=list(BENCHMARK_SETS))
    parser.add_argument("--models", nargs="+", default=list(MODEL_NAMES), choices=MODEL_NAMES)
    parser.add_argument("--markdown", type=Path, help="where the table goes; else RUNS/accuracy.md")
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    options = parser.parse_args()
    for model in options.models:
        for name in options.sets:
            run_cell(name, model, options.runs, options.shared)
            rows = [
                row
                for each in options.sets
                for kind in MODEL_NAMES
                for row in describe_cell(each, kind, options.runs)
            ]
            write_json_atomic(options.runs / "accuracy.json", rows)
            page = options.markdown or options.runs / "accuracy.md"
            write_file_atomic(page, format_page(rows).encode())
            print(format_rows([row for row in rows if (row["set"], row["model"]) == (name, model)]))


if __name__ == "__main__":
    main()
