"""RUN/variants/*/compress.json → one plain dict for each compressed variant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfpipe.config import AUTO
from tfpipe.report.read import Node, read_json, require_schema
from tfpipe.variant import RECORD_FILE

_ERRORS = ("mean_error", "max_error", "signal_to_noise_db")
_WAYS = ("plain", "zip", "zstd")
_SCORES = ("accuracy", "macro_f1", "micro_f1")


def collect_variants(folder: Path) -> list[dict[str, Any]]:
    """Reads the record of every compressed variant, by name.

    Args:
        folder: RUN/variants.

    Raises:
        ValueError: A record is damaged; the message names it.
    """
    fix = "Make the variant again with `tfpipe compress … --overwrite`."
    paths = sorted(folder.glob(f"[!.]*/{RECORD_FILE}"))
    return [_variant(path.parent.name, read_json(path, fix)) for path in paths]


def _variant(name: str, record: Node) -> dict[str, Any]:
    require_schema(record, 1)
    metrics, sizes = record.child("metrics"), record.child("sizes")
    return {
        "name": name,
        "created": record.text("created"),
        "from": record.text("from") or "base",
        "methods": record.texts("methods"),
        "options": _options(record.child("options")),
        "teaching": _teaching(record.child("teaching")),
        "parameters": record.integer("parameters"),
        "metrics": {
            split: {
                **{key: metrics.child(split).number(key) for key in _SCORES},
                "num_examples": metrics.child(split).integer("num_examples"),
            }
            for split in ("test", "from_test")
        },
        "sizes": {
            key: {way: sizes.child(key).number(way) for way in _WAYS}
            for key in ("before", "after", "efficiency")
        },
        "training": [
            {
                "method": entry.text("method"),
                **{key: entry.integer(key) for key in ("epochs", "best_epoch")},
                "seconds": entry.number("seconds"),
                "columns": _columns(entry.child("columns")),
                "scan": _scan(entry.child("scan")),
            }
            for entry in record.children("training")
        ],
        "rounding": _rounding(record.child("rounding")),
        "tensors": [_tensor(entry) for entry in record.children("tensors")],
        "values": [_value(entry) for entry in record.children("values")],
    }


def _options(node: Node) -> dict[str, Any]:
    """Returns what `tfpipe compress` was asked for."""
    return {
        **{key: node.number(key) for key in ("shrink", "prune", "cluster", "learning_rate")},
        "low_rank": AUTO if node.values.get("low_rank") == AUTO else node.integer("low_rank"),
        **{key: node.flag(key) for key in ("scan", "qat")},
        **{key: node.integer(key) for key in ("epochs", "block_size")},
        "scheme": node.text("scheme"),
    }


def _columns(node: Node) -> dict[str, int | None] | None:
    """Returns how many the embedding's table had and has."""
    return {key: node.integer(key) for key in ("before", "after")} if node.values else None


def _teaching(node: Node) -> dict[str, Any] | None:
    if not node.values:
        return None
    return {"teachers": node.texts("teachers"), "unlabelled": node.text("unlabelled")}


def _scan(node: Node) -> dict[str, Any] | None:
    """Returns what `tfpipe.compress.sensitivity.scan_sensitivity` found out."""
    if not node.values:
        return None
    together = node.child("together")
    return {
        "metric": node.text("metric"),
        "num_examples": node.integer("num_examples"),
        **{key: node.number(key) for key in ("score", "limit", "asked", "seconds")},
        "together": {key: together.number(key) for key in ("score", "drop", "sparsity")},
        "layers": [
            {
                "name": layer.text("name") or "unknown",
                "num_weights": layer.integer("num_weights"),
                "decision": layer.text("decision"),
                "sparsity": layer.number("sparsity"),
                "tried": [
                    {key: tried.number(key) for key in ("sparsity", "score", "drop")}
                    for tried in layer.children("tried")
                ],
            }
            for layer in node.children("layers")
        ],
    }


def _rounding(node: Node) -> dict[str, Any] | None:
    """Returns what `tfpipe.compress.layer_rounding.describe_rounding` found out."""
    if not node.values:
        return None
    return {
        "metric": node.text("metric"),
        "num_examples": node.integer("num_examples"),
        "score": node.number("score"),
        "all": _cost(node.child("all")),
        "layers": [
            {"name": layer.text("name") or "unknown", **_cost(layer)}
            for layer in node.children("layers")
        ],
    }


def _cost(node: Node) -> dict[str, float | None]:
    keys = ("score", "drop", "agreement", "signal_to_noise_db")
    return {key: node.number(key) for key in keys}


def _tensor(node: Node) -> dict[str, Any]:
    return {
        "name": node.text("name") or "unknown",
        "shape": node.integers("shape"),
        "zeros": node.number("zeros"),
        "distinct_values": node.integer("distinct_values"),
        "num_scales": node.integer("num_scales"),
        **{key: node.numbers(key) for key in ("range", "scale")},
        **{key: node.number(key) for key in _ERRORS},
    }


def _value(node: Node) -> dict[str, Any]:
    return {
        "name": node.text("name") or "unknown",
        "range": node.numbers("range"),
        **{key: node.number(key) for key in ("scale", *_ERRORS)},
    }
