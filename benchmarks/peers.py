"""The same trained models through tfpipe and through its peers → sizes, agreement and ratios.

    python benchmarks/peers.py --runs runs/peers                     # everything
    python benchmarks/peers.py --runs runs/peers --models lstm-128

Each model is trained shortly on the packaged topics, so that weights and texts are real, exported
by tfpipe and by every peer (peer_exports.py), checked against Keras on test texts; then all files
of a model are measured in one process in alternating blocks. A peer that fails is listed with its
own words. What is done is skipped; the table is RUNS/peers.md and RUNS/peers.json.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from device_runner.files import write_file_atomic, write_json_atomic
from tfpipe.bootstrap import ratio_of_medians

SHARED = [
    "data.sequence_length=64", "tokenizer.vocabulary_size=2000", "tokenizer.kind=wordpiece",
    "tokenizer.lowercase=true", "model.embedding_skip=false", "model.branch_dropout=0",
    "train.epochs=4",
]  # fmt: skip
MODELS = {
    "lstm-128": ["model.embedding_dim=128", "model.units=128", "model.pooling=last"],
    "lstm-256": ["model.embedding_dim=256", "model.units=256", "model.pooling=last"],
    "transformer-2x128": [
        "model.embedding_dim=128", "model.num_layers=2", "model.feed_forward_dim=512",
    ],
}  # fmt: skip
OURS = [
    *(("cpu", scheme) for scheme in ("float32", "float16", "dynamic_int8", "int8")),
    *(("onnx", scheme) for scheme in ("float32", "int8")),
]
PEERS = (
    "stock-float32", "stock-float16", "stock-dynamic_int8", "stock-int8", "keras3-float32",
    "keras3-unrolled-float32", "litert-quantizer-dynamic_int8", "litert-quantizer-int8",
    "onnxruntime-float32", "onnxruntime-dynamic_int8",
)  # fmt: skip
QUANTIZER = "ai-edge-quantizer==0.10.0"
BASELINE = "tfidf-logistic-regression"
TEXTS = {"real": "real texts", "full": "every text filled to 64 tokens"}
EXPORT_SECONDS = 900
# A file counts as right when it predicts as Keras does this often: the line of tfpipe's int8 gate.
MIN_AGREEMENT = 0.95
HERE = Path(__file__).parent


def run(command: list[str], log: Path) -> bool:
    """Runs a child into a log; returns whether it succeeded."""
    with log.open("w") as file:
        try:
            return not subprocess.run(
                command, stdout=file, stderr=file, timeout=EXPORT_SECONDS, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            file.write(f"not done after {EXPORT_SECONDS} s")
            return False


def last_words(log: Path) -> str:
    """Returns what a failed child said that most looks like a reason."""
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines()]
    lines = [line for line in lines if line and not line.startswith(("File ", "^", "~", "@"))]
    errors = [line for line in lines if "rror" in line] or lines or ["it printed nothing"]
    return errors[-1][:200]


def train(name: str, folder: Path) -> None:
    """Trains one model of the benchmark, unless it is there."""
    if (folder / "run.json").is_file():
        return
    model = name.split("-")[0]
    settings = [item for pair in [*SHARED, *MODELS[name]] for item in ("--set", pair)]
    command = [sys.executable, "-m", "tfpipe.cli", "train", "topics", "--run", str(folder)]
    subprocess.run([*command, "--model", model, *settings, "--resume"], check=True)


def export_all(folder: Path) -> dict[str, dict[str, Any]]:
    """Makes the files that are missing; returns {name: {"path"} or {"error"}}."""
    made: dict[str, dict[str, Any]] = {}
    peers = folder / "peers"
    peers.mkdir(exist_ok=True)
    for target, scheme in OURS:
        name, log = f"tfpipe-{target}-{scheme}", peers / f"tfpipe-{target}-{scheme}.log"
        artifact = folder / "exports" / f"{target}-{scheme}"
        command = [sys.executable, "-m", "tfpipe.cli", "export", str(folder)]
        options = ["--target", target, "--scheme", scheme]
        if artifact.is_dir() or run([*command, *options], log):
            file = next(path for path in artifact.iterdir() if path.stem == "model")
            made[name] = {"path": str(file)}
        else:
            made[name] = {"error": last_words(log)}
    for name in PEERS:
        log = peers / f"{name}.log"
        path = peers / f"{name}{'.onnx' if name.startswith('onnx') else '.tflite'}"
        if not log.is_file():
            command = [sys.executable, str(HERE / "peer_exports.py"), name]
            if not run([*command, str(folder), str(path)], log):
                path.unlink(missing_ok=True)
        made[name] = {"path": str(path)} if path.is_file() else {"error": last_words(log)}
    return made


def measure(
    folder: Path, made: dict[str, dict[str, Any]], threads: int, texts: str
) -> list[dict[str, Any]]:
    """Checks every file in a process of its own, then measures the right ones together."""
    output = folder / "peers" / f"measured-{threads}-{texts}.json"
    child = [sys.executable, str(HERE / "peer_latency.py"), str(folder), str(threads)]
    for name, entry in made.items():
        if "path" in entry:
            log, result = folder / "peers" / f"{name}-check.log", folder / "peers" / f"{name}.json"
            if not result.is_file() and not run([*child, str(result), "check", entry["path"]], log):
                entry["error"] = last_words(log)
                continue
            entry.update(json.loads(result.read_text("utf-8"))["checked"][0])
    right = [name for name, entry in made.items() if entry.get("agreement", 0) >= MIN_AGREEMENT]
    paths = [made[name]["path"] for name in right]
    log = folder / "peers" / "measure.log"
    if not run([*child, str(output), texts, *paths], log):
        raise SystemExit(f"measuring failed: {last_words(log)}")
    found = json.loads(output.read_text("utf-8"))
    for name, samples in zip([*right, BASELINE], found["latencies_ns"], strict=True):
        made.setdefault(name, {"size_bytes": None, "agreement": None})["latencies_ns"] = samples
    return [{"name": name, **entry} for name, entry in made.items()]


def describe(model: str, rows: list[dict[str, Any]], threads: int, texts: str) -> str:
    """Returns one model's table; each ratio is to the stock float32 file of the same run."""
    base = next(row for row in rows if row["name"] == "stock-float32").get("latencies_ns")
    lines = [
        f"\n## {model}, {threads} thread{'s' if threads > 1 else ''}, {TEXTS[texts]}\n",
        "| file | kB | agreement | p50 µs | n | × stock float32 (95 % interval) |",
        "|---|--:|--:|--:|--:|---|",
    ]
    failed = []
    for row in sorted(rows, key=lambda row: np.median(row.get("latencies_ns") or [np.inf])):
        if "latencies_ns" not in row:
            reason = row.get("error") or f"agreement {row['agreement']:.4f}: wrong, so not timed"
            failed.append(f"- `{row['name']}`: {reason}")
            continue
        samples = row["latencies_ns"]
        ratio = "–"
        if base:
            found = ratio_of_medians(base, samples, paired=False)
            ratio = f"{found.ratio:.3f} ({found.low:.3f}–{found.high:.3f})"
        size = f"{row['size_bytes'] / 1000:.0f}" if row["size_bytes"] else "–"
        agreement = f"{row['agreement']:.4f}" if row["agreement"] is not None else "–"
        p50 = np.median(samples) / 1000
        lines.append(
            f"| {row['name']} | {size} | {agreement} | {p50:.0f} | {len(samples)} | {ratio} |"
        )
    return "\n".join([*lines, *(["", "Not measured:", "", *failed] if failed else [])]) + "\n"


def main() -> None:
    """Fills the tables model by model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--markdown", type=Path, help="where the table goes; else RUNS/peers.md")
    options = parser.parse_args()
    options.runs.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            QUANTIZER,
            "-c",
            HERE.parent / "constraints.txt",
        ],
        check=False,
    )
    sections, records = [(HERE / "peers_about.md").read_text("utf-8")], []
    for model in options.models:
        folder = options.runs / model
        train(model, folder)
        made = export_all(folder)
        for threads, texts in [(1, "real"), (1, "full"), (2, "real")]:
            copies = {name: dict(entry) for name, entry in made.items()}
            rows = measure(folder, copies, threads, texts)
            sections.append(describe(model, rows, threads, texts))
            for row in rows:
                samples = row.pop("latencies_ns", [])
                p50_ns = float(np.median(samples)) if samples else None
                setting = {"model": model, "num_threads": threads, "texts": texts}
                records.append({**setting, **row, "p50_ns": p50_ns})
            text = "".join(sections)
            write_file_atomic(options.markdown or options.runs / "peers.md", text.encode())
            write_json_atomic(options.runs / "peers.json", records)
    print(text)


if __name__ == "__main__":
    main()
