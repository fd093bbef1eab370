"""The same trained models through tfpipe and through its peers → ratios, bounds, one page.

    python benchmarks/peers.py --runs runs/peers --markdown docs/peers.md     # everything
    python benchmarks/peers.py --runs runs/peers --models lstm-128

Each model is trained shortly on the packaged topics, so that weights and texts are real, exported
by tfpipe and by every peer (peer_exports.py), checked against Keras on test texts; then all files
of a model are measured in one process in alternating blocks (peer_latency.py): with one thread on
real and on full texts, with all cores, and tfpipe's own on both kinds of texts together.
ceilings.py measures the machine's peaks, roofline.py says how far each file is from them, and the
runtime's profiler where the time of those goes that are far. A peer that fails is listed with its
own words.
What was done is not done again, as long as the files, the runtimes and the processor are the same;
the page is RUNS/peers.md or --markdown, all numbers are in RUNS/peers.json.
"""

import argparse
import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import peer_tables as tables

from device_runner.files import sha256_of_file, write_file_atomic, write_json_atomic
from device_runner.machine import count_usable_cores, read_fingerprint

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
# Beside a Transformer's branches, which every caller has: graphs that a caller chooses among.
BUCKETS = {"transformer-2x128": ("dynamic_int8", "int8")}
PEERS = (
    "stock-float32", "stock-float16", "stock-dynamic_int8", "stock-int8", "keras3-float32",
    "keras3-unrolled-float32", "litert-quantizer-dynamic_int8", "litert-quantizer-int8",
    "onnxruntime-float32", "onnxruntime-dynamic_int8",
)  # fmt: skip
# The model that is also measured in tflite-runtime 2.14.0.
OLD_RUNTIME_MODEL = "lstm-128"
OLD_RUNTIME_SCHEMES = ("float32", "dynamic_int8", "int8")
QUANTIZER = "ai-edge-quantizer==0.10.0"
EXPORT_SECONDS = 900
PROFILED_RUNS = 200
# A file counts as right when it predicts as Keras does this often: the line of tfpipe's int8 gate.
MIN_AGREEMENT = 0.95
HERE = Path(__file__).parent


def run(command: list[str], log: Path, output: Path | None = None) -> bool:
    """Runs a child into a log, what it prints into a file if one is given; returns whether it
    succeeded."""
    with log.open("w") as file, output.open("w") if output else log.open("a") as printed:
        try:
            return not subprocess.run(
                command, stdout=printed, stderr=file, timeout=EXPORT_SECONDS, check=False
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


def export_own(folder: Path, wanted: dict[str, list[str]]) -> dict[str, dict[str, Any]]:
    """Makes tfpipe's artifacts that are missing, {name: options}; returns {"tfpipe-NAME": {"path"}
    or {"error"}}."""
    made: dict[str, dict[str, Any]] = {}
    for name, options in wanted.items():
        log, artifact = folder / "peers" / f"tfpipe-{name}.log", folder / "exports" / name
        command = [sys.executable, "-m", "tfpipe.cli", "export", str(folder), "--as", name]
        if artifact.is_dir() or run([*command, *options], log):
            file = next(path for path in artifact.iterdir() if path.stem == "model")
            made[f"tfpipe-{name}"] = {"path": str(file)}
        else:
            made[f"tfpipe-{name}"] = {"error": last_words(log)}
    return made


def export_all(folder: Path) -> dict[str, dict[str, Any]]:
    """Makes the files that are missing; returns {name: {"path"} or {"error"}}."""
    peers = folder / "peers"
    peers.mkdir(exist_ok=True)
    wanted = {
        f"{target}-{scheme}": ["--target", target, "--scheme", scheme] for target, scheme in OURS
    }
    for scheme in BUCKETS.get(folder.name, ()):
        wanted[f"cpu-{scheme}-buckets"] = ["--scheme", scheme, "--buckets", "auto"]
    made = export_own(folder, wanted)
    for name in PEERS:
        log = peers / f"{name}.log"
        path = peers / f"{name}{'.onnx' if name.startswith('onnx') else '.tflite'}"
        if not log.is_file():
            command = [sys.executable, str(HERE / "peer_exports.py"), name]
            if not run([*command, str(folder), str(path)], log):
                path.unlink(missing_ok=True)
        made[name] = {"path": str(path)} if path.is_file() else {"error": last_words(log)}
    return made


def conditions() -> dict[str, Any]:
    """Returns what a measurement must be repeated for when it changes."""
    found: dict[str, Any] = {
        "processor": read_fingerprint()["cpu_model"],
        "num_cores": count_usable_cores(),
    }
    for name in ("ai-edge-litert", "onnxruntime", "scikit-learn"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def once(output: Path, key: dict[str, Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Returns what an earlier call kept under the same key, else what `make` returns now; an error
    is not kept."""
    if output.is_file():
        kept: dict[str, Any] = json.loads(output.read_text("utf-8"))
        if kept.get("key") == key:
            return kept
    found = {**make(), "key": key}
    if "error" not in found:
        write_json_atomic(output, found)
    return found


def ask(script: str, log: Path, output: Path, *arguments: object) -> dict[str, Any]:
    """Runs a script of this folder, which writes a JSON object; returns that, or {"error"}."""
    written = output.with_suffix(".partial")
    command = [sys.executable, str(HERE / script), *map(str, arguments)]
    command = [str(written) if word == "OUTPUT" else word for word in command]
    if not run(command, log):
        return {"error": last_words(log)}
    found: dict[str, Any] = json.loads(written.read_text("utf-8"))
    written.unlink()
    return found


def check_all(folder: Path, made: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns the files with digest, size, agreement with Keras and whether they are right."""
    checked = {}
    for name, entry in made.items():
        if "path" not in entry:
            checked[name] = {**entry, "right": False}
            continue
        log, output = (folder / "peers" / f"{name}{end}" for end in ("-check.log", ".json"))
        arguments = ("OUTPUT", "check", entry["path"])
        make = partial(ask, "peer_latency.py", log, output, folder, 1, *arguments)
        key = {**conditions(), "sha256": sha256_of_file(entry["path"])}
        found = once(output, key, make)
        result = {**entry, **found, "sha256": key["sha256"]}
        checked[name] = {**result, "right": found.get("agreement", 0) >= MIN_AGREEMENT}
    return checked


class Measurer:
    """One model's right files → their measurements, each made once.

    Args:
        model: Key of `MODELS`.
        folder: The run.
        files: Of `check_all`.
    """

    def __init__(self, model: str, folder: Path, files: dict[str, dict[str, Any]]) -> None:
        self.model, self.folder = model, folder
        self.right = {name: entry for name, entry in files.items() if entry["right"]}

    def key(self, names: Iterable[str]) -> dict[str, Any]:
        """Returns what a measurement of some files depends on."""
        return {**conditions(), "files": {name: self.right[name]["sha256"] for name in names}}

    def latencies(self, threads: int, texts: str) -> dict[str, Any]:
        """Returns {"latencies_ns": {name: samples}, "real_share"} of all files together.

        Raises:
            SystemExit: The measuring process failed.
        """
        names = [
            name for name in self.right if texts != "lengths" or name.startswith("tfpipe-cpu-")
        ]
        peers = self.folder / "peers"
        output, log = peers / f"latencies-{threads}-{texts}.json", peers / "measure.log"
        paths = [f"{name}={self.right[name]['path']}" for name in names]
        arguments = (self.folder, threads, "OUTPUT", texts, *paths)
        found = once(
            output,
            {**self.key(names), "num_threads": threads},
            partial(ask, "peer_latency.py", log, output, *arguments),
        )
        if "error" in found:
            raise SystemExit(f"measuring {self.model} failed: {found['error']}")
        return found

    def old_runtime(self) -> dict[str, Any]:
        """Returns {"latencies_ns", "failed"} of the stock files and of tfpipe's own for the oldest
        runtime, measured in it, or {"error"}."""
        wanted = {
            f"oldest-{scheme}": ["--scheme", scheme, "--runtime", "oldest"]
            for scheme in OLD_RUNTIME_SCHEMES
        }
        made = export_own(self.folder, wanted)
        paths = {name: entry["path"] for name, entry in made.items() if "path" in entry}
        stock = {name: entry for name, entry in self.right.items() if name.startswith("stock-")}
        paths.update({name: entry["path"] for name, entry in stock.items()})
        output, log = (self.folder / "peers" / f"old-runtime.{end}" for end in ("json", "log"))
        key = {**conditions(), "files": {path: sha256_of_file(path) for path in paths.values()}}
        arguments = (self.folder, "OUTPUT", *(f"{name}={path}" for name, path in paths.items()))
        found = once(output, key, partial(ask, "old_runtime.py", log, output, *arguments))
        refused = {name: entry["error"] for name, entry in made.items() if "error" in entry}
        return {**found, "failed": {**refused, **found.get("failed", {})}}

    def bounds(self, ceilings: Path) -> dict[str, Any]:
        """Returns {name: {"real" | "full": bound} or {"error"}} of the files."""
        peers = self.folder / "peers"
        output, log = peers / "roofline.json", peers / "roofline.log"
        paths = {name: entry["path"] for name, entry in self.right.items()}
        key = {**self.key(self.right), "ceilings": sha256_of_file(str(ceilings))}
        arguments = (self.folder, ceilings, "OUTPUT", *paths.values())
        found = once(output, key, partial(ask, "roofline.py", log, output, *arguments))
        if "error" in found:
            return dict.fromkeys(paths, {"error": found["error"]})
        return {name: found[path] for name, path in paths.items()}

    def profile(self, name: str) -> dict[str, Any]:
        """Returns the runtime's per-op profile of a text of full length, or {"error"}."""
        path = Path(self.right[name]["path"])
        output = self.folder / "peers" / f"{name}-ops.json"
        log = output.with_suffix(".log")
        command = [sys.executable, "-m", "device_runner", "ops", "--runs", str(PROFILED_RUNS)]
        if name.startswith("tfpipe-"):
            texts = self.folder / "peers" / "full.txt"
            write_file_atomic(texts, (full_text(self.folder) + "\n").encode())
            command, path = [*command, f"--texts={texts}"], path.parent

        def make() -> dict[str, Any]:
            if not run([*command, "--", str(path)], log, output.with_suffix(".partial")):
                return {"error": last_words(log).replace(f"{path.parent}/", "")}
            found: dict[str, Any] = json.loads(output.with_suffix(".partial").read_text("utf-8"))
            return found

        return once(output, self.key([name]), make)


def full_text(folder: Path) -> str:
    """Returns test texts of a run joined until no model has room for more."""
    lines = (folder / "data" / "test.jsonl").read_text("utf-8").splitlines()[:50]
    return " ".join(json.loads(line)["text"] for line in lines)


def results_of(measurer: Measurer, ceilings: Path) -> tables.Results:
    """Measures and computes what is wanted of a model with one thread."""
    return tables.Results(
        latencies={texts: measurer.latencies(1, texts) for texts in tables.TEXTS},
        lengths=measurer.latencies(1, "lengths"),
        bounds=measurer.bounds(ceilings),
        old_runtime=measurer.old_runtime() if measurer.model == OLD_RUNTIME_MODEL else None,
    )


def model_sections(measurer: Measurer, found: tables.Results, threads: list[int]) -> list[str]:
    """Returns one model's tables; measures with more threads and profiles the files that are far
    from their bounds."""
    model, files = measurer.model, measurer.right
    titles = {texts: f"{model}, 1 thread, {words}" for texts, words in tables.TEXTS.items()}
    sections = [
        tables.latency_table(title, files, found.latencies[texts])
        for texts, title in titles.items()
    ]
    for number in sorted({number for number in threads if number > 1}):
        title = f"{model}, all {number} cores, {tables.TEXTS['real']}"
        sections.append(tables.latency_table(title, files, measurer.latencies(number, "real")))
    sections.append(tables.length_table(model, found.lengths))
    if found.old_runtime is not None:
        sections.append(tables.old_runtime_table(model, found.old_runtime))
    for texts, title in titles.items():
        known = {name: entry[texts] for name, entry in found.bounds.items() if texts in entry}
        sections.append(tables.roofline_table(title, known, found.latencies[texts]))
    known = {name: entry["full"] for name, entry in found.bounds.items() if "full" in entry}
    far = tables.far_from(known, found.latencies["full"])
    profiled = [name for name in far if files[name]["path"].endswith(".tflite")]
    return [*sections, tables.profile_list({name: measurer.profile(name) for name in profiled})]


def read_options() -> argparse.Namespace:
    """Returns what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, count_usable_cores()])
    parser.add_argument("--markdown", type=Path, help="where the page goes; else RUNS/peers.md")
    return parser.parse_args()


def install_quantizer() -> None:
    """Installs the LiteRT quantizer, which nothing else here needs; it may fail, and says so."""
    constraints = ["-c", str(HERE.parent / "constraints.txt")]
    install = [sys.executable, "-m", "pip", "install", "-q", QUANTIZER, *constraints]
    subprocess.run(install, check=False)


def describe_conditions() -> str:
    """Returns the sentence that says where and with what this was measured."""
    found = conditions()
    cores = f"{found.pop('num_cores')} cores of {found.pop('processor')}"
    versions = ", ".join(f"{name} {version}" for name, version in found.items())
    return f"\nMeasured on {cores}, with {versions}.\n"


def main() -> None:
    """Fills the page model by model."""
    options = read_options()
    options.runs.mkdir(parents=True, exist_ok=True)
    install_quantizer()
    ceilings = options.runs / "ceilings.json"
    make = partial(ask, "ceilings.py", options.runs / "ceilings.log", ceilings, "OUTPUT", 1)
    peaks = once(ceilings, conditions(), make)
    if "error" in peaks:
        raise SystemExit(f"measuring the machine's peaks failed: {peaks['error']}")
    results: dict[str, tables.Results] = {}
    sections: list[str] = []
    records: list[dict[str, Any]] = []
    for model in options.models:
        folder = options.runs / model
        train(model, folder)
        files = check_all(folder, export_all(folder))
        measurer = Measurer(model, folder, files)
        results[model] = results_of(measurer, ceilings)
        sections += model_sections(measurer, results[model], options.threads)
        sections.append(tables.failure_list(model, files))
        records += records_of(model, files, results[model])
        about = [(HERE / "peers_about.md").read_text("utf-8"), describe_conditions()]
        goals = tables.goal_table(results)
        page = "".join([*about, goals, *sections, tables.ceiling_table(peaks["products"])])
        write_file_atomic(options.markdown or options.runs / "peers.md", page.encode())
        write_json_atomic(options.runs / "peers.json", records)
    print(page)


def records_of(
    model: str, files: dict[str, dict[str, Any]], found: tables.Results
) -> list[dict[str, Any]]:
    """Returns for each file what is known of it, with its medians and bounds by texts."""
    records = []
    for name, entry in files.items():
        kept = {key: value for key, value in entry.items() if key not in ("key", "path")}
        p50_ns = {
            texts: float(np.median(measured["latencies_ns"][name]))
            for texts, measured in found.latencies.items()
            if name in measured["latencies_ns"]
        }
        bound = found.bounds.get(name)
        records.append({"model": model, "name": name, **kept, "p50_ns": p50_ns, "bound": bound})
    return records


if __name__ == "__main__":
    main()
