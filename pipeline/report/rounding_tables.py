"""report.json dict → for each variant what pruning and rounding cost, layer by layer."""

from __future__ import annotations

from typing import Any

from tfpipe.report.results import METRIC_NAMES
from tfpipe.report.table import Cell, Column, Table, unknown
from tfpipe.report.units import (
    UNKNOWN,
    format_count,
    format_percent,
    format_points,
)

_ERROR_COLUMNS = (
    Column("Mean error", numeric=True),
    Column("Largest error", numeric=True),
    Column("Signal to noise", numeric=True),
)


def cost_tables(report: dict[str, Any]) -> list[Table]:
    """Returns all tables of this module, the shortest kind first."""
    return [*scan_tables(report), *rounding_tables(report), *tensor_tables(report)]


def scan_tables(report: dict[str, Any]) -> list[Table]:
    """Returns for each pruned variant what its scan found out."""
    return [
        _scan_table(f"What pruning costs: {variant['name']}", entry["scan"])
        for variant in report["variants"]
        for entry in variant["training"]
        if entry["scan"]
    ]


def _scan_table(title: str, scan: dict[str, Any]) -> Table:
    asked, together = _share(scan["asked"]), scan["together"]
    caption = (
        f"Before the training, on {format_count(scan['num_examples'])} validation texts: what it "
        f"costs to prune this layer alone to {asked}, untrained. Borne are "
        f"{_points(scan['limit']).text.lstrip('+')}, one standard error; a layer that loses more "
        "keeps more weights, or all. All layers as decided, untrained: "
        f"{_share(together['sparsity'])} zeros, {_change(together['drop']).text}."
    )
    columns = (
        Column("Layer"),
        Column("Weights", numeric=True),
        Column(_metric(scan), numeric=True),
        Column("Change", numeric=True),
        Column("Decision"),
    )
    return Table(title, caption, columns, tuple(map(_scan_row, scan["layers"])))


def _scan_row(layer: dict[str, Any]) -> tuple[Cell, ...]:
    first = layer["tried"][0] if layer["tried"] else {"score": None, "drop": None}
    tried = [
        f"{_share(entry['sparsity'])}: {_change(entry['drop']).text}"
        for entry in layer["tried"][1:]
    ]
    decision = layer["decision"] or "unknown"
    if layer["sparsity"]:
        decision = f"pruned to {_share(layer['sparsity'])}"
    tone = "" if layer["decision"] == "pruned" else "warn"
    return (
        Cell(layer["name"]),
        Cell(format_count(layer["num_weights"])),
        _percent(first["score"]),
        _change(first["drop"]),
        Cell(decision, note=", ".join(tried), tone=tone),
    )


def rounding_tables(report: dict[str, Any]) -> list[Table]:
    """Returns for each quantization-aware variant what rounding one layer alone costs."""
    return [
        _rounding_table(f"What rounding costs: {variant['name']}", variant["rounding"])
        for variant in report["variants"]
        if variant["rounding"]
    ]


def _rounding_table(title: str, rounding: dict[str, Any]) -> Table:
    columns = (
        Column("Layer rounded"),
        Column(_metric(rounding), numeric=True),
        Column("Change", numeric=True),
        Column("Agreement", numeric=True),
        Column("Signal to noise of the logits", numeric=True),
    )
    entries = [*rounding["layers"], {"name": "all layers", **rounding["all"]}]
    rows = tuple(
        (
            Cell(entry["name"]),
            _percent(entry["score"]),
            _change(entry["drop"]),
            _percent(entry["agreement"]),
            _decibels(entry["signal_to_noise_db"]),
        )
        for entry in entries
    )
    caption = (
        f"On {format_count(rounding['num_examples'])} validation texts: weights and values of one "
        "layer as int8, all others in float32, against the same model that rounds nothing "
        f"({_percent(rounding['score']).text})."
    )
    return Table(title, caption, columns, rows)


def tensor_tables(report: dict[str, Any]) -> list[Table]:
    """Returns for each variant its weights, and of a quantization-aware one its values."""
    tables = []
    for variant in report["variants"]:
        if variant["tensors"]:
            tables.append(_weights(f"Weights, tensor by tensor: {variant['name']}", variant))
        if variant["values"]:
            tables.append(_values(f"Values, op by op: {variant['name']}", variant))
    return tables


def _weights(title: str, variant: dict[str, Any]) -> Table:
    rounded = any(tensor["scale"] for tensor in variant["tensors"])
    columns = (
        Column("Tensor"),
        Column("Shape", numeric=True),
        Column("Zeros", numeric=True),
        Column("Distinct values", numeric=True),
        *((Column("Range", numeric=True), Column("Scale", numeric=True)) if rounded else ()),
        *(_ERROR_COLUMNS if rounded else ()),
    )
    rows = tuple(
        (
            Cell(tensor["name"]),
            Cell(" × ".join(map(str, tensor["shape"])) or "unknown"),
            _percent(tensor["zeros"]),
            Cell(format_count(tensor["distinct_values"])),
            *(_rounded_weight(tensor) if rounded else ()),
        )
        for tensor in variant["tensors"]
    )
    caption = "x is a trained weight, q(x) what int8 makes of it; errors are of |x − q(x)|."
    return Table(title, caption if rounded else "As trained, in float32.", columns, rows)


def _rounded_weight(tensor: dict[str, Any]) -> list[Cell]:
    if not tensor["scale"]:
        return [Cell(UNKNOWN, title="stays float32")] * 5
    count = tensor["num_scales"] or 1
    scale = " to ".join(dict.fromkeys(_short(value) for value in tensor["scale"]))
    note = f"{format_count(count)} scales" if count > 1 else ""
    return [_range(tensor["range"]), Cell(scale, note=note), *_errors(tensor)]


def _values(title: str, variant: dict[str, Any]) -> Table:
    columns = (
        Column("Value"),
        Column("Range", numeric=True),
        Column("Scale", numeric=True),
        *_ERROR_COLUMNS,
    )
    rows = tuple(
        (
            Cell(value["name"]),
            _range(value["range"]),
            unknown("compress.json does not say")
            if value["scale"] is None
            else Cell(_short(value["scale"])),
            *_errors(value),
        )
        for value in variant["values"]
    )
    caption = (
        "What ops give on validation texts; x in float32, q(x) as int8 in a range that was learned "
        "or is the kernel's own; errors are of |x − q(x)|."
    )
    return Table(title, caption, columns, rows)


def _errors(entry: dict[str, Any]) -> list[Cell]:
    errors = [entry["mean_error"], entry["max_error"]]
    told = [unknown("no error is known") if e is None else Cell(_short(e)) for e in errors]
    return [*told, _decibels(entry["signal_to_noise_db"])]


def _decibels(value: float | None) -> Cell:
    if value is None:
        return Cell(UNKNOWN, title="there is no noise, or it is not known")
    return Cell(f"{value:.1f} dB", title="10 log10(sum x² / sum (x − q(x))²)")


def _range(bounds: list[float]) -> Cell:
    if len(bounds) != 2:
        return unknown("compress.json does not say")
    return Cell(" to ".join(_short(bound) for bound in bounds))


def _short(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def _share(value: float | None) -> str:
    return UNKNOWN if value is None else f"{100 * value:.3g} %"


def _percent(value: float | None) -> Cell:
    return unknown("compress.json does not say") if value is None else Cell(format_percent(value))


def _points(value: float | None) -> Cell:
    return unknown("compress.json does not say") if value is None else Cell(format_points(value))


def _change(drop: float | None) -> Cell:
    return _points(None if drop is None else -drop)


def _metric(found: dict[str, Any]) -> str:
    return METRIC_NAMES.get(found["metric"], "Score")
