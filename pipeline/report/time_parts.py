"""report.json dict → where the time of a text goes: stacked bars, from the text down to the ops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tfpipe.report.axes import WIDTH, figure, text
from tfpipe.report.groups import device_name, setting_text
from tfpipe.report.markup import Html, join, tag
from tfpipe.report.units import cut_middle, format_count, format_latency, format_percent
from tfpipe.report.verdict import Artifact, Result

_ROW, _FUNNEL = 34.0, 22.0
_CHARACTER = 8.6  # of a phone's letters, the wider ones
_KEY_ROW, _KEY_SQUARE = 20.0, 11.0
_SMALL_SHARE = 0.012  # narrower than a few pixels: told together
_TONES = 6
# Colour of each part, so that they are the same in every figure.
_PART_TONES = {"tokenize": 1, "invoke": 0, "decode": 2, "copy": 5}


@dataclass(frozen=True)
class Segment:
    """A piece of a bar: its name, its share of the bar, and its colour."""

    name: str
    share: float
    tone: int


def time_parts(report: dict[str, Any]) -> list[Html]:
    """Returns a figure for every result that knows the parts of its time."""
    found = [
        (artifact, result)
        for artifact in report["artifacts"]
        for result in artifact["latency"]
        if result["end_to_end_shares"] or timed_ops(result)
    ]
    return [_figure(*pair, f"parts-{index}") for index, pair in enumerate(found)]


def timed_ops(result: Result) -> list[dict[str, Any]]:
    """Returns the profiled ops that took any time."""
    profile = result["op_profile"]
    return [op for op in profile["ops"] if op["mean_ns"] > 0] if profile else []


def _figure(artifact: Artifact, result: Result, identifier: str) -> Html:
    shares, ops = result["end_to_end_shares"], timed_ops(result)
    parts: list[Html] = []
    told: list[str] = []
    y = 18.0
    if shares:
        bar = [Segment(name, share, _PART_TONES[name]) for name, share in shares.items()]
        total = format_latency(result["end_to_end_p50_ns"])
        parts += [text(0, y - 5, f"From text to label, p50 {total}", class_="axis"), _bar(bar, y)]
        told.append(_told("From text to label", bar))
        key, height = _key(bar, y + _ROW)
        parts.append(key)
        y += _ROW + height
    if ops:
        if shares:
            parts.append(_funnel(shares["tokenize"], shares["invoke"], y))
            y += _FUNNEL + 18
        drawn, told_ops, y = _call(result, ops, y)
        parts.append(drawn)
        told += told_ops
    name = cut_middle(artifact["name"], 40)
    title = f"{name} on {device_name(result)}, {setting_text(result)}"
    return figure(identifier, title, " ".join(told), y, join(parts))


def _call(result: Result, ops: Sequence[dict[str, Any]], y: float) -> tuple[Html, list[str], float]:
    """Returns the bars of a call, what they say in words, and where they end."""
    total = format_latency(result["p50_ns"])
    runners, kinds = _runner_bar(ops), _op_bar(ops)
    parts = [
        text(0, y - 5, f"The call, p50 {total}, by what runs it and by op", class_="axis"),
        _bar(runners, y),
        _bar(kinds, y + _ROW),
    ]
    key, height = _key([*runners, *kinds], y + 2 * _ROW)
    parts.append(key)
    y += 2 * _ROW + height
    told = [_told("The call", runners), _told("Its ops", kinds)]
    short = result["op_profile"]["short_ops"]
    if short:
        note = f"Told too short: {format_count(short)} ops under 1 µs each"
        parts.append(text(0, y + 12, note, class_="axis"))
        told.append(f"{note}.")
        y += 20
    return join(parts), told, y


def _bar(segments: Sequence[Segment], y: float) -> Html:
    parts, x = [], 0.0
    for segment in segments:
        width = WIDTH * segment.share
        parts.append(
            tag(
                "rect",
                tag("title", f"{segment.name} {format_percent(segment.share)}"),
                **{"x": x, "y": y, "width": width, "height": _ROW - 4},
                class_=f"segment tone{segment.tone}",
            )
        )
        middle = {"text_anchor": "middle", "class_": "small"}
        if _label(segment):
            parts.append(text(x + width / 2, y + 20, _label(segment), **middle))
        x += width
    return join(parts)


def _label(segment: Segment) -> str:
    """Returns what fits into a segment: name and share, the name, or nothing."""
    room = WIDTH * segment.share - 6
    for label in (f"{segment.name} {format_percent(segment.share)}", segment.name):
        if len(label) * _CHARACTER < room:
            return label
    return ""


def _key(segments: Sequence[Segment], y: float) -> tuple[Html, float]:
    """Returns what the segments without a label are, in as many rows as it takes, and its height.

    Those that have room for their name alone are there too, with their shares.
    """
    parts: list[Html] = []
    x, row = 0.0, 0
    for segment in segments:
        label = f"{segment.name} {format_percent(segment.share)}"
        if segment.share <= 0 or _label(segment) == label:
            continue
        width = _KEY_SQUARE + 5 + len(label) * _CHARACTER
        if x and x + width > WIDTH:
            x, row = 0.0, row + 1
        top = y + 3 + row * _KEY_ROW
        square = {"x": x, "y": top, "width": _KEY_SQUARE, "height": _KEY_SQUARE}
        parts.append(tag("rect", **square, class_=f"segment tone{segment.tone}"))
        parts.append(text(x + _KEY_SQUARE + 5, top + 10, label, class_="small"))
        x += width + 8
    return join(parts), (row + 1) * _KEY_ROW + 4 if parts else 0.0


def _funnel(before: float, share: float, y: float) -> Html:
    """Returns the shape that leads from a piece of one bar to the whole of the next."""
    left, right = WIDTH * before, WIDTH * (before + share)
    top, bottom = y - 3, y + _FUNNEL - 2
    points = [(left, top), (right, top), (WIDTH, bottom), (0, bottom)]
    return tag("polygon", points=" ".join(f"{x:.1f},{v:.1f}" for x, v in points), class_="funnel")


def _total(ops: Sequence[dict[str, Any]]) -> float:
    return float(sum(op["mean_ns"] for op in ops))


def _by_runner(ops: Sequence[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Returns the ops of the delegate and those of the interpreter, the larger part first."""
    found: dict[str, list[dict[str, Any]]] = {}
    for op in ops:
        found.setdefault(op["where"], []).append(op)
    return sorted(found.items(), key=lambda item: -_total(item[1]))


def _runner_bar(ops: Sequence[dict[str, Any]]) -> list[Segment]:
    tones = {"delegate": 0, "interpreter": 3}
    return [
        Segment(where, _total(own) / _total(ops), tones.get(where, 4))
        for where, own in _by_runner(ops)
    ]


def _op_bar(ops: Sequence[dict[str, Any]]) -> list[Segment]:
    """Returns the kinds of ops, each below what runs it; slivers are put together."""
    whole, segments = _total(ops), []
    for _, own in _by_runner(ops):
        kinds: dict[str, float] = {}
        for op in own:
            kinds[op["op"]] = kinds.get(op["op"], 0.0) + op["mean_ns"] / whole
        large = {kind: share for kind, share in kinds.items() if share >= _SMALL_SHARE}
        ordered = sorted(large.items(), key=lambda item: -item[1])
        segments += [Segment(kind, share, 0) for kind, share in ordered]
        rest = sum(kinds.values()) - sum(large.values())
        segments += [Segment("other", rest, 0)] if rest > 0 else []
    return [
        Segment(segment.name, segment.share, index % _TONES)
        for index, segment in enumerate(segments)
    ]


def _told(what: str, segments: Sequence[Segment]) -> str:
    return f"{what}: {', '.join(f'{s.name} {format_percent(s.share)}' for s in segments)}."
