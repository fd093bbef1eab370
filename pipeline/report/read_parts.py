"""One result of a benchmark → the parts of its time, checked; None where nobody measured."""

from __future__ import annotations

from typing import Any

from tfpipe.report.read import Node

PARTS = ("tokenize", "invoke", "decode", "copy")


def read_parts(entry: Node) -> dict[str, Any]:
    """Returns `end_to_end_shares`, `op_profile` and `op_profile_reason` of a result.

    Args:
        entry: The result as `tfpipe bench` wrote it.

    Raises:
        ValueError: A part is damaged; the message names the file and the key.
    """
    return {
        "end_to_end_shares": _shares(entry),
        "op_profile": _op_profile(entry),
        "op_profile_reason": entry.text("op_profile_reason"),
    }


def _shares(entry: Node) -> dict[str, float] | None:
    node = entry.child("end_to_end_shares")
    found = {part: node.number(part) for part in PARTS}
    return {part: max(0.0, share or 0.0) for part, share in found.items()} if node.values else None


def _op_profile(entry: Node) -> dict[str, Any] | None:
    node = entry.child("op_profile")
    if not node.values:
        return None
    nodes = node.child("nodes")
    ops = [
        {
            **{key: op.text(key) or "unknown" for key in ("op", "kernel", "where")},
            "count": op.integer("count") or 0,
            "mean_ns": max(0.0, op.number("mean_ns") or 0.0),
        }
        for op in node.children("ops")
    ]
    return {
        "method": node.text("method"),
        "num_runs": node.integer("num_runs"),
        "short_ops": node.integer("short_ops"),
        "nodes": {key: nodes.integer(key) for key in ("total", "delegated", "partitions")},
        "ops": ops,
    }
