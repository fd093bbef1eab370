"""Events that a profiler told of calls → what each kind of op takes in a call."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence, Tuple

import numpy as np

_PHASE, _OP, _DELEGATE_OPS = 1, 2, (4, 8)
# Ops that do nothing but run other subgraphs, whose ops have events of their own.
_CALLING = ("CALL", "IF", "WHILE")


def summarize(
    names: Sequence[str], kinds: np.ndarray[Any, Any], means_us: np.ndarray[Any, Any]
) -> Dict[str, Any]:
    """Returns `profiled_call_ns`, `attributed_ns`, `short_ops` and `ops` of one averaged call.

    Args:
        names: Of the events, in order.
        kinds: int64 (n, 2), type and node of each event.
        means_us: float64 (n,), mean microseconds of each.

    Raises:
        ValueError: No event is the call itself.
    """
    call_us, short_ops = 0.0, 0
    groups: Dict[Tuple[str, str], List[float]] = {}
    for name, kind, mean in zip(names, kinds[:, 0], means_us):
        if kind == _PHASE and name == "Invoke":
            call_us += float(mean)
        elif (kind == _OP or kind in _DELEGATE_OPS) and name not in _CALLING:
            where = "interpreter" if kind == _OP else "delegate"
            groups.setdefault((name, where), []).append(float(mean))
            short_ops += kind != _OP and mean < 1
    attributed_us = sum(map(sum, groups.values()))
    if not call_us or not attributed_us:
        raise ValueError(
            f"the profiler told {len(names)} events and nothing that takes time, expected a call "
            "and its ops. Use ai-edge-litert 2.3.0, or a larger model."
        )
    return {
        "profiled_call_ns": 1000 * call_us,
        "attributed_ns": 1000 * attributed_us,
        "short_ops": int(short_ops),
        "ops": rank_ops(groups),
    }


def rank_ops(groups: Dict[Tuple[str, str], List[float]]) -> List[Dict[str, Any]]:
    """Returns `ops` of `profile_ops`, slowest first.

    Args:
        groups: Name of the kernel and what runs it → microseconds of each op of that kind.
    """
    whole_us = sum(map(sum, groups.values())) or 1.0
    ops: List[Dict[str, Any]] = [
        {
            "op": name.split(" (")[0],
            "kernel": name,
            "where": where,
            "count": len(found),
            "mean_ns": 1000 * sum(found),
            "share": sum(found) / whole_us,
        }
        for (name, where), found in groups.items()
    ]
    ops.sort(key=lambda item: (-item["mean_ns"], item["kernel"]))
    return ops


def combine(summaries: Sequence[Dict[str, Any]]) -> Dict[str, Any]:
    """Returns the mean of what `summarize` returned for several texts; an op that a text does not
    run counts as nothing there."""
    totals = {
        key: sum(summary[key] for summary in summaries) / len(summaries)
        for key in ("profiled_call_ns", "attributed_ns")
    }
    groups: Dict[Tuple[str, str], List[Dict[str, Any]]] = {}
    for summary in summaries:
        for item in summary["ops"]:
            groups.setdefault((item["kernel"], item["where"]), []).append(item)
    ops: List[Dict[str, Any]] = []
    for found in groups.values():
        mean_ns = sum(item["mean_ns"] for item in found) / len(summaries)
        count = round(sum(item["count"] for item in found) / len(summaries))
        share = mean_ns / totals["attributed_ns"]
        ops.append({**found[0], "count": count, "mean_ns": mean_ns, "share": share})
    ops.sort(key=lambda item: (-item["mean_ns"], item["kernel"]))
    short_ops = sum(summary["short_ops"] for summary in summaries) / len(summaries)
    return {**totals, "short_ops": round(short_ops), "ops": ops}


def faster_half(
    elapsed_us: np.ndarray[Any, Any], kinds: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """Returns the half of the calls whose ops took least altogether; one call stays.

    A mean takes in every interruption of the process. Where these fall on an op by chance, they
    say nothing of it.

    Args:
        elapsed_us: (calls, events), elapsed microseconds.
        kinds: (events, 2), type and node of each event.
    """
    are_ops = np.isin(kinds[:, 0], (_OP, *_DELEGATE_OPS))
    order = np.argsort(elapsed_us[:, are_ops].sum(axis=1), kind="stable")
    return elapsed_us[order[: (len(order) + 1) // 2]]
