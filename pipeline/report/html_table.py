"""Table of cells → an HTML table in a box that scrolls by itself, or cards on a phone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tfpipe.report.markup import Html, escape, tag
from tfpipe.report.table import Cell, Column, Table

# A table that is laid out as cards loses its roles unless they are given.
_ROLES = {
    "table": "table",
    "group": "rowgroup",
    "row": "row",
    "head": "columnheader",
    "first": "rowheader",
    "cell": "cell",
}


def html_table(table: Table, kind: str = "") -> Html:
    """Returns a table in a box of its own, which scrolls where the screen is too narrow.

    Args:
        table: Rows of cells; the first cell of a row is its heading.
        kind: Classes; "cards" shows every row as a card on a phone.
    """
    role = _ROLES if "cards" in kind else {}
    heads = [
        tag(
            "th",
            c.heading.replace("-", "\u2011"),  # a heading breaks at spaces only
            scope="col",
            role=role.get("head"),
            class_="number" * c.numeric or None,
        )
        for c in table.columns
    ]
    rows = [_row(row, table.columns, role) for row in table.rows]
    body = tag(
        "table",
        tag("caption", tag("span", table.caption or table.title)),
        tag("thead", tag("tr", *heads, role=role.get("row")), role=role.get("group")),
        tag("tbody", *rows, role=role.get("group")),
        role=role.get("table"),
        class_=kind or None,
    )
    return scroll_box(body, table.title)


def _row(row: Sequence[Cell], columns: Sequence[Column], role: Mapping[str, str]) -> Html:
    cells = [
        _cell(cell, column, role.get("cell"))
        for cell, column in zip(row[1:], columns[1:], strict=True)
    ]
    first = tag(
        "th",
        *_content(row[0]),
        scope="row",
        role=role.get("first"),
        dir="auto",
        title=row[0].title or None,
    )
    return tag("tr", first, *cells, role=role.get("row"))


def _cell(cell: Cell, column: Column, role: str | None) -> Html:
    kinds = ["number"] * column.numeric
    kinds += [column.heading.lower()] * (column.heading in ("Verdict", "Limits", "Reason"))
    return tag(
        "td",
        *_content(cell),
        role=role,
        class_=" ".join(kinds) or None,
        title=cell.title or None,
        data_label=column.heading,
    )


def _content(cell: Cell) -> list[Html]:
    shown = tag("span", cell.text, class_=f"tone-{cell.tone}") if cell.tone else escape(cell.text)
    return [shown, *([tag("small", cell.note)] if cell.note else [])]


def scroll_box(table: Html, name: str) -> Html:
    """Returns a box as wide as the page that scrolls by itself, also by keyboard."""
    return tag("div", table, class_="scroll", tabindex="0", role="region", aria_label=name)
