"""The content of layers.json → a table for the terminal, a layer a line."""

from __future__ import annotations

from typing import Any

_QUANTA = ("name", "op", "scale", "mean", "max", "own mean", "own max", "equal", "max error", "dB")
_FLOAT = ("name", "op", "mean error", "max error", "dB")
# Shares by which a file's scale may differ from the form's: what float32 makes of one number.
SAME_SCALE = 1e-5


def format_layers(result: dict[str, Any]) -> str:
    """Returns the layers in the order of the graph, the worst marked, and what was not seen.

    Args:
        result: What `tfpipe.layers.compare_layers` returns.
    """
    rounded = any(layer["own"] is not None for layer in result["layers"])
    rows = [list(_QUANTA if rounded else _FLOAT)]
    rows += [row_of(layer, rounded=rounded) for layer in result["layers"]]
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    for number, layer in enumerate(result["layers"], start=1):
        lines[number] += marks_of(layer, result)
    unit = "differences in quanta; own: from the file's values before it" if rounded else ""
    delegate = result["delegate"]
    return "\n".join(
        [
            *lines,
            "",
            f"{result['artifact']} against {result['reference']}, {result['num_texts']} texts"
            + (f"; {unit}" if unit else ""),
            f"kernels: {result['runtime']} {result['runtime_version']} without delegate; with it "
            f"outputs differ by up to {delegate['max_abs_error']:.2g}, "
            f"{delegate['agreement']:.2%} predictions are the same",
            *(f"not seen: {entry['name']}: {entry['reason']}" for entry in result["not_seen"]),
        ]
    )


def row_of(layer: dict[str, Any], *, rounded: bool) -> list[str]:
    """Returns a layer's cells."""
    noise = layer["signal_to_noise_db"]
    decibels = "equal" if noise is None else f"{noise:.1f}"
    if not rounded:
        errors = [f"{layer[key]:.2g}" for key in ("mean_error", "max_error")]
        return [layer["name"], layer["op"], *errors, decibels]
    own = layer["own"] or {"mean_quanta": 0.0, "max_quanta": 0.0}
    quanta = [layer["mean_quanta"], layer["max_quanta"], own["mean_quanta"], own["max_quanta"]]
    return [
        layer["name"],
        layer["op"],
        f"{layer['scale']:.4g}" if layer["scale"] else "-",
        *("-" if value is None else f"{value:.3g}" for value in quanta),
        f"{layer['equal']:.2%}",
        f"{layer['max_error']:.2g}",
        decibels,
    ]


def marks_of(layer: dict[str, Any], result: dict[str, Any]) -> str:
    """Returns what stands behind a layer's line."""
    marks = []
    if layer["name"] == result["worst"]:
        marks.append("worst")
    if layer["name"] == result["origin"]:
        marks.append("most arises here")
    scales = (layer["scale"], layer["file_scale"])
    if None not in scales and abs(scales[1] / scales[0] - 1) > SAME_SCALE:
        marks.append(f"the file has another scale, {scales[1]:.4g}")
    return "  < " + "; ".join(marks) if marks else ""
