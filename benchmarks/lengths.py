"""Models × sequence lengths × lowerings → time and size of an export, one resumable table.

    python benchmarks/lengths.py --runs runs/lengths --markdown docs/lengths.md \
        --demo runs/demo/lstm

The models are trained for one epoch on few rows, made of the packaged topics by joining texts until
they are as long as the length allows: time and size depend on the graph and not on what the weights
are. Every export goes through the command line, as a user's would. What is done is skipped; the
figures are kept in the page's .json.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from device_runner import machine
from device_runner.files import write_file_atomic, write_json_atomic
from tfpipe.data import open_dataset
from tfpipe.export.target import (
    MAX_ASKED_UNROLLED_STEPS,
    TARGETS,
    ExportError,
    possible_lowerings,
)
from tfpipe.run_folder import RunFolder

ABOUT = """# Export as texts grow longer

Made by `benchmarks/lengths.py`, whose first lines say how. Command:

    python benchmarks/lengths.py --runs runs/lengths --markdown docs/lengths.md \\
        --demo runs/demo/lstm

T is the sequence length, *kB* the size of `model.tflite`, *s* the wall time of `tfpipe export`
from its start to its end and *CPU s* what the process and its children computed in it; the load is
the machine's average before, other work included. `auto` is what ships unless a lowering is asked
for; the lowering that it took stands behind it. Default recipes but for {tokens} tokens and
one epoch; *{demo}* is the run of `make demo`, whose line with all schemes is one call for them:
kB is what its files have together.
"""
LENGTHS = (64, 256, 512, 1024)
MODELS = ("lstm", "transformer")
SCHEMES = ("float32", "int8")
# More steps take minutes to convert.
UNROLLED_LENGTHS = (64,)
NUM_ROWS = 120
# What a line of the table is about, in the order in which they stand there.
ORDER = ("model", "lowering", "length", "scheme")
DEMO = "lstm of the demo"
# Between the schemes of one call.
AND = ", "
NUM_TOKENS = 2000
SETTINGS = (
    f"tokenizer.vocabulary_size={NUM_TOKENS}",
    "tokenizer.kind=wordpiece",
    "tokenizer.lowercase=true",
    "train.epochs=1",
)


def write_rows(path: Path, length: int) -> None:
    """Writes a table of texts of up to about `length` words, each of texts of one label."""
    dataset = open_dataset("topics")
    split, rng = dataset.splits["train"], np.random.default_rng(1)
    texts = np.array(list(split.texts()), dtype=object)
    rows = []
    for number in range(NUM_ROWS):
        label = number % len(dataset.labels)
        own = texts[np.flatnonzero(split.targets == label)]
        wanted, words = rng.integers(1, length + 1), []
        while len(words) < wanted:
            words += str(rng.choice(own)).split()
        rows.append((" ".join(words[:wanted]), dataset.labels[label]))
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])


def train(run: Path, model: str, length: int) -> None:
    """Trains a model for one epoch, unless it is there."""
    if (run / "run.json").is_file():
        return
    table = run.parent / f"rows-{length}.csv"
    table.parent.mkdir(parents=True, exist_ok=True)
    write_rows(table, length)
    command = [sys.executable, "-m", "tfpipe.cli", "train", str(table), "--run", str(run)]
    settings = (f"data.sequence_length={length}", *SETTINGS)
    options = [part for setting in settings for part in ("--set", setting)]
    subprocess.run([*command, "--model", model, *options, "--resume"], check=True)


def export(run: Path, scheme: str, lowering: str) -> dict[str, Any]:
    """Exports once, in one scheme or in several of them, joined by AND; returns what it cost and
    gave, or its error."""
    load, before = machine.read_load_average(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "tfpipe.cli", "export", str(run), "--overwrite"]
    options = [part for each in scheme.split(AND) for part in ("--scheme", each)]
    options += ["--lowering", lowering]
    if AND not in scheme:
        options += ["--as", f"{scheme}-{lowering}"]
    start = time.perf_counter()
    child = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    record = {"seconds": seconds, "cpu_seconds": cpu, "load_average": load}
    if child.returncode:
        last = (child.stderr.strip().splitlines() or ["no message"])[-1]
        return {**record, "error": last, "took": None, "size_bytes": None}
    said = json.loads(child.stdout)
    made = said.get("artifacts", [said])
    took = AND.join(dict.fromkeys(each["lowering"] for each in made))
    size_bytes = sum(each["model_size_bytes"] for each in made)
    return {**record, "took": took, "size_bytes": size_bytes, "error": None}


def refusal(length: int) -> str:
    """Returns what is said of an LSTM that is to be unrolled over too many steps."""
    request = {"target": "cpu", "scheme": "float32", "lowering": "unrolled"}
    try:
        possible_lowerings("lstm", **request, sequence_length=length)
    except ExportError as error:
        return str(error)
    return "not refused"


def wanted_exports(lengths: list[int], unrolled: list[int]) -> list[tuple[str, str, int, str]]:
    """Returns what ORDER names of every line of the table, the most wanted first."""
    lines = [
        (model, "auto", length, scheme)
        for model in MODELS
        for length in lengths
        for scheme in SCHEMES
    ]
    return lines + [
        ("lstm", "unrolled", length, scheme) for length in unrolled for scheme in SCHEMES
    ]


def demo_exports(run: Path) -> list[tuple[str, str, int, str]]:
    """Returns what ORDER names of a run's exports to the CPU, one a scheme and one of all."""
    length = RunFolder(run).read()["recipe"]["data"]["sequence_length"]
    schemes = TARGETS["cpu"].schemes
    return [(DEMO, "auto", length, scheme) for scheme in (*schemes, AND.join(schemes))]


def format_rows(rows: list[dict[str, Any]]) -> str:
    """Returns the rows as a Markdown table."""
    lines = [
        "| model | T | `--lowering` | scheme | kB | s | CPU s | load |",
        "|---|--:|---|---|--:|--:|--:|--:|",
    ]
    for row in rows:
        lowering = row["lowering"]
        if row["took"] not in (None, lowering):
            lowering += f": {row['took']}"
        size = f"{row['size_bytes'] / 1000:.0f}" if row["size_bytes"] else f"**{row['error']}**"
        load = row["load_average"]
        cells = [
            row["model"],
            str(row["length"]),
            lowering,
            row["scheme"],
            size,
            f"{row['seconds']:.0f}",
            f"{row['cpu_seconds']:.0f}",
            "–" if load is None else f"{load:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def format_page(rows: list[dict[str, Any]], facts: dict[str, Any]) -> str:
    """Returns the whole page; `facts` are the machine's."""
    refused = MAX_ASKED_UNROLLED_STEPS + 1
    demo = {row["scheme"]: row["seconds"] for row in rows if row["model"] == DEMO}
    alone = [seconds for scheme, seconds in demo.items() if AND not in scheme]
    together = f"{DEMO}: {len(alone)} schemes in {sum(alone):.0f} s" if demo else ""
    together += "".join(
        f", by one call in {seconds:.0f} s" for scheme, seconds in demo.items() if AND in scheme
    )
    together += ".\n\n" if demo else ""
    return (
        f"{ABOUT.format(tokens=NUM_TOKENS, demo=DEMO)}\nTaken on: {facts['cpu_model']}, "
        f"{facts['num_cores']} cores, {facts['os']}.\n\n{format_rows(rows)}\n{together}"
        f"Beyond {MAX_ASKED_UNROLLED_STEPS} steps `--lowering unrolled` is refused; at {refused}:\n"
        f"\n    Error: {refusal(refused)}\n"
    )


def save(markdown: Path, rows: list[dict[str, Any]]) -> None:
    """Writes the page and its .json."""
    rows = sorted(rows, key=lambda row: [row[name] for name in ORDER])
    write_json_atomic(markdown.with_suffix(".json"), rows)
    write_file_atomic(markdown, format_page(rows, machine.read_fingerprint()).encode())


def main() -> None:
    """Fills the table line by line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--markdown", type=Path, required=True, help="the page; .json beside it")
    parser.add_argument("--demo", type=Path, help="a run whose exports in every scheme are timed")
    parser.add_argument("--lengths", type=int, nargs="*", default=list(LENGTHS))
    parser.add_argument("--unrolled", type=int, nargs="*", default=list(UNROLLED_LENGTHS))
    options = parser.parse_args()
    path = options.markdown.with_suffix(".json")
    known = {
        tuple(row[name] for name in ORDER): row
        for row in (json.loads(path.read_text("utf-8")) if path.is_file() else [])
    }
    demo = demo_exports(options.demo) if options.demo else []
    lines = [*demo, *wanted_exports(options.lengths, options.unrolled)]
    for line in lines:
        if line in known:
            continue
        model, lowering, length, scheme = line
        run = options.demo if model == DEMO else options.runs / f"{model}-{length}"
        if model != DEMO:
            train(run, model, length)
        known[line] = {**dict(zip(ORDER, line, strict=True)), **export(run, scheme, lowering)}
        print(json.dumps(known[line]), file=sys.stderr)
        save(options.markdown, list(known.values()))
    save(options.markdown, list(known.values()))
    if any(known[line]["error"] for line in lines):
        sys.exit(1)


if __name__ == "__main__":
    main()
