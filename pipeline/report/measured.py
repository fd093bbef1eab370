"""report.json dict → the tables behind the results: verification, latency in parts, settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfpipe.report.facts import facts_table, flatten
from tfpipe.report.groups import device_name, setting_text
from tfpipe.report.table import Cell, Column, Table, unknown
from tfpipe.report.units import format_count, format_latency, format_value
from tfpipe.report.verdict import file_verdict, sentence

_LATENCY_COLUMNS = {
    "init_ns": "Init",
    "first_invoke_ns": "First call",
    "min_ns": "Min",
    "mean_ns": "Mean",
    "max_ns": "Max",
    "tokenize_p50_ns": "Tokenize p50",
    "decode_p50_ns": "Decode p50",
    "early_stopping_p90_ns": "Bound on p90 (MLPerf early stopping, an estimate)",
}


def verification_table(report: dict[str, Any]) -> Table:
    """Returns how far each exported file is from the Keras model, and the limits it was held to."""
    columns = (
        Column("Artifact"),
        Column("Verdict"),
        Column("Largest error", numeric=True),
        Column("Mean error", numeric=True),
        Column("Limits"),
        Column("Run by"),
    )
    rows = tuple(
        (Cell(artifact["name"]), file_verdict(artifact), *_deviation(artifact["accuracy"]))
        for artifact in report["artifacts"]
    )
    caption = "The exported file, run over the test texts, against the Keras model; probabilities."
    return Table("Verification", caption, columns, rows)


def _deviation(scores: Mapping[str, Any] | None) -> list[Cell]:
    if scores is None:
        return [unknown("this file is not verified")] * 4
    limits = [(key, value) for key, value in flatten(scores["threshold"]) if key != "reason"]
    runtime = " ".join(filter(None, (scores["runtime"], scores["runtime_version"])))
    return [
        *(_error(scores[key]) for key in ("max_abs_error", "mean_abs_error")),
        Cell(
            ", ".join(f"{key} {format_value(value)}" for key, value in limits) or "unknown",
            note=format_value(scores["threshold"].get("reason", "")),
        ),
        Cell(runtime or "unknown"),
    ]


def _error(value: float | None) -> Cell:
    return unknown("verify.json does not say") if value is None else Cell(f"{value:.3g}")


def remarks(report: dict[str, Any]) -> list[tuple[str, str]]:
    """Returns (artifact, remark) for every finding of the static check."""
    return [
        (
            artifact["name"],
            " ".join(
                sentence(part)
                for part in (
                    f"{finding['severity'] or 'finding'} {finding['code'] or ''}".strip(),
                    finding["message"],
                    finding["fix"],
                )
                if part
            ),
        )
        for artifact in report["artifacts"]
        for finding in (artifact["check"] or {}).get("findings", [])
    ]


def latency_table(report: dict[str, Any]) -> Table:
    """Returns start-up, parts of the end-to-end time, spread and bound of every result shown."""
    columns = (
        Column("Artifact"),
        *(Column(heading, numeric=True) for heading in _LATENCY_COLUMNS.values()),
    )
    rows = tuple(
        (
            Cell(
                artifact["name"],
                note=f"{device_name(result)}, "
                f"{setting_text(result)}, profile {result['profile'] or 'unknown'}, "
                f"{format_count(result['warmup_runs'])} warm-up and "
                f"{format_count(result['num_runs'])} measured calls",
            ),
            *(_latency(result[key]) for key in _LATENCY_COLUMNS),
        )
        for artifact in report["artifacts"]
        for result in artifact["latency"]
    )
    return Table(
        "Latency in detail", "Init and first call are not among the samples.", columns, rows
    )


def _latency(value: float | None) -> Cell:
    if value is None:
        return unknown("the results file does not say")
    return Cell(format_latency(value), title=f"{format_count(value)} ns")


def failures(report: dict[str, Any]) -> list[str]:
    """Returns what could not be measured beside the results shown, and why."""
    return [error for bench in report["benchmarks"] for error in bench["failures"] if error]


def bench_tables(report: dict[str, Any]) -> list[Table]:
    """Returns settings and device fingerprint of each results file."""
    return [
        facts_table(
            bench["file"],
            f"Settings and device, {bench['created'] or 'time unknown'}.",
            [*flatten(bench["settings"]), *flatten(bench["fingerprint"], "device.")],
        )
        for bench in report["benchmarks"]
    ]
