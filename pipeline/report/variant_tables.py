"""report.json dict → the tables that compare the compressed variants and say what each cost."""

from __future__ import annotations

from typing import Any

from tfpipe.report.groups import groups_of
from tfpipe.report.results import METRIC_NAMES, bytes_cell, percentile_cell, score_cell
from tfpipe.report.table import Cell, Column, Table, unknown
from tfpipe.report.units import format_count, format_percent, format_points, format_seconds
from tfpipe.report.verdict import Artifact, Result

_WAYS = {"plain": "File", "zip": "Zip", "zstd": "Zstd"}
_BASE = "base"


def comparison_table(report: dict[str, Any]) -> Table:
    """Returns one row for each exported file of each variant, the base's first, and one for each
    variant without a file; no rows where nothing was compressed."""
    metric = METRIC_NAMES[report["run"]["metric"]]
    numeric = (f"Keras {metric.lower()}", metric, "Change", "Agreement", "Size", "Zip size")
    columns = (
        Column("Variant"),
        Column("Exported as"),
        *(Column(heading, numeric=True) for heading in (*numeric, "Zstd size", "p50")),
    )
    groups = groups_of(report)
    measured = f" p50 on {groups[0].title}." if groups else ""
    caption = (
        "Change: of the exported file against the trained Keras model, on the test split. × is the "
        f"share of the base's float32 file, where there is one.{measured}"
    )
    rows = tuple(_comparison_rows(report)) if report["variants"] else ()
    return Table("Variants", caption, columns, rows)


def _comparison_rows(report: dict[str, Any]) -> list[tuple[Cell, ...]]:
    groups = groups_of(report)
    results = {artifact["name"]: result for artifact, result in groups[0].rows} if groups else {}
    metric = report["run"]["metric"]
    before = report["run"]["metrics"]["test"][metric]
    named = {_BASE: ("the trained model", before)} | {
        variant["name"]: (made_by(variant), variant["metrics"]["test"][metric])
        for variant in report["variants"]
    }
    rows = []
    for name, (how, score) in named.items():
        head = Cell(name, note=how)
        keras = unknown("compress.json does not say") if score is None else _percent(score)
        artifacts = [a for a in report["artifacts"] if (a["variant"] or _BASE) == name]
        for artifact in artifacts:
            cells = _file_cells(artifact, results.get(artifact["name"]), before, _float32(report))
            rows.append((head, cells[0], keras, *cells[1:]))
        if not artifacts:
            rows.append((head, Cell("not exported"), keras, *[unknown("there is no file")] * 7))
    return rows


def _float32(report: dict[str, Any]) -> Artifact:
    """Returns the first float32 file of the base; an empty dict where there is none."""
    found = [a for a in report["artifacts"] if (a["variant"], a["scheme"]) == (_BASE, "float32")]
    return found[0] if found else {}


def _file_cells(
    artifact: Artifact, result: Result | None, before: float | None, float32: Artifact
) -> list[Cell]:
    """Returns name, score, change, agreement, three sizes and p50 of one exported file."""
    scores = artifact["accuracy"] or {}
    status = artifact["verdict"]["status"]
    change = unknown("this file is not verified")
    if scores.get("artifact") is not None and before is not None:
        change = Cell(format_points(scores["artifact"] - before))
    agreement = scores.get("agreement")
    sizes = []
    for key in ("model_size_bytes", "zip_size_bytes", "zstd_size_bytes"):
        cell, whole = bytes_cell(artifact[key], "check.json"), float32.get(key)
        if artifact[key] is not None and whole:
            cell = Cell(cell.text, note=f"× {artifact[key] / whole:.2f}", title=cell.title)
        sizes.append(cell)
    return [
        Cell(artifact["name"], note="" if status == "passed" else status),
        score_cell(scores),
        change,
        unknown("this file is not verified") if agreement is None else _percent(agreement),
        *sizes,
        percentile_cell(artifact, result, "p50"),
    ]


def _percent(value: float) -> Cell:
    return Cell(format_percent(value))


def made_by(variant: dict[str, Any]) -> str:
    """Returns the methods and their numbers as one phrase: "prune 0.8, cluster 16, qat"."""
    options = variant["options"]
    told = [f"shrink {options['shrink']:g}"] * bool(options["shrink"])
    columns = [entry["columns"] for entry in variant["training"] if entry["columns"]]
    told += [f"{each['after']} of {each['before']} columns" for each in columns]
    told += [f"{m} {options[m]:g}" for m in ("prune", "cluster") if options[m]]
    told += ["no scan"] * bool(options["prune"] and not options["scan"])
    told += ["qat"] * bool(options["qat"])
    if variant["teaching"]:
        told.append("taught" if told else "distill")
    if variant["from"] != _BASE:
        told.append(f"from {variant['from']}")
    return ", ".join(told) or ", ".join(variant["methods"]) or "unknown"


def weights_table(report: dict[str, Any]) -> Table:
    """Returns what each variant did to the size of the weights, and what its training took."""
    columns = (
        Column("Variant"),
        Column("Training"),
        *(Column(heading, numeric=True) for heading in ("Parameters", *_WAYS.values())),
    )
    rows = tuple(
        (
            Cell(variant["name"], note=made_by(variant)),
            _training(variant["training"]),
            Cell(format_count(variant["parameters"])),
            *(_efficiency(variant["sizes"], way) for way in _WAYS),
        )
        for variant in report["variants"]
    )
    caption = (
        "Weights alone, without the graph, as the variant's file stores them. Efficiency is "
        "1 − after / before, against the variant it was made of, in float32."
    )
    return Table("Weights of the variants", caption, columns, rows)


def _efficiency(sizes: dict[str, Any], way: str) -> Cell:
    after, share = sizes["after"][way], sizes["efficiency"][way]
    cell = bytes_cell(after, "compress.json")
    if after is None or share is None:
        return cell
    before = format_count(sizes["before"][way])
    return Cell(
        cell.text, note=f"efficiency {share:.3f}", title=f"{cell.title}; before {before} bytes"
    )


def _training(training: list[dict[str, Any]]) -> Cell:
    told = [
        f"{entry['method'] or 'unknown'}: {format_count(entry['epochs'])} epochs, best "
        f"{format_count(entry['best_epoch'])}"
        for entry in training
    ]
    seconds = [entry["seconds"] for entry in training]
    whole = None if None in seconds else sum(seconds)
    return Cell("; ".join(told) or "unknown", note=format_seconds(whole))
