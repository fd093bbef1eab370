"""Synthetic run folders → report.json, report.md, report.html and the terminal's table."""

from __future__ import annotations

import csv
import doctest
import hashlib
import html
import json
import random
import re
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tfpipe.report import format_table, markup, units, write_report
from tfpipe.report.artifacts import wilson_interval
from tfpipe.report.style import STYLE
from tfpipe.report.table import Cell, Column, Table, markdown_table, text_table, text_width

SIX_LABELS = ["business", '<b>science</b> & "tech"', "スポーツ", "การเมือง", "здоровье", "عالم"]
MODEL_BYTES = {"float32": 1_415_976, "dynamic_int8": 358_208, "int8": 358_192, "float16": 709_000}


def sha256_for(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def confusion_counts(num_classes: int, per_class: int, *, seed: int = 1) -> list[list[int]]:
    rng = random.Random(seed)
    rows = []
    for true in range(num_classes):
        row = [0] * num_classes
        for _ in range(per_class):
            row[true if rng.random() < 0.9 else rng.randrange(num_classes)] += 1
        rows.append(row)
    return rows


def write_run_json(
    run: Path, labels: list[str], *, multi_label: bool = False, **changes: Any
) -> None:
    micro = {"micro_f1": 0.911} if multi_label else {}
    value = {
        "schema_version": 1,
        "created": "2026-11-20T09:30:00Z",
        "task": "classify",
        "model": "lstm",
        "multi_label": multi_label,
        "seed": 1,
        "versions": {"tfpipe": "0.1.0", "tensorflow": "2.21.0", "python": "3.11.9"},
        "data": {
            "source": "topics",
            "test_source": None,
            "fingerprint_sha256": sha256_for("data"),
            "text_column": "text",
            "label_column": "label",
            "num_rows": 7600,
            "splits": {"train": 5800, "validation": 660, "test": 1140},
            "label_counts": {
                split: {label: count + 3 * i for i, label in enumerate(labels)}
                for split, count in {"train": 960, "validation": 110, "test": 190}.items()
            },
            "skipped": {"empty text": 3, "no label": 12},
            "warnings": ["2 labels differ only by case: 'Sport', 'sport'"],
        },
        "choices": [
            {
                "key": "data.sequence_length",
                "value": 64,
                "reason": "95 % of the training texts have at most 61 tokens",
            },
            {
                "key": "tokenizer.kind",
                "value": "wordpiece",
                "reason": "validation accuracy 0.905, against word 0.893 and char 0.871",
            },
        ],
        "recipe": {
            "data": {"sequence_length": 64},
            "tokenizer": {"kind": "wordpiece", "vocabulary_size": 5000, "lowercase": True},
            "model": {"embedding_dim": 64, "units": 64, "pooling": "max", "dropout": 0.3},
            "train": {"epochs": 12, "batch_size": 64, "learning_rate": 0.001, "seed": 1},
        },
        "parameters": 353_540,
        "training": {"epochs_run": 8, "best_epoch": 5, "seconds": 83.2},
        "metrics": {
            "validation": {"accuracy": 0.9152, "macro_f1": 0.9143, **micro},
            "test": {"accuracy": 0.9079, "macro_f1": 0.9068, **micro, "num_examples": 1140},
            "baseline": {
                "majority": {"accuracy": 0.1667, "macro_f1": 0.0476, "label": labels[0]},
                "tfidf_logistic_regression": {
                    "accuracy": 0.8991,
                    "macro_f1": 0.8977,
                    **({"micro_f1": 0.9} if multi_label else {}),
                    "analyzer": "word",
                    "num_train_rows": 5800,
                    "validation_accuracy": {"word": 0.9, "char_wb": 0.894},
                },
            },
        },
        "confusion_matrix": None
        if multi_label
        else {"labels": labels, "counts": confusion_counts(len(labels), 1140 // len(labels))},
        **changes,
    }
    write_json(run / "run.json", value)


def write_history(run: Path) -> None:
    path = run / "train" / "history.csv"
    path.parent.mkdir(parents=True)
    header = "epoch,loss,accuracy,val_loss,val_accuracy,learning_rate,seconds".split(",")
    losses = [1.62, 0.98, 0.61, 0.42, 0.31, 0.24, 0.19, 0.15]
    validation = [1.31, 0.80, 0.52, 0.39, 0.352, 0.358, 0.371, 0.39]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for i, (loss, val_loss) in enumerate(zip(losses, validation, strict=True)):
            writer.writerow([i + 1, loss, 1 - loss / 3.2, val_loss, 1 - val_loss / 4, 0.001, 10.4])


def write_artifact(
    run: Path, name: str, scheme: str, *, passed: bool | None = True, variant: str = "base"
) -> None:
    folder = run / "exports" / name
    size, sha256 = MODEL_BYTES[scheme], sha256_for(name)
    write_json(
        folder / "manifest.json",
        {
            "schema_version": 1,
            "name": name,
            "task": "classify",
            "model": "lstm",
            "variant": variant,
            "target": "cpu",
            "scheme": scheme,
            "lowering": "unrolled" if "unrolled" in name else "fused",
            "min_runtime": "2.14.0",
            "model_file": "model.tflite",
            "sequence_length": 64,
            "files": {"model.tflite": {"sha256": sha256, "bytes": size}},
            "created": "2026-11-20T10:00:00Z",
        },
    )
    findings = [
        {
            "code": "float-bytes",
            "severity": "warning",
            "message": "1.28 MB of the weights are float32.",
            "fix": "Export with --scheme dynamic_int8.",
        }
    ]
    write_json(
        folder / "check.json",
        {
            "ok": True,
            "min_runtime": "2.14.0",
            "ops": {"GATHER": 1, "FULLY_CONNECTED": 2},
            "bytes_by_dtype": {"float32": size - 1800, "int32": 600},
            "bytes_by_kind": {"constants": size - 1200, "metadata": 0, "graph": 1200},
            "findings": findings if scheme == "float32" else [],
            "lowering": "fused",
            "model_size_bytes": size,
            "zip_size_bytes": round(size * 0.87),
            "zstd_size_bytes": round(size * 0.85),
        },
    )
    if passed is not None:
        write_verification(run, name, passed=passed)


def write_verification(run: Path, name: str, *, passed: bool, **changes: Any) -> None:
    value = {
        "metric": "accuracy",
        "keras": 0.9079,
        "artifact": 0.9079 if passed else 0.6123,
        "agreement": 0.9982 if passed else 0.655,
        "max_abs_error": 0.0123,
        "mean_abs_error": 0.0004,
        "num_examples": 1140,
        "passed": passed,
        "failures": [] if passed else ["agreement=0.655 is below 0.97, the limit of int8"],
        "threshold": {"agreement": 0.97, "reason": "8-bit activations move close decisions"},
        "model_sha256": sha256_for(name),
        "runtime": "ai-edge-litert",
        "runtime_version": "2.3.0",
        "created": "2026-11-20T10:01:00Z",
        "confusion_matrix": None,
        **changes,
    }
    write_json(run / "exports" / name / "verify.json", value)


def bench_result(name: str, median_ns: int, num_runs: int = 400, **changes: Any) -> dict[str, Any]:
    rng = random.Random(name)
    samples = [round(median_ns * (0.97 + rng.expovariate(14))) for _ in range(num_runs)]
    ordered = sorted(samples)
    return {
        "artifact": f"somewhere/exports/{name}",
        "name": name,
        "model_sha256": sha256_for(name),
        "device": "AMD EPYC 7B13",
        "device_kind": "native",
        "runtime": "ai-edge-litert",
        "runtime_version": "2.3.0",
        "delegate": "cpu",
        "num_threads": 1,
        "profile": "quick",
        "warmup_runs": 60,
        "warmup_ns": 500_000_000,
        "measure_ns": 1_000_000_000,
        "num_runs": num_runs,
        "init_ns": 1_830_000,
        "first_invoke_ns": 2 * median_ns,
        "p50_ns": ordered[num_runs // 2],
        "p90_ns": ordered[num_runs * 9 // 10],
        "p99_ns": ordered[num_runs * 99 // 100] if num_runs >= 662 else None,
        "percentile_n": {"p50": 11, "p90": 64, "p95": 130, "p97": 219, "p99": 662, "p99.9": 6636},
        "early_stopping_p90_ns": ordered[num_runs * 95 // 100],
        "mean_ns": sum(samples) / num_runs,
        "min_ns": ordered[0],
        "max_ns": ordered[-1],
        "end_to_end_p50_ns": ordered[num_runs // 2] + 31_000,
        "tokenize_p50_ns": 28_000,
        "decode_p50_ns": 3_000,
        "peak_memory_bytes": 45_200_000,
        "validity": "valid",
        "validity_reasons": [],
        "fingerprint": {
            "cpu_model": "AMD EPYC 7B13",
            "cores": 2,
            "governor": None,
            "memory_bytes": 8_340_000_000,
        },
        "latencies_ns": samples,
        **changes,
    }


def profiled_op(kernel: str, where: str, count: int, mean_ns: float) -> dict[str, Any]:
    found = {"op": kernel.split(" (")[0], "kernel": kernel, "where": where, "count": count}
    return {**found, "mean_ns": mean_ns}


PARTS: dict[str, Any] = {
    "end_to_end_shares": {"tokenize": 0.25, "invoke": 0.7, "decode": 0.04, "copy": 0.01},
    "op_profile": {
        "method": "runtime",
        "num_runs": 500,
        "short_ops": 402,
        "nodes": {"total": 508, "delegated": 501, "partitions": 3},
        "ops": [
            profiled_op("Fully Connected (NC, F32) GEMM", "delegate", 41, 60_000.0),
            profiled_op("GATHER", "interpreter", 1, 30_000.0),
            profiled_op("<Multiply> (ND)", "delegate", 121, 9_000.0),
            profiled_op("TanH (NC)", "delegate", 80, 600.0),
            profiled_op("Sigmoid (NC)", "delegate", 119, 400.0),
            profiled_op("Add (ND)", "delegate", 78, 0.0),
        ],
    },
}


def write_bench(run: Path, file: str, created: str, results: list[dict[str, Any]]) -> None:
    settings = {"profile": "quick", "block": 50, "dropped_per_block": 5, "seed": 1}
    value = {"created": created, "settings": settings, "results": results}
    write_json(run / "bench" / file, value)


def make_run(run: Path, labels: list[str] | None = None, *, multi_label: bool = False) -> Path:
    """Writes a whole run: artifacts that passed, failed, were never verified, never measured."""
    write_run_json(run, SIX_LABELS if labels is None else labels, multi_label=multi_label)
    write_history(run)
    write_artifact(run, "lstm-float32", "float32")
    write_artifact(run, "lstm-unrolled-dynamic", "dynamic_int8")
    write_artifact(run, "lstm-int8", "int8", passed=False)
    write_artifact(run, "lstm-float16", "float16")
    write_artifact(run, "lstm-unrolled-int8", "int8", passed=None)
    metric = "micro_f1" if multi_label else "accuracy"
    for name in ("lstm-float32", "lstm-float16"):
        write_verification(run, name, passed=True, metric=metric)
    write_verification(run, "lstm-int8", passed=False, metric=metric)
    changes = {"artifact": 0.9061, "agreement": 0.9965, "metric": metric}
    write_verification(run, "lstm-unrolled-dynamic", passed=True, **changes)
    write_bench(
        run,
        "local-20261120T100500Z.json",
        "2026-11-20T10:05:00Z",
        [bench_result("lstm-float32", 999_000), bench_result("lstm-unrolled-int8", 61_000)],
    )
    write_bench(
        run,
        "local-20261120T110000Z.json",
        "2026-11-20T11:00:00Z",
        [
            bench_result("lstm-float32", 212_000, 2000, **PARTS),
            bench_result("lstm-unrolled-dynamic", 80_000),
            bench_result("lstm-int8", 1_052_000),
        ],
    )
    emulated = {
        "device": "Pixel 6 (emulator)",
        "device_kind": "emulated",
        "validity": "degraded",
        "validity_reasons": ["load average 1.9 on 2 cores before the run"],
        "peak_memory_bytes": None,
    }
    write_bench(
        run,
        "adb-20261120T120000Z.json",
        "2026-11-20T12:00:00Z",
        [bench_result("lstm-unrolled-dynamic", 1_400_000, 50, **emulated)],
    )
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "lstm-topics")


@pytest.fixture(scope="module")
def report(run: Path) -> dict[str, Any]:
    return write_report(run)


def artifact_of(report: dict[str, Any], name: str) -> dict[str, Any]:
    return next(artifact for artifact in report["artifacts"] if artifact["name"] == name)


def edit_json(path: Path, **changes: Any) -> None:
    write_json(path, {**json.loads(path.read_text(encoding="utf-8")), **changes})


class Page(HTMLParser):
    """Checks that tags are balanced, and collects tags, ids, headings and text."""

    VOID = frozenset({"meta", "br", "hr"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)


# The content of report.json.


def test_report_json_is_what_write_report_returns(run: Path, report: dict[str, Any]) -> None:
    assert json.loads((run / "report.json").read_text(encoding="utf-8")) == report
    assert list(report) == [
        "schema_version",
        "run",
        "data",
        "baselines",
        "history",
        "confusion_matrix",
        "artifacts",
        "variants",
        "benchmarks",
        "notes",
    ]
    assert report["schema_version"] == 1
    assert not list(run.glob(".*"))  # no temporary file is left


def test_same_run_gives_same_bytes(run: Path, report: dict[str, Any], tmp_path: Path) -> None:
    copy = tmp_path / run.name
    shutil.copytree(run, copy)
    write_report(copy)
    for name in ("report.html", "report.json", "report.md"):
        assert (copy / name).read_bytes() == (run / name).read_bytes()


def test_newest_result_of_a_file_and_device_wins(report: dict[str, Any]) -> None:
    (result,) = artifact_of(report, "lstm-float32")["latency"]
    assert result["file"] == "local-20261120T110000Z.json"
    assert result["p50_ns"] < 300_000  # the older one says a million


def test_newest_is_by_time_and_not_by_name_or_spelling_of_the_zone(tmp_path: Path) -> None:
    write_run_json(tmp_path, ["a", "b"])
    write_artifact(tmp_path, "one", "float32")
    for file, created, median in (
        ("z.json", "2026-11-20T11:30:00+02:00", 999_000),
        ("a.json", "2026-11-20T10:00:00Z", 100_000),
    ):
        write_bench(tmp_path, file, created, [bench_result("one", median)])
    (result,) = artifact_of(write_report(tmp_path), "one")["latency"]
    assert result["file"] == "a.json"


def test_samples_are_thinned_and_keep_their_ends(report: dict[str, Any]) -> None:
    (result,) = artifact_of(report, "lstm-float32")["latency"]
    samples = result["samples_ns"]
    assert len(samples) == 101 and samples == sorted(samples)
    assert (samples[0], samples[-1]) == (result["min_ns"], result["max_ns"])


def test_percentile_of_too_small_a_sample_is_dropped_whoever_wrote_it(tmp_path: Path) -> None:
    write_run_json(tmp_path, ["a", "b"])
    write_artifact(tmp_path, "one", "float32")
    result = bench_result("one", 100_000, 63, p90_ns=123_456, p99_ns=654_321)
    write_bench(tmp_path, "b.json", "2026-11-20T10:00:00Z", [result])
    (found,) = artifact_of(write_report(tmp_path), "one")["latency"]
    assert found["p50_ns"] is not None and found["p90_ns"] is found["p99_ns"] is None
    assert "n too small (n=63)" in (tmp_path / "report.md").read_text(encoding="utf-8")


# scipy.stats.binomtest(5, 10).proportion_ci(method="wilson") and (95, 100) give these.
@pytest.mark.parametrize(
    ("fraction", "count", "low", "high"),
    [(0.5, 10, 0.2365931, 0.7634069), (0.95, 100, 0.8882495, 0.9784563)],
)
def test_interval_is_wilsons(fraction: float, count: int, low: float, high: float) -> None:
    assert wilson_interval(fraction, count) == pytest.approx((low, high), abs=1e-6)


# No latency without a passed verification.


def break_nothing(folder: Path) -> None:
    pass


def fail_verification(folder: Path) -> None:
    edit_json(folder / "verify.json", passed=False, failures=["agreement=0.5 is below 0.97"])


def remove_verification(folder: Path) -> None:
    (folder / "verify.json").unlink()


def verify_another_file(folder: Path) -> None:
    edit_json(folder / "verify.json", model_sha256=sha256_for("another"))


def change_the_file(folder: Path) -> None:
    (folder / "model.tflite").write_bytes(b"not what was verified")


@pytest.mark.parametrize(
    ("damage", "status", "reason"),
    [
        (break_nothing, "passed", None),
        (fail_verification, "failed", "agreement=0.5 is below 0.97"),
        (
            remove_verification,
            "not verified",
            "never verified: run `tfpipe verify run/",
        ),
        (verify_another_file, "stale", "another file was verified"),
        (change_the_file, "changed", "model.tflite was changed after the export"),
    ],
)
def test_latency_is_shown_only_for_a_verified_file(
    damage: Any, status: str, reason: str | None, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    write_run_json(run, ["a", "b"])
    write_artifact(run, "one", "float32")
    measured = bench_result("one", 1_000_000, 700, p50_ns=7_770_000, p90_ns=8_880_000)
    measured.update(p99_ns=9_990_000, latencies_ns=[7_770_000] * 700, end_to_end_p50_ns=6_660_000)
    write_bench(run, "b.json", "2026-11-20T10:00:00Z", [measured])
    damage(run / "exports" / "one")
    report = write_report(run)
    artifact = artifact_of(report, "one")
    assert artifact["verdict"]["status"] == status
    assert artifact["latency_withheld"] == (status != "passed")
    outputs = [format_table(report)] + [
        (run / f"report.{kind}").read_text(encoding="utf-8") for kind in ("html", "md", "json")
    ]
    for output in outputs:
        shown = re.search(r"7\.77.ms|8\.88.ms|9\.99.ms|6\.66.ms|7770000|7,770,000", output)
        assert bool(shown) == (status == "passed")
        if reason:
            assert reason in re.sub(r"\s+", " ", output).replace("\\", "")


# Pages for people.


def page_of(run: Path) -> Page:
    return Page((run / "report.html").read_text(encoding="utf-8"))


def variants(path: Path) -> list[Path]:
    """Returns runs of every kind: six classes, 27, multi-label, and nothing but a training."""
    runs = [
        make_run(path / "six"),
        make_run(path / "many-classes", [f"language number {i}" for i in range(27)]),
        make_run(path / "multi-label", multi_label=True),
        path / "bare",
    ]
    write_run_json(runs[-1], ["a", "b"])
    return runs


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    made = variants(tmp_path_factory.mktemp("variants"))
    for run in made:
        write_report(run)
    return made


@pytest.mark.parametrize("index", range(4))
def test_page_is_whole_and_self_contained(index: int, runs: list[Path]) -> None:
    source = (runs[index] / "report.html").read_text(encoding="utf-8")
    page = page_of(runs[index])
    tags = Counter(tag for tag, _ in page.tags)
    assert tags["title"] >= 1 and tags["h1"] == tags["main"] == 1
    assert not tags["script"] + tags["link"] + tags["img"] + tags["iframe"]
    assert not re.search(r"https?:|//[a-z]|url\(|@import", source)
    assert not [
        attribute
        for _, attributes in page.tags
        for attribute in attributes
        if attribute in ("src", "href", "srcset") or attribute.startswith("on")
    ]
    assert ("html", {"lang": "en"}) in page.tags
    assert any(attributes.get("name") == "viewport" for tag, attributes in page.tags)


@pytest.mark.parametrize("index", range(4))
def test_page_says_what_is_what_to_a_screen_reader(index: int, runs: list[Path]) -> None:
    page = page_of(runs[index])
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))
    assert all(attributes.get("scope") for tag, attributes in page.tags if tag == "th")
    tags = Counter(tag for tag, _ in page.tags)
    assert tags["caption"] == tags["table"]
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.tags:
        if tag == "svg":
            assert attributes["role"] == "img"
            assert set(str(attributes["aria-labelledby"]).split()) <= set(ids)


def test_plots_are_there(runs: list[Path]) -> None:
    text = " ".join(page_of(runs[0]).text)
    for title in (
        "Accuracy against latency on AMD EPYC 7B13 (native)",
        "Accuracy against latency on Pixel 6 (emulator) (emulated)",
        "Distribution of the latency on AMD EPYC 7B13 (native)",
        "Size of the file",
        "Loss by epoch",
        "Accuracy by epoch",
        "best epoch 5",
        "TF-IDF + logistic regression 89.9 %",
    ):
        assert title in text


def test_parts_of_the_time_are_drawn_and_listed(runs: list[Path]) -> None:
    page = page_of(runs[0])
    text = " ".join(page.text)
    for told in (
        "Where the time goes",
        "lstm-float32 on AMD EPYC 7B13 (native), ai-edge-litert 2.3.0, delegate cpu, 1 thread",
        "From text to label: tokenize 25.0 %, invoke 70.0 %, decode 4.0 %, copy 1.0 %.",
        "The call: delegate 70.0 %, interpreter 30.0 %.",
        # What runs it first, so that a kind lies below its runner; two slivers of 0.6 and 0.4 %.
        "Its ops: Fully Connected 60.0 %, <Multiply> 9.0 %, other 1.0 %, GATHER 30.0 %.",
        "Told too short: 402 ops under 1 µs each",
        "The delegate took 501 of 508 nodes, in 3 pieces.",
        "Ops of lstm-float32",
    ):
        assert told in text
    source = (runs[0] / "report.html").read_text(encoding="utf-8")
    bars = re.findall(r'<rect x="([\d.]+)" y="18" width="([\d.]+)" height="30"', source)
    assert [float(x) for x, _ in bars] == [0, 110, 418, 435.6]
    assert sum(float(width) for _, width in bars) == pytest.approx(440, abs=0.1)
    # The run without results has no such section.
    assert "Where the time goes" not in (runs[3] / "report.html").read_text(encoding="utf-8")


def test_ops_timed_by_prefixes_are_said_to_be(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    profile = {**PARTS["op_profile"], "method": "prefixes", "short_ops": 0}
    result = bench_result("lstm-float32", 200_000, **{**PARTS, "op_profile": profile})
    write_bench(run, "x.json", "2027-01-01T00:00:00Z", [result])
    write_report(run)
    text = " ".join(page_of(run).text)
    assert "no profiler for this file: differences of graphs that are cut off behind one" in text
    assert "own profiler" not in text and "too short" not in text
    assert "## Ops of lstm-float32" in (run / "report.md").read_text("utf-8")


def test_reason_for_missing_ops_is_shown(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    reason = "it has an op that keeps a state. Export with --lowering loop."
    changes = {"op_profile": None, "op_profile_reason": reason}
    result = bench_result("lstm-float32", 200_000, **changes)
    write_bench(run, "x.json", "2027-01-01T00:00:00Z", [result])
    write_report(run)
    told = f"no per-op times on AMD EPYC 7B13 (native): {reason}"
    assert told in " ".join(page_of(run).text)
    markdown = (run / "report.md").read_text("utf-8")
    assert f"- **lstm-float32**: {told}" in markdown.replace("\\", "")


def test_bytes_of_the_files_are_told_by_type(report: dict[str, Any], run: Path) -> None:
    check = artifact_of(report, "lstm-float32")["check"]
    size = MODEL_BYTES["float32"]
    assert check["bytes_by_dtype"] == {"float32": size - 1800, "int32": 600}
    assert check["bytes_by_kind"]["graph"] == 1200 and check["duplicate_bytes"] is None
    table = (run / "report.md").read_text("utf-8").split("## What the files hold\n")[1]
    row = next(line for line in table.split("\n") if line.startswith("| lstm-float32 |"))
    assert row == "| lstm-float32 | 1.41 MB (99.9 %) | 600 B (0.04 %) | 0 B | 1.20 kB (0.1 %) | – |"
    assert "What the files hold" in " ".join(page_of(run).text)


def test_parts_are_null_where_nobody_measured_them(report: dict[str, Any]) -> None:
    (result,) = [
        entry
        for entry in artifact_of(report, "lstm-unrolled-dynamic")["latency"]
        if entry["device_kind"] == "native"
    ]
    assert result["end_to_end_shares"] is None and result["op_profile"] is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"end_to_end_shares": {"tokenize": "x"}}, r"end_to_end_shares: tokenize='x' is not a num"),
        ({"op_profile": {"ops": [3]}}, r"op_profile: ops=\[3\] is not a list of objects"),
        ({"op_profile": {"ops": [{"op": 1}]}}, r"op_profile: ops\[0\]: op=1 is not a text"),
    ],
)
def test_damaged_parts_are_named(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    write_bench(run, "x.json", "2026-11-21T00:00:00Z", [bench_result("a", 1000, **changes)])
    with pytest.raises(ValueError, match=rf"x\.json: results\[0\]: {message}"):
        write_report(run)


def test_paced_result_is_not_put_in_place_of_a_busy_one(tmp_path: Path) -> None:
    """The same call takes longer on a core that has slept: another setting, another table."""
    run = make_run(tmp_path / "run")
    paced = bench_result("lstm-float32", 600_000, profile="paced")
    write_bench(run, "later.json", "2026-11-21T00:00:00Z", [paced])
    report = write_report(run)
    found = artifact_of(report, "lstm-float32")["latency"]
    assert sorted(entry["profile"] for entry in found) == ["paced", "quick"]
    assert "1 thread, paced" in (run / "report.html").read_text(encoding="utf-8")


def test_foreign_text_is_escaped(tmp_path: Path) -> None:
    evil = "<script>alert('&\"x\"')</script>"
    run = make_run(tmp_path / "a & b", [evil, "</td>", "| pipe", "new\nline", "\u0000\ud800", "f"])
    data = json.loads((run / "run.json").read_text(encoding="utf-8"))["data"]
    edit_json(run / "run.json", model=evil, data={**data, "source": evil, "warnings": [evil]})
    edit_json(run / "exports" / "lstm-int8" / "verify.json", failures=[evil])
    report = write_report(run)
    source = (run / "report.html").read_text(encoding="utf-8")
    assert "<script" not in source and html.escape(evil) in source
    assert evil in "".join(page_of(run).text)
    assert "</td>" in "".join(page_of(run).text)
    markdown = (run / "report.md").read_text(encoding="utf-8")
    markdown = re.sub("^    .*$", "", markdown, flags=re.M)  # code is shown as it is
    assert "<script" not in markdown and "\\| pipe" in markdown and "new line" in markdown
    assert "\x00" not in source + format_table(report)


def test_unknown_is_never_zero(tmp_path: Path) -> None:
    write_json(tmp_path / "run.json", {})
    write_json(tmp_path / "exports" / "one" / "manifest.json", {})
    report = write_report(tmp_path)
    page = page_of(tmp_path)
    text = " ".join(page.text)
    assert "unknown" in text and "–" in text
    assert not re.search(r"\b0(\.0)?\b", text)
    assert any("unknown" in (attributes.get("title") or "") for _, attributes in page.tags)
    assert not re.search(r"\b0(\.0)?\b", format_table(report))


def test_device_kinds_and_settings_have_tables_of_their_own(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    gpu = {"device_kind": "software-gpu", "delegate": "gpu"}
    results = [
        bench_result("lstm-float32", 500_000, **gpu),
        bench_result("lstm-float32", 150_000, num_threads=2),
    ]
    write_bench(run, "gpu.json", "2026-11-20T13:00:00Z", results)
    write_report(run)
    markdown = (run / "report.md").read_text(encoding="utf-8")
    results_part = markdown.split("## Results")[1].split("\n## ")[0]
    titles = re.findall(r"^### (.*)$", results_part, re.M)
    assert titles == [
        "AMD EPYC 7B13 (native), ai-edge-litert 2.3.0, delegate cpu, 1 thread",
        "AMD EPYC 7B13 (native), ai-edge-litert 2.3.0, delegate cpu, 2 threads",
        "Pixel 6 (emulator) (emulated)",
        "AMD EPYC 7B13 (software-gpu)",
    ]


def test_doubtful_measurements_say_why(report: dict[str, Any], run: Path) -> None:
    reason = "load average 1.9 on 2 cores before the run"
    assert "passed, degraded" in " ".join(page_of(run).text)
    for output in (format_table(report), " ".join(page_of(run).text)):
        assert reason in output


def test_invalid_measurement_is_neither_headline_nor_plotted(tmp_path: Path) -> None:
    write_run_json(tmp_path, ["a", "b"])
    write_artifact(tmp_path, "one", "float32")
    result = bench_result("one", 77_000, validity="invalid", validity_reasons=["clock stood still"])
    write_bench(tmp_path, "b.json", "2026-11-20T10:00:00Z", [result])
    write_report(tmp_path)
    text = " ".join(page_of(tmp_path).text)
    assert "passed, invalid" in text and "clock stood still" in text
    assert "has not been measured" in text and "Accuracy against latency" not in text


def test_headline_names_the_best(report: dict[str, Any], run: Path) -> None:
    markdown = (run / "report.md").read_text(encoding="utf-8")
    best = re.findall(r"^- \*\*(.*)\*\* \((.*?)\) (labels .*)$", markdown, re.M)
    assert [(name, role) for name, role, _ in best] == [
        ("lstm-float32", "most accurate"),
        ("lstm-unrolled-dynamic", "smallest and fastest"),
    ]
    assert best[0][2].startswith(
        "labels 90.8 % of 1,140 test texts correctly (95 % interval 89.0 %"
    )
    assert best[0][2].endswith("n=2,000) on AMD EPYC 7B13 (native).")


def test_multi_label_run_reports_micro_f1_and_no_confusion(runs: list[Path]) -> None:
    text = " ".join(page_of(runs[2]).text).replace("\u00a0", " ")
    assert "micro-F1 91.1 %" in text and "Micro‑F1" in text
    assert "not defined for several labels" in text
    assert "interval" not in text  # an F1 score has no binomial interval


def test_run_without_exports_and_history_says_so(runs: list[Path]) -> None:
    text = " ".join(page_of(runs[3]).text)
    assert "Nothing is exported yet: run `tfpipe export bare" in text
    assert "no training curves" in text


def test_run_without_bench_says_so(tmp_path: Path) -> None:
    write_run_json(tmp_path / "run", ["a", "b"])
    write_artifact(tmp_path / "run", "one", "float32")
    report = write_report(tmp_path / "run")
    assert "Nothing is measured yet: run `tfpipe bench run/exports/NAME`." in format_table(report)


def test_leftovers_are_noted_and_left_out(tmp_path: Path) -> None:
    write_run_json(tmp_path, ["a", "b"])
    write_artifact(tmp_path, "one", "float32")
    (tmp_path / "exports" / "empty").mkdir()
    (tmp_path / "exports" / ".one.part").mkdir()
    write_bench(tmp_path, "b.json", "2026-11-20T10:00:00Z", [bench_result("gone", 50_000)])
    assert write_report(tmp_path)["notes"] == [
        "exports/empty has no manifest.json and is left out; export it again.",
        "1 result is of files that exports/ does not hold (any more) and not shown.",
    ]


def test_long_labels_are_cut_with_their_title(runs: list[Path]) -> None:
    page = page_of(runs[1])
    titles = [attributes.get("title") for tag, attributes in page.tags if tag == "th"]
    assert "language number 26" in titles and "language number…" in page.text
    cells = [attributes for tag, attributes in page.tags if tag == "td"]
    assert any((cell.get("title") or "").startswith("language number 0 → ") for cell in cells)


def test_diverged_training_has_curves_of_what_is_finite(tmp_path: Path) -> None:
    write_run_json(tmp_path, ["a", "b"])
    (tmp_path / "train").mkdir()
    lines = ["epoch,loss,accuracy,val_loss,val_accuracy,learning_rate,seconds"]
    lines += ["1,0.7,0.5,0.7,0.5,0.001,1.0", "2,nan,0.5,inf,0.5,0.001,1.0", "3,"]
    (tmp_path / "train" / "history.csv").write_text("\n".join(lines), encoding="utf-8")
    history = write_report(tmp_path)["history"]
    assert history["loss"] == [0.7, None, None] and history["epoch"] == [1.0, 2.0, 3.0]


def test_commands_make_the_run_again(report: dict[str, Any]) -> None:
    commands = report["run"]["commands"]
    assert commands[0] == (
        "tfpipe train topics --run lstm-topics-again --model lstm --recipe lstm-topics/recipe.toml"
    )
    assert commands[1] == (
        "tfpipe export lstm-topics-again --as lstm-float32 --target cpu --scheme float32 "
        "--lowering fused"
    )
    assert commands[-1].startswith("tfpipe bench lstm-topics-again/exports/lstm-float32 ")


def test_commands_say_how_a_table_was_read(tmp_path: Path) -> None:
    run = tmp_path / "my run"
    columns = {"text_column": "the text", "label_column": "topic"}
    data = {"source": "a.csv", "test_source": "b.csv", **columns}
    write_run_json(run, ["a", "b"], multi_label=True, data=data)
    assert write_report(run)["run"]["commands"] == [
        "tfpipe train a.csv --run 'my run-again' --model lstm --recipe 'my run/recipe.toml' "
        "--test b.csv --text-column 'the text' --label-column topic --multi-label"
    ]
    paths = {"source_path": "../my data/a.csv", "test_path": "../my data/b.csv"}
    write_run_json(run, ["a", "b"], data={**data, **paths})
    assert write_report(run)["run"]["commands"] == [
        "tfpipe train '../my data/a.csv' --run 'my run-again' --model lstm --recipe "
        "'my run/recipe.toml' --test '../my data/b.csv' --text-column 'the text' --label-column "
        "topic"
    ]


def test_commands_say_who_taught(tmp_path: Path) -> None:
    run = tmp_path / "student"
    write_run_json(run, ["a", "b"], teaching={"teachers": ["one", "../two"], "unlabelled": "m.txt"})
    (command,) = write_report(run)["run"]["commands"]
    assert command.endswith("--teacher one --teacher ../two --unlabelled m.txt")


def test_training_and_verification_that_differ_are_noted(tmp_path: Path) -> None:
    write_run_json(tmp_path, ["a", "b"])
    write_artifact(tmp_path, "one", "float32")
    write_verification(tmp_path, "one", passed=True, keras=0.93)
    assert write_report(tmp_path)["notes"] == [
        "one: its verification found 93.0 % for the Keras model, the training 90.8 %, on the same "
        "number of texts."
    ]


# Tables.


def test_markdown_table_is_exact() -> None:
    columns = (Column("Artifact"), Column("p50", numeric=True))
    rows = ((Cell("a|b_c"), Cell("80 µs", note="n=400")), (Cell("<x>"), Cell("–")))
    expected = (
        "On a \\*board\\*.\n"
        "\n"
        "| Artifact | p50 |\n"
        "| --- | ---: |\n"
        "| a\\|b\\_c | 80 µs (n=400) |\n"
        "| &lt;x\\> | – |\n"
    )
    assert markdown_table(Table("T", "On a *board*.", columns, rows)) == expected


def test_text_table_is_exact_with_wide_characters() -> None:
    columns = (Column("Artifact", "name"), Column("p50", numeric=True))
    rows = [(Cell("日本"), Cell("80.1 µs")), (Cell("x\ny"), Cell("n too small", short="n<64"))]
    expected = "name      p50\n----  -------\n日本  80.1 µs\nx y      n<64\n"
    assert text_table(columns, rows) == expected


def test_terminal_table_is_exact(tmp_path: Path) -> None:
    run = tmp_path / "run"
    write_run_json(run, ["a", "b"])
    write_history(run)
    write_artifact(run, "cpu-float32", "float32")
    write_artifact(run, "cpu-int8", "int8", passed=False)
    result = bench_result("cpu-float32", 200_000, 400, p50_ns=211_960, p90_ns=1_234_000)
    write_bench(run, "b.json", "2026-11-20T10:00:00Z", [result])
    expected = """\
LSTM with 353,540 parameters, trained on 5,800 texts of topics in 2 classes.
On the test split (n=1,140) the Keras model has accuracy 90.8 %, TF-IDF + logistic regression 89.9 %
  (+0.9 points for the model), always answering the most frequent label 16.7 %.

AMD EPYC 7B13 (native). Native: measured on the device itself. ai-edge-litert 2.3.0, delegate cpu, 1
  thread.
artifact       acc.   agree     size      zip     zstd     p50      p90    p99  verdict
-----------  ------  ------  -------  -------  -------  ------  -------  -----  -------
cpu-float32  90.8 %  99.8 %  1.42 MB  1.23 MB  1.20 MB  212 µs  1.23 ms  n<662  passed
cpu-int8     61.2 %  65.5 %   358 kB   312 kB   304 kB       –        –      –  FAILED
n<662: too few measured calls.
cpu-int8: failed. agreement=0.655 is below 0.97, the limit of int8.
"""
    assert format_table(write_report(run)) == expected


def test_terminal_table_is_at_most_100_columns_wide(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    name = "模型" * 20 + "-dynamic_int8"
    write_artifact(run, name, "dynamic_int8")
    write_verification(run, name, passed=True, agreement=0.99999, artifact=0.99999)
    lines = format_table(write_report(run)).splitlines()
    assert max(map(text_width, lines)) <= 100
    assert any(re.match("模型.*….*_int8  ", line) for line in lines)


@pytest.mark.parametrize("module", [units, markup])
def test_documented_examples_are_true(module: Any) -> None:
    result = doctest.testmod(module)
    assert result.attempted and not result.failed


@pytest.mark.parametrize(
    ("value_ns", "expected"),
    [
        (None, "–"),
        (0, "0 ns"),
        (999, "999 ns"),
        (999.6, "1.00 µs"),
        (9_994, "9.99 µs"),
        (9_996, "10.0 µs"),
        (99_949, "99.9 µs"),
        (99_960, "100 µs"),
        (999_600, "1.00 ms"),
        (1_052_000, "1.05 ms"),
        (61_000_000_000, "61.0 s"),
    ],
)
def test_latency_text_has_three_digits(value_ns: float | None, expected: str) -> None:
    assert units.format_latency(value_ns) == expected


# Damaged folders.


def test_folder_without_run_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"run='.*' is no finished run: .* Make one with"):
        write_report(tmp_path)


@pytest.mark.parametrize(
    ("file", "fix"),
    [
        ("run.json", "train again"),
        ("exports/lstm-float32/manifest.json", "`tfpipe export` again"),
        ("exports/lstm-float32/check.json", "`tfpipe export` again"),
        ("exports/lstm-float32/verify.json", "`tfpipe verify run/exports/lstm-float32` again"),
        ("bench/local-20261120T110000Z.json", "`tfpipe bench` again"),
    ],
)
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{", "is not valid JSON: Expecting"),
        (b'{"a": "\xff"}', "is not valid JSON: 'utf-8' codec"),
        (b"[1]", "holds list, not a JSON object"),
    ],
)
def test_damaged_json_is_named_with_its_fix(
    file: str, fix: str, content: bytes, problem: str, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run")
    (run / file).write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(problem)) as caught:
        write_report(run)
    assert str(run / file) in str(caught.value) and fix in str(caught.value)
    assert not (run / "report.html").exists()


RESULT = {"model_sha256": "0", "device": "d"}


@pytest.mark.parametrize(
    ("file", "changes", "problem"),
    [
        ("run.json", {"parameters": "many"}, "parameters='many' is not a number"),
        ("run.json", {"parameters": True}, "parameters=True is not a number"),
        ("run.json", {"seed": 1.5}, "seed=1.5 is not a whole number"),
        ("run.json", {"model": 3}, "model=3 is not a text"),
        ("run.json", {"multi_label": "no"}, "multi_label='no' is not true or false"),
        ("run.json", {"metrics": []}, "metrics=[] is not an object"),
        ("run.json", {"metrics": {"test": 3}}, "metrics: test=3 is not an object"),
        ("run.json", {"choices": {}}, "choices={} is not a list"),
        ("run.json", {"choices": [1]}, "choices=[1] is not a list of objects"),
        ("run.json", {"data": {"warnings": [1]}}, "data: warnings=[1] is not a list of texts"),
        ("run.json", {"schema_version": 2}, "schema_version=2, but this tfpipe reads 1"),
        (
            "run.json",
            {"confusion_matrix": {"labels": ["a", "b"], "counts": [[1, 2]]}},
            "confusion_matrix: counts is not a table of whole numbers with 2 rows",
        ),
        (
            "bench/local-20261120T110000Z.json",
            {"results": [{**RESULT, "latencies_ns": [1.5]}]},
            "results[0]: latencies_ns=[1.5] is not a list of whole numbers",
        ),
        (
            "bench/local-20261120T110000Z.json",
            {"results": [{**RESULT, "validity": "fine"}]},
            "validity='fine' is not one of valid, degraded, invalid",
        ),
        (
            "bench/local-20261120T110000Z.json",
            {"created": "yesterday"},
            "created='yesterday' is not an ISO 8601 time",
        ),
        (
            "exports/lstm-float32/manifest.json",
            {"schema_version": "1"},
            "schema_version='1', but this tfpipe reads 1",
        ),
    ],
)
def test_wrong_type_is_named_with_its_file(
    file: str, changes: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run")
    edit_json(run / file, **changes)
    with pytest.raises(ValueError, match=re.escape(problem)) as caught:
        write_report(run)
    assert str(run / file) in str(caught.value)


def test_damaged_history_is_named_with_its_line(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / "train" / "history.csv").write_text("epoch,loss\n1,0.5\n2,low\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"history\.csv, line 3: loss='low' is not a number"):
        write_report(run)


# How it looks.


def luminance(color: str) -> float:
    """Returns the relative luminance of WCAG 2.2."""
    full = color if len(color) == 7 else "#" + "".join(2 * digit for digit in color[1:])
    channels = [int(full[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_enough_in_light_dark_and_print() -> None:
    themes = [
        dict(re.findall(r"--(\w+):\s*([^;}]+)", block))
        for block in re.findall(r":root\{([^}]+)\}", STYLE)
    ]
    assert len(themes) == 3
    for theme in themes:
        for name in ("text", "muted", "good", "bad", "warn", "accent", "second"):
            for back in ("page", "card"):
                assert contrast(theme[name], theme[back]) >= 4.5, (name, back)
        heat = "#" + "".join(f"{int(part):02x}" for part in theme["heat"].split())
        assert contrast(theme["text"], heat) >= 4.5


MEASURE = """
const wide = [];
for (const frame of document.querySelectorAll('iframe')) {
  const page = frame.contentDocument, width = frame.clientWidth;
  const whole = page.documentElement.scrollWidth;
  if (whole > width) wide.push('page ' + whole);
  for (const element of page.body.querySelectorAll('*')) {
    if (element.closest('.scroll, pre, svg, thead')) continue;
    const right = element.getBoundingClientRect().right;
    if (right > width + 0.5) wide.push(element.outerHTML.slice(0, 80));
  }
}
document.title = 'done';
document.body.textContent = 'too wide: ' + JSON.stringify(wide);
"""


def test_page_fits_a_phone(runs: list[Path], tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed; .ci/run installs it")
    frames = "".join(
        f'<iframe style="border:0;width:390px" srcdoc="{html.escape(source)}"></iframe>'
        for source in ((run / "report.html").read_text(encoding="utf-8") for run in runs)
    )
    page = tmp_path / "phone.html"
    load = f"<script>addEventListener('load', () => {{{MEASURE}}})</script>"
    page.write_text(f"<!DOCTYPE html><meta charset=utf-8>{load}<body>{frames}", encoding="utf-8")
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync"
    flags += " --disable-background-networking --disable-component-update --dump-dom"
    command = [chromium, *flags.split(), f"--user-data-dir={tmp_path / 'profile'}", page.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert "too wide: []" in html.unescape(shown)
