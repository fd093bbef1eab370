"""Group of results → inline SVG of accuracy against latency, with the baseline as a line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfpipe.report.axes import (
    WIDTH,
    Scale,
    figure,
    horizontal_axis,
    padded,
    path,
    plain_percent,
    short_latency,
    text,
    vertical_axis,
)
from tfpipe.report.groups import Group
from tfpipe.report.labels import Box, place_labels
from tfpipe.report.markup import Html, join, tag
from tfpipe.report.results import METRIC_NAMES
from tfpipe.report.units import cut_middle, format_latency, format_percent
from tfpipe.report.verdict import Artifact, Result

_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, WIDTH - 14, 50.0, 266.0
_NAME_LENGTH, _KEY_LENGTH = 30, 50
_KEY_ROW = 18.0
# More names would cover each other; the points are then numbered, with a key below.
_NAMED_POINTS = 7
Shown = Sequence[tuple[Artifact, Result]]


def accuracy_latency_plot(report: dict[str, Any], group: Group, identifier: str) -> Html | None:
    """Returns accuracy of the file against p50 in one group; None without such a pair.

    Invalid measurements are left out, degraded ones hollow. The whisker is the 95 % interval of
    the accuracy.
    """
    shown = [
        (artifact, result)
        for artifact, result in group.rows
        if result["p50_ns"]
        and result["validity"] != "invalid"
        and artifact["accuracy"]["artifact"] is not None
    ]
    if not shown:
        return None
    metric = report["run"]["metric"]
    baseline = report["baselines"]["tfidf_logistic_regression"][metric]
    name = METRIC_NAMES[metric]
    x, y = _scales(shown, baseline)
    numbered = len(shown) > _NAMED_POINTS
    body = [
        vertical_axis(y, _LEFT, _RIGHT, f"{name} of the exported file", plain_percent),
        horizontal_axis(x, _TOP, _BOTTOM, "p50 of one call, logarithmic", short_latency),
        _baseline_line(y, baseline),
        _legend(shown, baseline),
        *_whiskers(x, y, shown),
        _points(x, y, shown, baseline),
    ]
    height = _BOTTOM + 42
    if numbered:
        body.append(_key(shown, height + 12))
        height += 12 + _KEY_ROW * len(shown)
    title = f"{name} against latency on {group.title}"
    return figure(identifier, title, _told(shown, baseline), height, join(body))


def _scales(shown: Shown, baseline: float | None) -> tuple[Scale, Scale]:
    values = [artifact["accuracy"]["artifact"] for artifact, _ in shown]
    values += [
        bound for artifact, _ in shown for bound in artifact["accuracy"]["interval_95"] or ()
    ]
    values += [] if baseline is None else [baseline]
    low, high = padded(values, 0.08)
    times = [result["p50_ns"] for _, result in shown]
    x = Scale(*padded(times, 0.25, log=True), _LEFT, _RIGHT, log=True)
    return x, Scale(max(0.0, low), min(1.0, high), _BOTTOM, _TOP)


def _told(shown: Shown, baseline: float | None) -> str:
    """Returns what the figure shows, in words."""
    told = "; ".join(
        f"{artifact['name']}: {format_percent(artifact['accuracy']['artifact'])} "
        f"at {format_latency(result['p50_ns'])}"
        for artifact, result in shown
    )
    line = "" if baseline is None else f" Dashed: TF-IDF baseline {format_percent(baseline)}."
    return f"{told}.{line}"


def _baseline_line(y: Scale, baseline: float | None) -> Html:
    if baseline is None:
        return Html("")
    return path([(_LEFT, y(baseline)), (_RIGHT, y(baseline))], class_="baseline")


def _legend(shown: Shown, baseline: float | None) -> Html:
    """Returns what line and whiskers mean, above the plot."""
    told = []
    if baseline is not None:
        told.append(f"dashed: TF-IDF + logistic regression {format_percent(baseline)}")
    if any(artifact["accuracy"]["interval_95"] for artifact, _ in shown):
        told.append("whisker: 95 % interval")
    return text(0, 14, "; ".join(told), class_="axis")


def _whiskers(x: Scale, y: Scale, shown: Shown) -> list[Html]:
    return [
        path([(x(result["p50_ns"]), y(bound)) for bound in interval], class_="whisker")
        for artifact, result in shown
        if (interval := artifact["accuracy"]["interval_95"])
    ]


def _points(x: Scale, y: Scale, shown: Shown, baseline: float | None) -> Html:
    """Returns the points and, beside them, their names or numbers."""
    spots = [(x(r["p50_ns"]), y(a["accuracy"]["artifact"])) for a, r in shown]
    names = [cut_middle(artifact["name"], _NAME_LENGTH) for artifact, _ in shown]
    if len(shown) > _NAMED_POINTS:
        names = [str(index + 1) for index in range(len(shown))]
    area = Box(_LEFT, y.end, _RIGHT, y.start)
    # Names keep off the dashed line, as far as there is room.
    lines = [] if baseline is None else [Box(_LEFT, y(baseline) - 3, _RIGHT, y(baseline) + 3)]
    parts = []
    for (_, result), (left, top) in zip(shown, spots, strict=True):
        kind = "point" if result["validity"] == "valid" else "point doubtful"
        parts.append(tag("circle", cx=left, cy=top, r=5, class_=kind))
    labels = place_labels(spots, names, area, lines)
    for spot, name, label in zip(spots, names, labels, strict=True):
        if label.leader:
            parts.append(path([spot, label.leader], class_="grid"))
        parts.append(text(label.x, label.y, name, text_anchor=label.anchor, class_="halo"))
    return join(parts)


def _key(shown: Shown, top: float) -> Html:
    """Returns which number is which artifact."""
    parts = []
    for index, (artifact, _) in enumerate(shown):
        y = top + _KEY_ROW * index + 10
        parts.append(text(_LEFT - 6, y, str(index + 1), text_anchor="end"))
        parts.append(text(_LEFT + 4, y, cut_middle(artifact["name"], _KEY_LENGTH)))
    return join(parts)
