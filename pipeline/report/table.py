"""Rows of cells → Markdown and aligned plain text; Cell, Column and Table, which HTML shares."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from tfpipe.report.units import UNKNOWN

TERMINAL_WIDTH = 100
_GAP = "  "


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: What it says.
        note: Second, smaller line: a sample size, a reason.
        title: Explanation for whoever asks (tool tip).
        short: What it says on a terminal, if not `text`.
        tone: "good", "bad", "warn" or "".
    """

    text: str
    note: str = ""
    title: str = ""
    short: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Column:
    """One column: its heading, the short heading of terminals, and whether it holds numbers."""

    heading: str
    short: str = ""
    numeric: bool = False


@dataclass(frozen=True)
class Table:
    """A titled table; every row has one cell for each column, the first names the row."""

    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


def unknown(why: str) -> Cell:
    """Returns the cell of a value that is not known."""
    return Cell(UNKNOWN, title=f"unknown: {why}")


def escape_markdown(text: str) -> str:
    """Returns `text` as one line that Markdown shows as it is, also within a table."""
    line = re.sub(r"\s+", " ", text).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*_\[\]|#~>$])", r"\\\1", line)


def markdown_table(table: Table) -> str:
    """Returns a Markdown table, the caption above it; notes stand behind the text."""
    heading = [escape_markdown(column.heading) for column in table.columns]
    rule = ["---:" if column.numeric else "---" for column in table.columns]
    body = [
        [escape_markdown(f"{cell.text} ({cell.note})" if cell.note else cell.text) for cell in row]
        for row in table.rows
    ]
    lines = [f"| {' | '.join(cells)} |" for cells in [heading, rule, *body]]
    caption = [escape_markdown(table.caption), ""] if table.caption else []
    return "\n".join([*caption, *lines]) + "\n"


def text_table(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> str:
    """Returns an aligned table of at most `TERMINAL_WIDTH` columns.

    The first column is cut where the rest leaves no room for it.
    """
    heading = [column.short or column.heading for column in columns]
    body = [[one_line(cell.short or cell.text) for cell in row] for row in rows]
    widths = [max(map(text_width, column)) for column in zip(heading, *body, strict=True)]
    rest = sum(widths[1:]) + len(_GAP) * (len(widths) - 1)
    widths[0] = max(1, min(widths[0], TERMINAL_WIDTH - rest))
    lines = [heading, ["-" * width for width in widths], *body]
    return "".join(_line(cells, columns, widths) + "\n" for cells in lines)


def _line(cells: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> str:
    parts = []
    for cell, column, width in zip(cells, columns, widths, strict=True):
        shown = cut_to_width(cell, width)
        padding = " " * (width - text_width(shown))
        parts.append(padding + shown if column.numeric else shown + padding)
    return _GAP.join(parts).rstrip()


def one_line(text: str) -> str:
    """Returns `text` without line breaks and control characters, which a terminal would obey."""
    joiners = "\u200c\u200d"  # part of the spelling in Persian and the scripts of India
    line = re.sub(r"\s+", " ", text)
    return "".join(c if c.isprintable() or c in joiners else "\ufffd" for c in line)


def text_width(text: str) -> int:
    """Returns the terminal columns of `text`: East Asian wide characters take two."""
    return sum(_character_width(character) for character in text)


def _character_width(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut_to_width(text: str, width: int) -> str:
    """Returns `text` in at most `width` terminal columns, its middle replaced by "…" if need be."""
    if text_width(text) <= width:
        return text
    head, tail = text, ""
    while text_width(head) > width // 2:
        head = head[:-1]
    for character in reversed(text):
        if text_width(head + "…" + character + tail) > width:
            break
        tail = character + tail
    return f"{head}…{tail}"
