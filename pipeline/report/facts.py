"""report.json dict → the tables beside the results: scores, choices, data, provenance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfpipe.report.results import METRIC_NAMES
from tfpipe.report.table import Cell, Column, Table, unknown
from tfpipe.report.units import (
    format_bytes,
    format_count,
    format_percent,
    format_seconds,
    format_value,
)

_TWO_COLUMNS = (Column("What"), Column("Value"))


def score_table(report: dict[str, Any]) -> Table:
    """Returns Keras model and baselines on the same test split."""
    run, baselines = report["run"], report["baselines"]
    tfidf, majority = baselines["tfidf_logistic_regression"], baselines["majority"]
    metrics = ["accuracy", "macro_f1"] + ["micro_f1"] * run["multi_label"]
    rows = [
        ("Keras model", "", run["metrics"]["test"]),
        ("TF-IDF + logistic regression", _tfidf_note(tfidf), tfidf),
        ("Majority class", _majority_note(majority), majority),
        ("Keras model, validation split", "", run["metrics"]["validation"]),
    ]
    count = run["metrics"]["test"]["num_examples"] or report["data"]["splits"].get("test")
    return Table(
        "Model and baselines",
        f"On the test split, n={format_count(count)}, unless another split is named.",
        (Column("Model"), *(Column(METRIC_NAMES[metric], numeric=True) for metric in metrics)),
        tuple(
            (
                Cell(name, note=note),
                *(_percent(scores[metric]) for metric in metrics),
            )
            for name, note, scores in rows
        ),
    )


def _percent(value: float | None) -> Cell:
    return unknown("run.json does not say") if value is None else Cell(format_percent(value))


def _tfidf_note(tfidf: Mapping[str, Any]) -> str:
    names = {"word": "word n-grams", "char_wb": "character n-grams"}
    parts = [names.get(tfidf["analyzer"] or "", tfidf["analyzer"] or "")]
    if tfidf["num_train_rows"] is not None:
        parts.append(f"{format_count(tfidf['num_train_rows'])} training texts")
    return ", ".join(filter(None, parts))


def _majority_note(majority: Mapping[str, Any]) -> str:
    return "" if majority["label"] is None else f"always “{format_value(majority['label'])}”"


def choice_table(report: dict[str, Any]) -> Table:
    """Returns what was chosen from the data, and why."""
    rows = tuple(
        (
            Cell(choice["key"] or "unknown"),
            Cell(format_value(choice["value"])),
            Cell(choice["reason"] or "unknown"),
        )
        for choice in report["run"]["choices"]
    )
    columns = (Column("Key"), Column("Value"), Column("Reason"))
    return Table("Chosen from the data", "Every value can be set: --set KEY=VALUE.", columns, rows)


def data_table(report: dict[str, Any]) -> Table:
    """Returns source, columns, sizes and skipped rows."""
    data = report["data"]
    facts: list[tuple[str, object]] = [
        ("Source", data["source"]),
        ("Test file", data["test_source"] or "none: split off the source"),
        ("Text column", data["text_column"]),
        ("Label column", data["label_column"]),
        ("Rows", None if data["num_rows"] is None else format_count(data["num_rows"])),
        *((f"Texts for {name}", format_count(n)) for name, n in data["splits"].items()),
        *((f"Rows skipped: {why}", format_count(n)) for why, n in data["skipped"].items()),
        ("Fingerprint (SHA-256)", data["fingerprint_sha256"]),
    ]
    return facts_table("Data", "Source, columns and sizes.", facts)


def label_table(report: dict[str, Any]) -> Table:
    """Returns how many texts of each split have each label."""
    counts = report["data"]["label_counts"]
    splits = list(counts)
    labels = list(dict.fromkeys(label for split in splits for label in counts[split]))
    rows = tuple(
        (Cell(label), *(Cell(format_count(counts[split].get(label, 0))) for split in splits))
        for label in labels
    )
    columns = (Column("Label"), *(Column(split, numeric=True) for split in splits))
    return Table("Labels", "Texts with each label, by split.", columns, rows)


def training_table(report: dict[str, Any]) -> Table:
    """Returns the bare facts of the training."""
    run = report["run"]
    training = run["training"]
    facts = [
        ("Model", run["model"]),
        ("Parameters", None if run["parameters"] is None else format_count(run["parameters"])),
        ("Epochs run", training["epochs_run"]),
        ("Best epoch", training["best_epoch"]),
        ("Training time", format_seconds(training["seconds"])),
        ("Seed", run["seed"]),
    ]
    return facts_table("Training facts", "The weights of the best epoch are kept.", facts)


def digest_table(report: dict[str, Any]) -> Table:
    """Returns what identifies each artifact."""
    columns = (
        Column("Artifact"),
        Column("Created"),
        Column("Oldest runtime"),
        Column("Size in bytes", numeric=True),
        Column("SHA-256 of the model file"),
    )
    rows = tuple(
        (
            Cell(artifact["name"]),
            Cell(artifact["created"] or "unknown"),
            Cell(artifact["min_runtime"] or "unknown"),
            Cell(format_count(artifact["model_size_bytes"])),
            Cell(artifact["model_sha256"] or "unknown"),
        )
        for artifact in report["artifacts"]
    )
    return Table("Artifacts", "What identifies each file.", columns, rows)


def provenance_table(report: dict[str, Any]) -> Table:
    """Returns time, seed and the versions of the packages."""
    run = report["run"]
    versions = sorted(run["versions"].items())
    facts = [("Created", run["created"]), ("Seed", run["seed"]), *versions]
    return facts_table("Versions", "When and with which packages.", facts)


def recipe_table(report: dict[str, Any]) -> Table:
    """Returns every key of the recipe that was used."""
    return facts_table("Recipe", "As in recipe.toml.", flatten(report["run"]["recipe"]))


def flatten(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, object]]:
    """Returns the leaves of nested objects as (dotted key, value); bytes made readable."""
    leaves: list[tuple[str, object]] = []
    for key, entry in value.items():
        if isinstance(entry, Mapping):
            leaves += flatten(entry, f"{prefix}{key}.")
        elif key.endswith("_bytes") and isinstance(entry, (int, float)):
            leaves.append((f"{prefix}{key}", format_bytes(entry)))
        else:
            leaves.append((f"{prefix}{key}", entry))
    return leaves


def facts_table(title: str, caption: str, facts: list[tuple[str, Any]]) -> Table:
    """Returns a table of keys and values."""
    rows = tuple((Cell(key), Cell(format_value(value))) for key, value in facts)
    return Table(title, caption, _TWO_COLUMNS, rows)
