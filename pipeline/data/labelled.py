"""A labelled file → its texts and labels, row by row, without splits."""

from collections.abc import Iterator
from pathlib import Path

from tfpipe.data.scan import Scan, scan_labels, scan_text
from tfpipe.data.table import open_table


def read_labelled(
    path: Path, *, text_column: str | None, label_column: str | None, multi_label: bool
) -> Iterator[tuple[str, list[str]]]:
    """Yields (text, labels) of each row that has both; texts are cleaned as in training.

    Raises:
        ValueError: The file or a row is malformed; see `open_dataset`.
    """
    table = open_table(path, text_column=text_column, label_column=label_column)
    scan = Scan(table)
    for cells in table.rows():
        text = scan_text(cells, scan)
        labels = scan_labels(cells, scan, multi_label=multi_label)
        if text and labels:
            yield text, labels
