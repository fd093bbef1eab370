"""Points and their names → a place for each name where it covers nothing, if there is one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_CHARACTER_WIDTH, _LINE_HEIGHT, _RADIUS = 7.4, 14.0, 6.0


@dataclass(frozen=True)
class Box:
    """A rectangle of the figure; y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: Box) -> float:
        """Returns the area that both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, width) * max(0.0, height)

    def outside(self, area: Box) -> float:
        """Returns how much of this rectangle lies outside of `area`."""
        whole = (self.right - self.left) * (self.bottom - self.top)
        return whole - self.overlap(area)


@dataclass(frozen=True)
class Label:
    """Where a name stands: its baseline, its anchor, and where a leader line to it ends."""

    x: float
    y: float
    anchor: str
    leader: tuple[float, float] | None


def place_labels(
    spots: Sequence[tuple[float, float]], names: Sequence[str], area: Box, lines: Sequence[Box] = ()
) -> list[Label]:
    """Returns a place for each name, one after the other, always the first that is free.

    Args:
        spots: Centres of the points.
        names: Their names; widths are estimated from the number of characters.
        area: Rectangle that the names should stay in.
        lines: Rectangles that no name should cover.
    """
    dots = [Box(x - _RADIUS, y - _RADIUS, x + _RADIUS, y + _RADIUS) for x, y in spots]
    taken = [*lines, *dots]
    labels = []
    for spot, name in zip(spots, names, strict=True):
        best: tuple[float, Label, Box] | None = None
        for label, box in _candidates(spot, len(name) * _CHARACTER_WIDTH):
            cost = sum(box.overlap(other) for other in taken) + 2 * box.outside(area)
            if best is None or cost < best[0] - 1e-6:
                best = (cost, label, box)
            if cost < 1e-6:
                break
        if best is not None:
            labels.append(best[1])
            taken.append(best[2])
    return labels


def _candidates(spot: tuple[float, float], width: float) -> Iterator[tuple[Label, Box]]:
    """Yields places right and left of the point, above and below it, then ever farther away."""
    x, y = spot
    for shift in (0, -12, 12, -20, 20, -34, 34, -48, 48, -62, 62, -76, 76, -90, 90):
        centre = y + shift
        leader = (x, centre) if abs(shift) > 20 else None
        top, bottom = centre - _LINE_HEIGHT / 2, centre + _LINE_HEIGHT / 2
        right, left = x + _RADIUS + 3, x - _RADIUS - 3
        baseline = centre + 4.5
        yield Label(right, baseline, "start", leader), Box(right, top, right + width, bottom)
        yield Label(left, baseline, "end", leader), Box(left - width, top, left, bottom)
        if shift:
            half = width / 2
            yield Label(x, baseline, "middle", leader), Box(x - half, top, x + half, bottom)
