"""report.json dict → the table of what each exported file holds: bytes by type, and the rest."""

from __future__ import annotations

from typing import Any

from tfpipe.report.table import Cell, Column, Table, unknown
from tfpipe.report.units import format_bytes, format_percent

_CAPTION = (
    "Bytes of constants (weights above all) by their type, with their share of the file; the graph "
    "is everything else of the model: ops, shapes, quantization parameters, names. What is stored "
    "twice is part of the constants."
)


def contents_table(report: dict[str, Any]) -> Table:
    """Returns the bytes of each artifact's file; no rows where no check.json tells them."""
    told = [
        artifact
        for artifact in report["artifacts"]
        if artifact["check"] and artifact["check"]["bytes_by_dtype"]
    ]
    totals: dict[str, int] = {}
    for artifact in told:
        for dtype, count in artifact["check"]["bytes_by_dtype"].items():
            totals[dtype] = totals.get(dtype, 0) + count
    dtypes = sorted(totals, key=lambda dtype: (-totals[dtype], dtype))
    headings = (*dtypes, "Metadata", "Graph", "Stored twice")
    columns = (Column("Artifact"), *(Column(heading, numeric=True) for heading in headings))
    rows = tuple(_row(artifact, dtypes) for artifact in told)
    return Table("What the files hold", _CAPTION, columns, rows)


def _row(artifact: dict[str, Any], dtypes: list[str]) -> tuple[Cell, ...]:
    check, size = artifact["check"], artifact["model_size_bytes"]
    counts = [check["bytes_by_dtype"].get(dtype, 0) for dtype in dtypes]
    counts += [check["bytes_by_kind"].get(kind) for kind in ("metadata", "graph")]
    counts.append(check["duplicate_bytes"])
    return (Cell(artifact["name"]), *(_cell(count, size) for count in counts))


def _cell(count: int | None, size: int | None) -> Cell:
    if count is None:
        return unknown("check.json does not say")
    share = format_percent(count / size) if count and size else ""
    return Cell(format_bytes(count), note=share)
