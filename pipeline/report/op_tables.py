"""report.json dict → the tables of profiled ops, and why some results have none."""

from __future__ import annotations

from typing import Any

from tfpipe.report.groups import device_name
from tfpipe.report.table import Cell, Column, Table, unknown
from tfpipe.report.time_parts import timed_ops
from tfpipe.report.units import format_count, format_percent
from tfpipe.report.verdict import Artifact, Result


def op_tables(report: dict[str, Any]) -> list[Table]:
    """Returns the ops of every result that was profiled."""
    return [
        _op_table(artifact, result)
        for artifact in report["artifacts"]
        for result in artifact["latency"]
        if timed_ops(result)
    ]


def op_reasons(report: dict[str, Any]) -> list[tuple[str, str]]:
    """Returns name and reason of every result whose ops were asked for and cannot be told."""
    return [
        (
            artifact["name"],
            f"no per-op times on {device_name(result)}: {result['op_profile_reason']}",
        )
        for artifact in report["artifacts"]
        for result in artifact["latency"]
        if result["op_profile_reason"]
    ]


def _op_table(artifact: Artifact, result: Result) -> Table:
    profile = result["op_profile"]
    nodes, whole = profile["nodes"], sum(op["mean_ns"] for op in profile["ops"])
    columns = (
        Column("Op, as the runtime calls it"),
        Column("Run by"),
        Column("Times in a call", numeric=True),
        Column("Share of the ops' time", numeric=True),
    )
    rows = tuple(
        (
            Cell(op["kernel"]),
            Cell(op["where"]),
            Cell(format_count(op["count"])),
            Cell(format_percent(op["mean_ns"] / whole)) if whole else unknown("all are too short"),
        )
        for op in profile["ops"]
    )
    calls = f"{format_count(profile['num_runs'])} calls apart from the measured ones"
    source = f"From the runtime's own profiler, {calls}."
    short = (
        f"{format_count(profile['short_ops'])} ops within it take less than the microsecond that "
        "its clock tells: they are told too short."
    )
    if profile["method"] == "prefixes":
        source = (
            "The runtime has no profiler for this file: differences of graphs that are cut off "
            f"behind one op after another, {calls} of each. A loop is one op."
        )
        short = "Its ops are timed without some of their neighbours."
    caption = (
        f"{source} The delegate took {format_count(nodes['delegated'])} of "
        f"{format_count(nodes['total'])} nodes, in {format_count(nodes['partitions'])} pieces. "
        f"{short}"
    )
    return Table(f"Ops of {artifact['name']}", caption, columns, rows)
