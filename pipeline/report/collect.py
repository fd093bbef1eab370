"""Run folder → one plain dict, the content of report.json.

Keys (None means unknown; nothing unknown is ever 0):

- `schema_version`: 1
- `run`: name, created, task, model, multi_label, metric ("accuracy" or "micro_f1"), seed,
  parameters, training {epochs_run, best_epoch, seconds}, metrics {validation, test}, choices
  [{key, value, reason}], recipe, versions, commands (to reproduce it)
- `data`: source, test_source, fingerprint_sha256, text_column, label_column, num_rows, splits,
  label_counts, skipped, warnings
- `baselines`: majority, tfidf_logistic_regression, as in run.json
- `history`: column of train/history.csv → values; null without that file
- `confusion_matrix`: {labels, counts}: Keras model, test split; null for multi-label
- `artifacts`: [{name, variant, scheme, lowering, target, min_runtime, sequence_length, created,
  buckets, runtime, num_segments, model_sha256, model_size_bytes, zip_size_bytes, zstd_size_bytes,
  verdict {status, reasons}, accuracy {metric, artifact, interval_95, keras, agreement, …,
  num_examples} or null, check {ok, ops, bytes_by_dtype, bytes_by_kind, duplicate_bytes, findings}
  or null, latency [{device, device_kind, runtime, …, p50_ns, p90_ns, p99_ns, num_runs, …,
  end_to_end_shares, op_profile (null if not measured), op_profile_reason (why it could not be),
  validity, validity_reasons, samples_ns (at most 101, sorted), file, created}], latency_withheld}]
- `variants`: [{name, created, from, methods, options, teaching, parameters, metrics, sizes,
  training, rounding, tensors, values}], as in compress.json
- `benchmarks`: [{file, created, settings, failures, fingerprint}] of the results shown
- `notes`: what is missing or was left out
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tfpipe.report.artifacts import collect_artifacts
from tfpipe.report.benches import read_bench
from tfpipe.report.read import Node, read_history, read_json, require_schema
from tfpipe.report.reproduce import reproduction_commands
from tfpipe.report.units import format_percent
from tfpipe.report.variants import collect_variants
from tfpipe.run_folder import RunFolder

SCHEMA_VERSION = 1
_METRICS = ("accuracy", "macro_f1", "micro_f1")
_TRAIN_AGAIN = "Restore the file, or train again with `tfpipe train … --overwrite`."


def collect(run_path: Path) -> dict[str, Any]:
    """Returns everything a run folder says about itself.

    Args:
        run_path: Run folder.

    Raises:
        ValueError: `run_path` is not a run folder, or one of its files is damaged.
    """
    folder = RunFolder(run_path)
    if not folder.run_json.is_file():
        raise ValueError(
            f"run={str(run_path)!r} is no finished run: it has no run.json. Make one with `tfpipe "
            "train DATA --run RUN`; a training that was stopped goes on with --resume."
        )
    run = read_json(folder.run_json, _TRAIN_AGAIN)
    require_schema(run, SCHEMA_VERSION)
    # A name that is not UTF-8 has lone surrogates, which no UTF-8 file can hold.
    name = os.fsencode(run_path.resolve().name).decode("utf-8", "replace")
    bench = read_bench(folder.bench)
    artifacts, notes = collect_artifacts(run_path / "exports", bench, name)
    variants = collect_variants(run_path / "variants")
    history_csv = folder.history_csv
    used = {result["file"] for artifact in artifacts for result in artifact["latency"]}
    return {
        "schema_version": SCHEMA_VERSION,
        "run": _run(run, reproduction_commands(run, name, artifacts, variants), name),
        "data": _data(run.child("data")),
        "baselines": _baselines(run.child("metrics").child("baseline")),
        "history": read_history(history_csv) if history_csv.is_file() else None,
        "confusion_matrix": _confusion(run.child("confusion_matrix")),
        "artifacts": artifacts,
        "variants": variants,
        "benchmarks": [entry for name, entry in sorted(bench.files.items()) if name in used],
        "notes": notes + _disagreements(run, artifacts),
    }


def _run(run: Node, commands: list[str], name: str) -> dict[str, Any]:
    multi_label = run.flag("multi_label") or False
    training = run.child("training")
    metrics = run.child("metrics")
    return {
        "name": name,
        "created": run.text("created"),
        "task": run.text("task"),
        "model": run.text("model"),
        "multi_label": multi_label,
        "metric": "micro_f1" if multi_label else "accuracy",
        "seed": run.integer("seed"),
        "parameters": run.integer("parameters"),
        "training": {
            "epochs_run": training.integer("epochs_run"),
            "best_epoch": training.integer("best_epoch"),
            "seconds": training.number("seconds"),
        },
        "metrics": {split: _scores(metrics.child(split)) for split in ("validation", "test")},
        "choices": [
            {"key": c.text("key"), "value": c.values.get("value"), "reason": c.text("reason")}
            for c in run.children("choices")
        ],
        "recipe": run.child("recipe").values,
        "versions": run.child("versions").values,
        "commands": commands,
    }


def _scores(node: Node) -> dict[str, Any]:
    return {
        **{key: node.number(key) for key in _METRICS},
        "num_examples": node.integer("num_examples"),
    }


def _baselines(baseline: Node) -> dict[str, Any]:
    majority = baseline.child("majority")
    tfidf = baseline.child("tfidf_logistic_regression")
    return {
        "majority": {
            **{key: majority.number(key) for key in _METRICS},
            "label": majority.values.get("label"),
        },
        "tfidf_logistic_regression": {
            **{key: tfidf.number(key) for key in _METRICS},
            "analyzer": tfidf.text("analyzer"),
            "num_train_rows": tfidf.integer("num_train_rows"),
            "validation_accuracy": tfidf.child("validation_accuracy").values,
        },
    }


def _data(data: Node) -> dict[str, Any]:
    counts = data.child("label_counts")
    return {
        **{key: data.text(key) for key in ("source", "test_source", "fingerprint_sha256")},
        **{key: data.text(key) for key in ("text_column", "label_column")},
        "num_rows": data.integer("num_rows"),
        "splits": data.counts("splits"),
        "label_counts": {split: counts.counts(split) for split in counts.values},
        "skipped": data.counts("skipped"),
        "warnings": data.texts("warnings"),
    }


def _confusion(node: Node) -> dict[str, Any] | None:
    if not node.values:
        return None
    labels = node.texts("labels")
    counts = node.values.get("counts")
    square = isinstance(counts, list) and len(counts) == len(labels)
    if not square or not all(
        isinstance(row, list) and len(row) == len(labels) and all(type(n) is int for n in row)
        for row in counts or []
    ):
        raise ValueError(
            f"{node.where}: counts is not a table of whole numbers with {len(labels)} rows and "
            f"columns, one for each label. {node.fix}"
        )
    return {"labels": labels, "counts": counts}


def _disagreements(run: Node, artifacts: list[dict[str, Any]]) -> list[str]:
    """Returns a note where run.json and verify.json differ on the same model and test split."""
    test = run.child("metrics").child("test")
    notes = []
    for artifact in artifacts:
        scores = artifact["accuracy"]
        if scores is None or artifact["variant"] != "base" or scores["metric"] not in _METRICS:
            continue
        first, second = test.number(scores["metric"]), scores["keras"]
        same_texts = scores["num_examples"] == test.integer("num_examples")
        # Two batch sizes may round a tie differently; more than one text in 500 is another model.
        known = same_texts and first is not None and second is not None
        if known and abs(first - second) > 0.002:
            notes.append(
                f"{artifact['name']}: its verification found {format_percent(second)} for the "
                f"Keras model, the training {format_percent(first)}, on the same number of texts."
            )
    return notes
