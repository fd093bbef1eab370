"""Group of results, or report.json dict → inline SVG: distribution of latencies, sizes of files."""

from __future__ import annotations

from typing import Any

from tfpipe.report.axes import (
    WIDTH,
    Scale,
    figure,
    horizontal_axis,
    padded,
    path,
    short_latency,
    text,
)
from tfpipe.report.groups import Group
from tfpipe.report.markup import Html, join, tag
from tfpipe.report.units import cut_middle, format_bytes, format_latency
from tfpipe.report.verdict import Result

_LEFT, _RIGHT, _TOP = 52.0, WIDTH - 14, 30.0
_NAME_LENGTH = 30
# Beside a name stand three sizes.
_NAME_BESIDE_SIZES = 26
_SIZES = ("model_size_bytes", "zip_size_bytes", "zstd_size_bytes")
# Top and height of the bar of each size, and its class.
_SIZE_BARS = ((20, 10, "bar"), (31, 5, "bar zipped"), (37, 5, "bar zstd"))


def latency_plot(group: Group, identifier: str) -> Html | None:
    """Returns the distribution of the calls of every artifact of a group, one strip each."""
    shown = [
        (artifact, result)
        for artifact, result in group.rows
        if result["samples_ns"] and result["samples_ns"][0] > 0
    ]
    if not shown:
        return None
    row, top = 50.0, 26.0
    bottom = top + row * len(shown)
    ends = [result["samples_ns"][i] for _, result in shown for i in (0, -1)]
    x = Scale(*padded(ends, 0.04, log=True), 8, WIDTH - 12, log=True)
    parts = [horizontal_axis(x, top, bottom, "one call, logarithmic", short_latency)]
    told = []
    for index, (artifact, result) in enumerate(shown):
        parts.append(_strip(x, top + row * index, artifact["name"], result))
        marks = ", ".join(f"{p} {format_latency(result[f'{p}_ns'])}" for p in ("p50", "p90", "p99"))
        low, high = (format_latency(result["samples_ns"][i]) for i in (0, -1))
        told.append(f"{artifact['name']}: {marks}, range {low} to {high}")
    legend = "Ticks: calls; thick: p50, thin: p90 and p99"
    parts.append(text(0, 14, legend, class_="axis"))
    title = f"Distribution of the latency on {group.title}"
    return figure(identifier, title, "; ".join(told) + ".", bottom + 42, join(parts))


def _strip(x: Scale, top: float, name: str, result: Result) -> Html:
    """Returns one row: the name, a tick for every kept call, and lines at the percentiles."""
    base, tick = top + 42, 14
    ticks = "".join(f"M{x(sample):.1f} {base}v-{tick}" for sample in result["samples_ns"])
    note = "" if result["validity"] == "valid" else f" ({result['validity'] or 'validity unknown'})"
    parts = [tag("path", d=ticks, class_="rug")]
    for percentile, kind in (("p50", "median"), ("p90", "tail"), ("p99", "tail")):
        value = result[f"{percentile}_ns"]
        if value:
            parts.append(path([(x(value), base + 3), (x(value), base - tick - 3)], class_=kind))
    told = f"{cut_middle(name, _NAME_LENGTH)}{note}"
    parts.append(text(x.start, top + 18, told, class_="halo"))
    median = format_latency(result["p50_ns"])
    parts.append(text(x.end, top + 18, f"p50 {median}", text_anchor="end", class_="halo"))
    return join(parts)


def size_plot(report: dict[str, Any]) -> Html | None:
    """Returns three bars for every artifact: the file, the file as zip and as zstd."""
    shown = [a for a in report["artifacts"] if a["model_size_bytes"]]
    if not shown:
        return None
    row = 52.0
    bottom = 8 + row * len(shown)
    x = Scale(0, max(a[key] or 0 for a in shown for key in _SIZES), 0, WIDTH)
    parts, told = [], []
    for index, artifact in enumerate(shown):
        top = 8 + row * index
        sizes = [artifact[key] for key in _SIZES]
        label = "{}, zip {}, zstd {}".format(*map(format_bytes, sizes))
        parts.append(text(0, top + 14, cut_middle(artifact["name"], _NAME_BESIDE_SIZES)))
        parts.append(text(WIDTH, top + 14, label, text_anchor="end", class_="small"))
        for value, (offset, height, kind) in zip(sizes, _SIZE_BARS, strict=True):
            if value is not None:
                parts.append(
                    tag("rect", x=0, y=top + offset, width=x(value), height=height, class_=kind)
                )
        told.append(f"{artifact['name']} {label}")
    title = "Size of the file (thick), as zip and as zstd (thin)"
    return figure("sizes", title, "; ".join(told) + ".", bottom, join(parts))
