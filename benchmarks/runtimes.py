"""Runtimes × models × schemes × lowerings → does the file run there, is it right, how fast is it?

    python benchmarks/runtimes.py --runs runs/benchmarks/topics --peers runs/peers/lstm-128 \
        --markdown docs/runtimes.md

Every file is made by tfpipe's converter for that runtime, run there over the run's whole test split
in a process of its own, and held to the limits of `tfpipe verify`; the right files of a model are
measured in one process of the runtime, in alternating blocks. Then an LSTM of 128 units of tfpipe
against what TensorFlow's own converter makes of it, in the old runtime. What failed stands there in
its own words. A runtime gets an environment of its own, or the Python that is named for it with
`--python`. What is done is skipped; everything is kept in the page's .json.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import peers
from numpy.typing import NDArray
from runtimes_page import format_page, needs_measuring, shorten

from device_runner import machine
from device_runner.files import write_file_atomic, write_json_atomic
from tfpipe.check import check
from tfpipe.compare.bootstrap import ratio_of_medians
from tfpipe.config import MODEL_NAMES
from tfpipe.devices import Device
from tfpipe.devices.environment import OLDEST, NoEnvironmentError, parse_runtime
from tfpipe.devices.local import LocalDevice
from tfpipe.devices.runner import run_process
from tfpipe.devices.runner_zip import runner_bytes
from tfpipe.export.converter import convert_each, open_converter
from tfpipe.export.model_file import able_lowerings, make_job
from tfpipe.export.options import ExportOptions
from tfpipe.export.target import TARGETS, ExportError, every_lowering
from tfpipe.run_folder import RunFolder
from tfpipe.run_model import run_model
from tfpipe.thresholds import threshold_of
from tfpipe.variant import keras_probabilities, load_model, load_tokenizer, read_labels
from tfpipe.verify import read_examples
from tfpipe.verify.comparison import check_figures, check_outputs, compare

SCHEMES = TARGETS["cpu"].schemes
HOST = "ai-edge-litert"
STOCK = tuple(name for name in peers.PEERS if name.startswith("stock-"))
# Texts that latencies are measured on: real ones, each at its own length.
MEASURED_TEXTS = 400
MEASURE_SECONDS = 1800.0


class OtherPython:
    """A Python of this machine that has a runtime, as a device.

    Attributes:
        python: Its program.
    """

    name, kind = "local", "native"

    def __init__(self, python: str) -> None:
        self.python = python

    def run(self, arguments: Sequence[str], *, time_limit_s: float) -> Any:
        """Runs a command of device_runner; see `tfpipe.devices.Device`."""
        with tempfile.TemporaryDirectory() as work:
            runner = Path(work) / "runner.pyz"
            runner.write_bytes(runner_bytes())
            command = [self.python, str(runner), *arguments]
            return run_process(command, time_limit_s=time_limit_s)


def open_runtime(spec: str, pythons: Mapping[str, str]) -> Device:
    """Returns where the files for a runtime are run.

    Raises:
        NoEnvironmentError: This machine cannot have that runtime.
    """
    if spec in pythons:
        return OtherPython(pythons[spec])
    runtime = parse_runtime(spec)
    if runtime.name == HOST and runtime.version == version(HOST):
        return LocalDevice()
    return LocalDevice("local", runtime)


class Subject:
    """A trained run, what Keras makes of its test split, and where its files are made."""

    def __init__(self, run: Path) -> None:
        self.folder, self.work = RunFolder(run), run / "runtimes"
        self.work.mkdir(exist_ok=True)

    @cached_property
    def examples(self) -> tuple[NDArray[np.int32], NDArray[Any]]:
        """Token ids of the test split, int32 `(n, sequence_length)`, and the truth."""
        texts, targets = read_examples(self.folder, None)
        length = self.folder.read()["recipe"]["data"]["sequence_length"]
        return load_tokenizer(self.folder, "base").encode_batch(texts, length), targets

    @cached_property
    def keras(self) -> NDArray[np.float32]:
        """The trained model's probabilities of the test split, `(n, num_classes)`."""
        path = self.work / "keras.npy"
        if not path.is_file():
            model, several = load_model(self.folder, "base"), self.folder.read()["multi_label"]
            np.save(path, keras_probabilities(model, self.examples[0], multi_label=several))
        scores: NDArray[np.float32] = np.load(path)
        return scores

    @cached_property
    def measured_texts(self) -> Path:
        """File of the token ids that latencies are measured on."""
        path = self.work / "token_ids.npy"
        np.save(path, self.examples[0][:MEASURED_TEXTS])
        return path

    def check(self, path: Path, scheme: str, device: Device) -> dict[str, Any]:
        """Runs a file over the test split; returns whether it runs, whether it is right, and why
        not."""
        token_ids, targets = self.examples
        try:
            with tempfile.TemporaryDirectory() as work:
                ran = run_model(path, Path(work), token_ids=token_ids, device=device)
        except ValueError as error:
            return {"runs": False, "right": False, "error": shorten(str(error))}
        multi_label = self.folder.read()["multi_label"]
        names = read_labels(self.folder)
        figures = compare(self.keras, ran.outputs, targets, names=names, multi_label=multi_label)
        failures = check_outputs(ran.outputs, self.keras)
        failures += check_figures(figures, threshold_of(scheme, quantization_aware=False))
        return {
            "runs": True,
            "right": not failures,
            "error": shorten("; ".join(failures)) if failures else None,
            **{key: figures[key] for key in ("agreement", "mean_abs_error", "num_examples")},
        }


def make_files(subject: Subject, scheme: str, runtime: str) -> dict[str, dict[str, str]]:
    """Makes a scheme's files for a runtime in every lowering, unless they are there.

    Returns:
        {lowering: {"path"} or {"error"}}.
    """
    # What the converter writes depends on the runtime's name, where it has scales to write.
    kind = "any" if scheme.startswith("float") else parse_runtime(runtime).name
    work = subject.work / f"{kind}-{scheme}"
    done = work / "made.json"
    if not done.is_file():
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        tokenizer = load_tokenizer(subject.folder, "base")
        options = ExportOptions(scheme=scheme, runtime=runtime)
        job = make_job(work, subject.folder, options, tokenizer)
        model = subject.folder.read()["model"]
        lowerings = able_lowerings(every_lowering(model, target="cpu", scheme=scheme), job)
        made = {}
        with open_converter("cpu") as child:
            files = convert_each(job, work, lowerings, child)
        for lowering, found in files.items():
            failed = isinstance(found, ExportError)
            made[lowering] = {"error": shorten(str(found))} if failed else {"path": str(found)}
        write_json_atomic(done, made)
    content: dict[str, dict[str, str]] = json.loads(done.read_text("utf-8"))
    return content


def check_cells(
    subject: Subject, model: str, runtime: str, device: Device, known: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Yields a model's cells in a runtime, those that are known as they are."""
    old = {(cell["scheme"], cell["lowering"]): cell for cell in known}
    for scheme in SCHEMES:
        for lowering, made in make_files(subject, scheme, runtime).items():
            cell = old.get((scheme, lowering))
            if cell is None:
                cell = {"runtime": runtime, "model": model, "scheme": scheme, "lowering": lowering}
                cell.update({"size_bytes": None, "runs": False, "right": False, **made})
                if path := cell.pop("path", None):
                    cell["size_bytes"] = Path(path).stat().st_size
                    cell["check_ok"] = check(Path(path), target="cpu", runtime=runtime)["ok"]
                    cell.update(subject.check(Path(path), scheme, device))
                print(json.dumps(cell), file=sys.stderr)
            yield cell


def measure(
    paths: Sequence[Path], token_ids: Path, device: Device, profile: str
) -> list[dict[str, Any]]:
    """Returns the runner's result of every file, measured in turn in one process."""
    arguments = ["bench", "--profile", profile, "--token-ids", str(token_ids), "--"]
    said = device.run([*arguments, *map(str, paths)], time_limit_s=MEASURE_SECONDS)
    results: list[dict[str, Any]] = said["results"]
    return results


def measure_cells(
    subject: Subject, cells: list[dict[str, Any]], device: Device, profile: str
) -> None:
    """Writes the medians of the right cells of one model and runtime into them."""
    right = [cell for cell in cells if cell["right"]]
    files = [make_files(subject, cell["scheme"], cell["runtime"]) for cell in right]
    pairs = zip(files, right, strict=True)
    paths = [Path(made[cell["lowering"]]["path"]) for made, cell in pairs]
    found = measure(paths, subject.measured_texts, device, profile) if paths else []
    for cell, result in zip(right, found, strict=True):
        cell.update({key: result[key] for key in ("p50_ns", "num_runs", "validity")})


def make_stock(subject: Subject) -> dict[str, dict[str, str]]:
    """Makes the stock converter's files that are missing, where peers.py has them as well; returns
    {name: {"path"} or {"error"}}."""
    made, folder = {}, subject.folder.path / "peers"
    folder.mkdir(exist_ok=True)
    for name in STOCK:
        path = folder / f"{name}.tflite"
        log = path.with_suffix(".log")
        if not log.is_file():
            program = str(Path(__file__).with_name("peer_exports.py"))
            if not peers.run(
                [sys.executable, program, name, str(subject.folder.path), str(path)], log
            ):
                path.unlink(missing_ok=True)
        made[name] = {"path": str(path)} if path.is_file() else {"error": peers.last_words(log)}
    return made


def stock_files(subject: Subject, runtime: str) -> dict[str, dict[str, str]]:
    """Returns {name: {"path"} or {"error"}} of the files of tfpipe and of the stock converter."""
    made = {
        f"tfpipe-{scheme}-{lowering}": entry
        for scheme in SCHEMES
        for lowering, entry in make_files(subject, scheme, runtime).items()
    }
    return {**made, **make_stock(subject)}


def check_stock(
    subject: Subject, files: Mapping[str, dict[str, str]], device: Device
) -> list[dict[str, Any]]:
    """Returns a row for every file, run over the test split."""
    rows = []
    for name, entry in files.items():
        row: dict[str, Any] = {"name": name, "runs": False, "right": False}
        if "path" in entry:
            row["size_bytes"] = Path(entry["path"]).stat().st_size
            row.update(subject.check(Path(entry["path"]), name.split("-")[1], device))
        else:
            row["error"] = entry["error"]
        rows.append(row)
    return rows


def compare_stock(
    token_ids: Path,
    files: Mapping[str, dict[str, str]],
    rows: list[dict[str, Any]],
    device: Device,
) -> dict[str, Any]:
    """Measures the right files in turn; returns how the fastest of tfpipe is to the fastest stock
    one."""
    right = [row for row in rows if row["right"]]
    paths = [Path(files[row["name"]]["path"]) for row in right]
    results = measure(paths, token_ids, device, "quick")
    for row, result in zip(right, results, strict=True):
        row.update({key: result[key] for key in ("p50_ns", "num_runs", "validity")})
    samples = {
        row["name"]: result["latencies_ns"] for row, result in zip(right, results, strict=True)
    }
    best = {}
    for kind in ("stock", "tfpipe"):
        ours = [row for row in right if row["name"].startswith(kind)]
        best[kind] = min(ours, key=lambda row: row["p50_ns"])["name"] if ours else None
    if None in best.values():
        return {"rows": rows, **best, "ratio": None}
    found = ratio_of_medians(samples[best["stock"]], samples[best["tfpipe"]], paired=False)
    return {"rows": rows, **best, "ratio": found.ratio, "low": found.low, "high": found.high}


def describe_machine() -> dict[str, Any]:
    """Returns what the latencies are taken on."""
    return {**machine.read_fingerprint(), "load_average": machine.read_load_average()}


class State:
    """What is known so far, and the files that it is kept in.

    Attributes:
        cells: One of each runtime, model, scheme and lowering.
        stock: A runtime, and what `compare_stock` found in it.
        machine: What the latencies were taken on.
    """

    def __init__(self, markdown: Path) -> None:
        self.markdown = markdown
        path = markdown.with_suffix(".json")
        known = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        self.cells: list[dict[str, Any]] = known.get("cells", [])
        self.stock: dict[str, Any] = known.get("stock", {})
        self.machine: dict[str, Any] = known.get("machine", {})

    def of(self, runtime: str, model: str) -> list[dict[str, Any]]:
        """Returns the known cells of a model in a runtime."""
        return [cell for cell in self.cells if (cell["runtime"], cell["model"]) == (runtime, model)]

    def put(self, cell: dict[str, Any]) -> None:
        """Puts a cell in the place of what was known of it."""
        names = ("runtime", "model", "scheme", "lowering")
        others = [each for each in self.cells if any(each[name] != cell[name] for name in names)]
        self.cells = [*others, cell]
        self.save()

    def save(self) -> None:
        """Writes the page and its .json."""
        content = {"machine": self.machine, "cells": self.cells, "stock": self.stock}
        write_json_atomic(self.markdown.with_suffix(".json"), content)
        write_file_atomic(self.markdown, format_page(content).encode())


def main() -> None:
    """Fills the page: first every file is made and checked, then all are measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=Path, required=True, help="folder of one run a model")
    parser.add_argument("--models", nargs="+", choices=MODEL_NAMES, default=list(MODEL_NAMES))
    parser.add_argument("--peers", type=Path, help="a run of an LSTM of 128 units, see peers.py")
    parser.add_argument("--markdown", type=Path, required=True, help="the page; .json beside it")
    default = [f"{HOST}=={version(HOST)}", OLDEST]
    parser.add_argument("--runtimes", nargs="+", default=default, metavar="NAME==VERSION")
    parser.add_argument(
        "--python",
        nargs="+",
        default=[],
        metavar="NAME==VERSION=PROGRAM",
        help="Pythons that have one of the runtimes already",
    )
    parser.add_argument("--profile", default="brief", help="of tfpipe bench")
    parser.add_argument(
        "--latency",
        choices=["missing", "none", "anew"],
        default="missing",
        help="what is measured: latencies that are not known, none, or all again",
    )
    options = parser.parse_args()
    pythons = dict(entry.rsplit("=", 1) for entry in options.python)
    devices = {}
    for runtime in options.runtimes:
        try:
            devices[runtime] = open_runtime(runtime, pythons)
        except NoEnvironmentError as error:
            print(f"{runtime} is left out: {error}", file=sys.stderr)
    state = State(options.markdown)
    subjects = {model: Subject(train(options.runs / model, model)) for model in options.models}
    for model, subject in subjects.items():
        for runtime, device in devices.items():
            for cell in check_cells(subject, model, runtime, device, state.of(runtime, model)):
                state.put(cell)
    state.machine = describe_machine() if options.latency != "none" else state.machine
    if options.peers is not None and OLDEST in devices:
        peers.train("lstm-128", options.peers)
        fill_stock(state, Subject(options.peers), devices[OLDEST], options.latency)
    if options.latency != "none":
        for model, subject in subjects.items():
            for runtime, device in devices.items():
                cells = state.of(runtime, model)
                if options.latency == "anew" or needs_measuring(cells):
                    measure_cells(subject, cells, device, options.profile)
                    state.save()


def train(run: Path, model: str) -> Path:
    """Trains a model on the packaged topics, unless it is there; returns its run."""
    if not (run / "run.json").is_file():
        command = [sys.executable, "-m", "tfpipe.cli", "train", "topics", "--run", str(run)]
        subprocess.run([*command, "--model", model, "--resume"], check=True)
    return run


def fill_stock(state: State, subject: Subject, device: Device, latency: str) -> None:
    """Compares tfpipe with the stock converter in the oldest runtime; in the host's, peers.py
    does."""
    files = stock_files(subject, OLDEST)
    if not state.stock:
        state.stock = {"runtime": OLDEST, "rows": check_stock(subject, files, device)}
        state.save()
    if latency == "anew" or (latency == "missing" and "ratio" not in state.stock):
        found = compare_stock(subject.measured_texts, files, state.stock["rows"], device)
        state.stock.update(found)
        state.save()


if __name__ == "__main__":
    main()
