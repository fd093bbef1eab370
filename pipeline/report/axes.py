"""Value ranges → scales with readable ticks, and the SVG frame that shows them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tfpipe.report.markup import Html, join, tag
from tfpipe.report.units import format_latency

# Units of the viewBox. A phone shows the figure at about 0.8 of this size, a desktop at 1.2.
WIDTH = 440.0
_TICK_STEPS = (
    (1, 10),
    (1, 3),
    (1, 2, 5),
    (1, 1.5, 2, 3, 5, 7),
    tuple(i / 10 for i in range(10, 100)),
)


@dataclass(frozen=True)
class Scale:
    """Values → positions along one axis.

    Attributes:
        low, high: Ends of the value range, low < high; both above 0 if `log`.
        start, end: Their positions in the figure.
        log: Whether equal ratios, not equal differences, take equal room.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Returns the position of `value`."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self, limit: int) -> list[float]:
        """Returns round values within the range, at most `limit` of them."""
        return _log_ticks(self, limit) if self.log else _linear_ticks(self, limit)


def _linear_ticks(scale: Scale, limit: int) -> list[float]:
    rough = (scale.high - scale.low) / limit
    power = 10.0 ** math.floor(math.log10(rough))
    for step in (power, 2 * power, 5 * power, 10 * power, 20 * power):
        first, last = math.ceil(scale.low / step - 1e-9), math.floor(scale.high / step + 1e-9)
        if last - first + 1 <= limit:
            break
    return [index * step for index in range(first, last + 1)]


def _log_ticks(scale: Scale, limit: int) -> list[float]:
    """Returns the densest of the usual series (1-10, 1-3, 1-2-5, …) that has room."""
    best: list[float] = []
    for steps in _TICK_STEPS:
        decades = range(math.floor(math.log10(scale.low)), math.ceil(math.log10(scale.high)) + 1)
        values = sorted({step * 10.0**decade for decade in decades for step in steps})
        inside = [v for v in values if scale.low * 0.9999 <= v <= scale.high * 1.0001]
        if len(inside) > limit:
            break
        best = inside
    return best


def padded(values: Sequence[float], share: float, *, log: bool = False) -> tuple[float, float]:
    """Returns a range around `values` with `share` of its length free on both sides.

    Args:
        values: At least one; all above 0 if `log`.
        share: Free share of the range.
        log: Whether the range is one of ratios.
    """
    low, high = min(values), max(values)
    if log:
        least = 1.3  # equal values still get a range to stand in
        ratio = max(high / low, least)
        middle = math.sqrt(low * high)
        half = math.sqrt(ratio) * ratio**share
        return middle / half, middle * half
    room = max((high - low) * share, abs(high) * 0.02, 1e-9)
    return low - room, high + room


def plain_percent(value: float) -> str:
    """Returns a fraction as per cent without needless digits, for ticks."""
    return f"{100 * value:.4g} %"


def short_latency(value_ns: float) -> str:
    """Returns a latency for a tick, without needless zeros: 70 µs, 1.2 ms."""
    number, _, unit = format_latency(value_ns).partition(" ")
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {unit}"


def text(x: float, y: float, content: str, **attributes: str | float | None) -> Html:
    """Returns an SVG text in the colour of the page's text."""
    return tag("text", content, x=x, y=y, **{"fill": "currentColor", **attributes})


def path(points: Sequence[tuple[float, float]], **attributes: str | float | None) -> Html:
    """Returns an unfilled line through `points`."""
    data = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return tag("path", d=data, **{"fill": "none", **attributes})


def horizontal_axis(
    scale: Scale, top: float, bottom: float, name: str, label: Callable[[float], str]
) -> Html:
    """Returns grid lines from `top` to `bottom`, tick labels below, and the axis's name.

    A tick whose label is empty is left out.
    """
    parts = []
    for value in scale.ticks(6):
        if label(value):
            x = scale(value)
            parts.append(path([(x, top), (x, bottom)], class_="grid"))
            parts.append(text(x, bottom + 16, label(value), text_anchor="middle"))
    middle = (scale.start + scale.end) / 2
    parts.append(text(middle, bottom + 35, name, text_anchor="middle", class_="axis"))
    return join(parts)


def vertical_axis(
    scale: Scale, left: float, right: float, name: str, label: Callable[[float], str]
) -> Html:
    """Returns grid lines from `left` to `right`, tick labels before them, and the name above."""
    parts = []
    for value in scale.ticks(6):
        y = scale(value)
        parts.append(path([(left, y), (right, y)], class_="grid"))
        parts.append(text(left - 6, y + 4, label(value), text_anchor="end"))
    parts.append(text(0, min(scale.start, scale.end) - 13, name, class_="axis"))
    return join(parts)


def figure(identifier: str, title: str, description: str, height: float, body: Html) -> Html:
    """Returns a figure: an SVG with a text alternative, and its caption.

    Args:
        identifier: Unique id within the page.
        title: What is shown; also the caption.
        description: What a reader sees in it, in words.
        height: Height of the viewBox.
        body: Content of the SVG.
    """
    drawing = tag(
        "svg",
        tag("title", title, id=f"{identifier}-title"),
        tag("desc", description, id=f"{identifier}-desc"),
        body,
        role="img",
        viewBox=f"0 0 {WIDTH:.0f} {height:.0f}",
        aria_labelledby=f"{identifier}-title {identifier}-desc",
    )
    return tag("figure", tag("figcaption", title), drawing)
