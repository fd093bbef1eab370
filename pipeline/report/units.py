"""Numbers (nanoseconds, bytes, fractions, counts) → short texts for people; None → "–"."""

from __future__ import annotations

import re

UNKNOWN = "–"


def _three_digits(value: float) -> str:
    """Returns `value` (1 ≤ value < 1000) with three significant digits: 1.23, 12.3, 123."""
    if value < 9.995:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def _scaled(value: float, units: tuple[str, ...]) -> str:
    """Returns `value` with three digits in the first of `units` (steps of 1000) that fits."""
    for unit in units[:-1]:
        if value < 999.5:
            return f"{_three_digits(value)} {unit}"
        value /= 1000
    return f"{_three_digits(value)} {units[-1]}"


def format_latency(value_ns: float | None) -> str:
    """Returns a duration in nanoseconds as ns, µs, ms or s.

    >>> format_latency(212_340)
    '212 µs'
    >>> format_latency(1_052_000)
    '1.05 ms'
    """
    if value_ns is None:
        return UNKNOWN
    if value_ns < 999.5:
        return f"{value_ns:.0f} ns"
    return _scaled(value_ns / 1000, ("µs", "ms", "s"))


def format_bytes(value_bytes: float | None) -> str:
    """Returns a size in decimal units (1 kB = 1000 bytes).

    >>> format_bytes(358_208)
    '358 kB'
    """
    if value_bytes is None:
        return UNKNOWN
    if value_bytes < 1000:
        return f"{value_bytes:.0f} B"
    return _scaled(value_bytes / 1000, ("kB", "MB", "GB"))


def format_percent(fraction: float | None) -> str:
    """Returns a fraction as per cent with one decimal, more where one would round to 0 or 100.

    >>> format_percent(0.9125), format_percent(0.99997), format_percent(1.0)
    ('91.2 %', '99.997 %', '100.0 %')
    """
    if fraction is None:
        return UNKNOWN
    for digits in (1, 2, 3, 4):
        text = f"{100 * fraction:.{digits}f}"
        if (float(text) < 100 or fraction >= 1) and (float(text) > 0 or fraction <= 0):
            break
    return f"{text} %"


def format_points(difference: float) -> str:
    """Returns the difference of two fractions in percentage points, with its sign.

    >>> format_points(-0.012)
    '−1.2 points'
    """
    text = f"{100 * abs(difference):.1f}"
    sign = "±" if float(text) == 0 else "+" if difference > 0 else "−"
    return f"{sign}{text} points"


def format_count(value: float | None) -> str:
    """Returns a count with thousands separated by commas."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def format_seconds(value: float | None) -> str:
    """Returns a duration given in seconds: 12.3 s, 4 min 05 s."""
    if value is None:
        return UNKNOWN
    if value < 59.95:
        return f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    return f"{minutes} min {seconds:02d} s"


def format_value(value: object) -> str:
    """Returns any value of a JSON file as one line of text; None as "unknown"."""
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(format_value(entry) for entry in value) or "none"
    return str(value)


def keep_units(text: str) -> str:
    """Returns `text` with no line break between a number and its unit."""
    return re.sub(r"(?<=\d) (?=(%|[nµm]?s|[kMG]?B|points)\b|%)", "\u00a0", text)


def cut_middle(text: str, limit: int) -> str:
    """Returns `text` with at most `limit` characters: names often differ at their ends."""
    if len(text) <= limit:
        return text
    tail = limit // 2
    return f"{text[: limit - 1 - tail]}…{text[-tail:]}"


def cut(text: str, limit: int) -> str:
    """Returns `text` with at most `limit` characters, the last one "…" where it was cut."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"
