"""report.json dict → the tables artifact × (quality, size, speed, verdict), one for each group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfpipe.report.groups import groups_of
from tfpipe.report.table import Cell, Column, Table, unknown
from tfpipe.report.units import format_bytes, format_count, format_latency, format_percent
from tfpipe.report.verdict import Artifact, Result, row_verdict

METRIC_NAMES = {"accuracy": "Accuracy", "micro_f1": "Micro-F1", "macro_f1": "Macro-F1"}


def result_tables(report: dict[str, Any]) -> list[Table]:
    """Returns one table for each group; artifacts without any result stand in the first.

    Kinds of devices and settings never share a table, and an artifact whose verification failed,
    is missing or is of another file has no latency in any. A run without results has one table,
    one without exports none.
    """
    groups = groups_of(report)
    idle = [(artifact, None) for artifact in report["artifacts"] if not artifact["latency"]]
    if not groups:
        return (
            [_table("Not measured yet", "There is no latency to show.", idle, report)]
            if idle
            else []
        )
    order = [id(artifact) for artifact in report["artifacts"]]
    tables = []
    for index, group in enumerate(groups):
        rows = [*group.rows, *(idle if index == 0 else [])]
        rows.sort(key=lambda row: order.index(id(row[0])))
        tables.append(_table(group.title, group.caption, rows, report))
    return tables


def _table(
    title: str, caption: str, rows: Sequence[tuple[Artifact, Result | None]], report: dict[str, Any]
) -> Table:
    metric = METRIC_NAMES[report["run"]["metric"]]
    numeric = (
        (metric, "acc." if metric == "Accuracy" else "F1"),
        (f"Keras {metric.lower()}", "Keras"),
        ("Agreement", "agree"),
        ("Size", "size"),
        ("Zip size", "zip"),
        ("Zstd size", "zstd"),
        ("p50", "p50"),
        ("p90", "p90"),
        ("p99", "p99"),
        ("End-to-end p50", "e2e p50"),
        ("Peak memory", "memory"),
    )
    columns = (
        Column("Artifact", "artifact"),
        Column("Scheme", "scheme"),
        Column("Lowering", "lowering"),
        Column("Target", "target"),
        *(Column(heading, short, numeric=True) for heading, short in numeric),
        Column("Verdict", "verdict"),
    )
    return Table(title, caption, columns, tuple(_row(*row) for row in rows))


def _row(artifact: Artifact, result: Result | None) -> tuple[Cell, ...]:
    scores = artifact["accuracy"] or {}
    why = "this file is not verified"
    keras, agreement = scores.get("keras"), scores.get("agreement")
    return (
        Cell(artifact["name"], title=f"sha256 {artifact['model_sha256']}"),
        *(_plain(artifact[key], "manifest.json") for key in ("scheme", "lowering", "target")),
        score_cell(scores),
        unknown(why) if keras is None else Cell(format_percent(keras)),
        unknown(why) if agreement is None else Cell(format_percent(agreement)),
        bytes_cell(artifact["model_size_bytes"], "check.json"),
        bytes_cell(artifact["zip_size_bytes"], "check.json"),
        bytes_cell(artifact["zstd_size_bytes"], "check.json"),
        *(percentile_cell(artifact, result, name) for name in ("p50", "p90", "p99")),
        _measured(artifact, result, "end_to_end_p50_ns"),
        _measured(artifact, result, "peak_memory_bytes"),
        row_verdict(artifact, result),
    )


def _plain(value: str | None, where: str) -> Cell:
    return unknown(f"{where} does not say") if value is None else Cell(value)


def bytes_cell(value: float | None, where: str) -> Cell:
    """Returns the cell of a size; `where` is the file that should have said it."""
    if value is None:
        return unknown(f"{where} does not say")
    return Cell(format_bytes(value), title=f"{format_count(value)} bytes")


def score_cell(scores: dict[str, Any]) -> Cell:
    """Returns the cell of an exported file's accuracy or F1, of its verification."""
    if scores.get("artifact") is None:
        return unknown("this file is not verified")
    interval = scores["interval_95"]
    span = " to ".join(format_percent(bound) for bound in interval) if interval else ""
    return Cell(
        format_percent(scores["artifact"]),
        note=f"n={format_count(scores['num_examples'])}",
        title=f"95 % interval {span}" if span else "",
    )


def _no_result(artifact: Artifact) -> Cell:
    status = artifact["verdict"]["status"]
    if status == "passed":
        return unknown("not measured")
    return unknown(f"not shown, because the verdict is “{status}”")


def percentile_cell(artifact: Artifact, result: Result | None, name: str) -> Cell:
    """Returns the cell of a percentile, "p50" for example, or why there is none."""
    if result is None:
        return _no_result(artifact)
    value, count, needed = result[f"{name}_ns"], result["num_runs"], result["percentile_n"][name]
    if value is not None:
        return Cell(
            format_latency(value),
            note=f"n={format_count(count)}",
            title=f"{format_count(value)} ns, nearest rank of {format_count(count)} calls",
        )
    if count is not None and count < needed:
        return Cell(
            "n too small",
            note=f"n={format_count(count)}",
            title=f"{name} needs at least {needed} measured calls",
            short=f"n<{needed}",
        )
    return unknown("the results file does not say")


def _measured(artifact: Artifact, result: Result | None, key: str) -> Cell:
    if result is None:
        return _no_result(artifact)
    value = result[key]
    if value is None:
        return unknown("not measured on this device")
    if key.endswith("_bytes"):
        return bytes_cell(value, "")
    return Cell(format_latency(value), title=f"{format_count(value)} ns")
