"""Confusion matrix → an HTML heat map that stays readable with many classes; worst pairs."""

from __future__ import annotations

from typing import Any

from tfpipe.report.markup import Html, join, tag
from tfpipe.report.table import Cell, Column, Table
from tfpipe.report.units import cut, format_count, format_percent

# With more classes a cell has no room for the percentage; it is then in the cell's title.
_PERCENT_CLASSES = 12
_LABEL_LENGTH = 16
_WORST_PAIRS = 10


def confusion_map(confusion: dict[str, Any]) -> Html:
    """Returns the matrix as a table: a row for each true label, shaded by its share of the row.

    Args:
        confusion: `labels` and `counts`, a row of counts for each true label.
    """
    labels, counts = confusion["labels"], confusion["counts"]
    roomy = len(labels) <= _PERCENT_CLASSES
    heads = [
        tag("th", tag("span", cut(label, _LABEL_LENGTH), dir="auto"), scope="col", title=label)
        for label in labels
    ]
    top = tag(
        "tr",
        tag("th", "true ↓", tag("br"), "predicted →", scope="col", class_="corner"),
        *heads,
        tag("th", tag("span", "right"), scope="col", title="recall: share of the row"),
    )
    rows = [_row(labels, index, counts[index], roomy) for index in range(len(labels))]
    note = "count and share of the row" if roomy else "count; the shade is the share of the row"
    caption = tag("caption", tag("span", f"Keras model on the test split: {note}."))
    kind = "confusion" if roomy else "confusion dense"
    return tag("table", caption, tag("thead", top), tag("tbody", *rows), class_=kind)


def _row(labels: list[str], index: int, row: list[int], roomy: bool) -> Html:
    total = sum(row)
    name = labels[index]
    cells = [
        _cell(f"{name} → {other}", count, total, diagonal=column == index, roomy=roomy)
        for column, (other, count) in enumerate(zip(labels, row, strict=True))
    ]
    head = tag(
        "th",
        tag("span", cut(name, _LABEL_LENGTH), dir="auto"),
        scope="row",
        title=f"{name}: {format_count(total)} texts",
    )
    recall = format_percent(row[index] / total) if total else "–"
    title = None if total else "unknown: no text of the test split has this label"
    return tag("tr", head, *cells, tag("td", recall, class_="recall", title=title))


def _cell(pair: str, count: int, total: int, *, diagonal: bool, roomy: bool) -> Html:
    share = count / total if total else 0.0
    percent = f"{100 * share:.0f} %" if share == 0 or share >= 0.005 else "<1 %"
    note = tag("small", percent) if roomy and total else Html("")
    return tag(
        "td",
        format_count(count) if count or diagonal or roomy else "·",
        note,
        title=f"{pair}: {format_count(count)} ({percent})",
        # A square root would exaggerate; the floor only keeps single mistakes visible.
        style=f"--share:{max(share, 0.1):.2f}" if count else None,
        class_="hit" if diagonal else None,
    )


def worst_pairs(confusion: dict[str, Any]) -> Table:
    """Returns the most frequent mistakes, most frequent first."""
    labels, counts = confusion["labels"], confusion["counts"]
    mistakes = [
        (count, row, column)
        for row, line in enumerate(counts)
        for column, count in enumerate(line)
        if row != column and count
    ]
    mistakes.sort(key=lambda mistake: (-mistake[0], mistake[1:]))
    rows = tuple(
        (
            Cell(labels[row]),
            Cell(labels[column]),
            Cell(format_count(count)),
            Cell(format_percent(count / sum(counts[row]))),
        )
        for count, row, column in mistakes[:_WORST_PAIRS]
    )
    columns = (
        Column("True label"),
        Column("Predicted label"),
        Column("Texts", numeric=True),
        Column("Share of the true label", numeric=True),
    )
    return Table("Most frequent mistakes", f"At most {_WORST_PAIRS}.", columns, rows)


def caption_of(confusion: dict[str, Any]) -> Html:
    """Returns the sentence above the matrix: how many texts, how many of them right."""
    counts = confusion["counts"]
    total = sum(map(sum, counts))
    right = sum(counts[i][i] for i in range(len(counts)))
    return tag(
        "p", join([f"{format_count(right)} of {format_count(total)} texts on the diagonal."])
    )
