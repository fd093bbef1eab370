"""report.json dict → inline SVG of loss and accuracy by epoch, the best epoch marked."""

from __future__ import annotations

from typing import Any

from tfpipe.report.axes import (
    WIDTH,
    Scale,
    figure,
    horizontal_axis,
    padded,
    path,
    plain_percent,
    text,
    vertical_axis,
)
from tfpipe.report.markup import Html, join, tag
from tfpipe.report.units import format_percent

_LEFT, _RIGHT, _TOP = 52.0, WIDTH - 14, 34.0


def training_plots(report: dict[str, Any]) -> list[Html]:
    """Returns loss and accuracy by epoch, training and validation; [] without a history."""
    history = report["history"]
    if not history or not history["epoch"]:
        return []
    best = report["run"]["training"]["best_epoch"]
    plots = [
        _curves(history, "loss", "Loss", best),
        _curves(history, "accuracy", "Accuracy", best),
    ]
    return [plot for plot in plots if plot is not None]


def _curves(
    history: dict[str, list[float | None]], key: str, name: str, best: int | None
) -> Html | None:
    lines = {
        label: [
            (epoch, value)
            for epoch, value in zip(history["epoch"], history[column], strict=True)
            if epoch is not None and value is not None
        ]
        for label, column in (("training", key), ("validation", f"val_{key}"))
    }
    drawn = [point for line in lines.values() for point in line]
    if not drawn:
        return None
    epochs = [epoch for epoch, _ in drawn]
    bottom = 220.0
    x = Scale(min(epochs) - 0.3, max(epochs) + 0.3, _LEFT, _RIGHT)
    y = Scale(*padded([value for _, value in drawn], 0.06), bottom, _TOP)
    percent = key == "accuracy"
    label = plain_percent if percent else "{:.3g}".format
    parts = [
        vertical_axis(y, _LEFT, _RIGHT, name, label),
        horizontal_axis(x, _TOP, bottom, "epoch", lambda v: f"{v:.0f}" if v == int(v) else ""),
    ]
    told = []
    if best is not None and x.low <= best <= x.high:
        parts.append(path([(x(best), _TOP), (x(best), bottom)], class_="baseline"))
        told.append(f"best epoch {best}")
    for index, (title, line) in enumerate(lines.items()):
        if line:
            parts.append(_curve(x, y, line, f"line{index}"))
            last = line[-1][1]
            told.append(f"{title} ends at {format_percent(last) if percent else f'{last:.3g}'}")
    parts.append(_legend(best))
    description = "; ".join(told) + "."
    return figure(f"curve-{key}", f"{name} by epoch", description, bottom + 42, join(parts))


def _curve(x: Scale, y: Scale, line: list[tuple[float, float]], kind: str) -> Html:
    spots = [(x(epoch), y(value)) for epoch, value in line]
    dots = [tag("circle", cx=left, cy=top, r=3, class_=f"dot {kind}") for left, top in spots]
    return join([path(spots, class_=kind), *dots])


def _legend(best: int | None) -> Html:
    """Returns the key of the curves, at the top right."""
    entries = [("line0", "training"), ("line1", "validation")]
    entries += [("baseline", f"best epoch {best}")] if best is not None else []
    parts, left = [], 120.0 if best is not None else 236.0
    for kind, label in entries:
        parts.append(path([(left, 16), (left + 20, 16)], class_=kind))
        parts.append(text(left + 25, 20, label, class_="small"))
        left += 34 + 7 * len(label)
    return join(parts)
