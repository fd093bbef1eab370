"""A .csv, .tsv or .jsonl file → the text cell and the label cell of each row, in order."""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from tfpipe.data.text_file import MAX_CELL_CHARACTERS, is_gzip, read_lines

FORMATS = ("csv", "tsv", "jsonl")
# Looked for in this order, without regard to case, when no column is named.
TEXT_COLUMNS = (
    "text sentence content message document body review comment utterance query question "
    "description tweet post title"
).split()
LABEL_COLUMNS = (
    "label labels category categories class intent topic target sentiment tag tags section"
).split()
JSON_ROWS_FOR_COLUMNS = 100  # rows whose keys are the columns of a .jsonl file
JSON_TYPES = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}


class Cells(NamedTuple):
    """One row.

    Attributes:
        line: Number of the line the row begins on, from 1.
        text: Cell of the text column; a string, or any JSON value.
        label: Cell of the label column; a string, or any JSON value.
    """

    line: int
    text: Any
    label: Any


@dataclass(frozen=True)
class Table:
    """A table file whose text and label columns are known.

    Attributes:
        path: The file, plain or gzipped.
        format: One of `FORMATS`.
        columns: Names of all columns.
        text_column: Name of the column with the texts.
        label_column: Name of the column with the labels.
        has_header: Whether the first row holds the columns' names.
        quoted: Whether quotes enclose cells (else they are plain characters).
        delimiter: What separates cells; .jsonl has none.
    """

    path: Path
    format: str
    columns: tuple[str, ...]
    text_column: str
    label_column: str
    has_header: bool = True
    quoted: bool = True
    delimiter: str = ","

    def rows(self) -> Iterator[Cells]:
        """Reads the file from its start.

        Raises:
            ValueError: A row is malformed; the message says which line and how.
        """
        return self._json_rows() if self.format == "jsonl" else self._delimited_rows()

    def _delimited_rows(self) -> Iterator[Cells]:
        text, label = (self.columns.index(c) for c in (self.text_column, self.label_column))
        width = len(self.columns)
        records = read_records(self.path, delimiter=self.delimiter, quoted=self.quoted)
        for line, record in islice(records, int(self.has_header), None):
            if len(record) != width:
                raise ValueError(
                    f"{self.path}: line {line} has {len(record)} cells, the header has {width} "
                    f"({shorten(self.columns)}). Enclose a cell that holds a separator in quotes."
                )
            yield Cells(line, record[text], record[label])

    def _json_rows(self) -> Iterator[Cells]:
        for line, value in read_objects(self.path):
            yield Cells(line, value.get(self.text_column), value.get(self.label_column))


def open_table(
    path: Path,
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    columns: Sequence[str] | None = None,
) -> Table:
    """Finds a file's format, columns, separator and quoting.

    Args:
        path: A `.csv`, `.tsv` or `.jsonl` file, plain or with `.gz` after it.
        text_column: Name of the text column; None looks for `TEXT_COLUMNS`.
        label_column: Name of the label column; None looks for `LABEL_COLUMNS`.
        columns: Names of the columns of a file that has neither header nor quotes.

    Raises:
        ValueError: Another kind of file, an empty one, or the columns are not there.
    """
    format = format_of(path)
    quoted = columns is None and (format != "tsv" or tsv_is_quoted(path))
    delimiter = "\t" if format == "tsv" else ","
    names = tuple(columns or column_names(path, format, delimiter=delimiter, quoted=quoted))
    if format == "csv" and len(names) == 1 and ";" in names[0]:
        delimiter = ";"  # as spreadsheets write where the comma separates decimals
        names = tuple(column_names(path, format, delimiter=delimiter, quoted=quoted))
    if not names:
        raise ValueError(f"{path} is empty. It needs {describe_need(format)}.")
    text = choose_column(path, names, text_column, "text", TEXT_COLUMNS)
    label = choose_column(path, names, label_column, "label", LABEL_COLUMNS)
    if text == label:
        raise ValueError(
            f"{path}: column {text!r} cannot be the text and the label. Columns there: "
            f"{shorten(names)}. Name them with --text-column and --label-column."
        )
    return Table(path, format, names, text, label, columns is None, quoted, delimiter)


def format_of(path: Path) -> str:
    name = path.with_suffix("") if is_gzip(path) else path
    format = name.suffix.lower().lstrip(".")
    if format not in FORMATS:
        raise ValueError(
            f"{path}: unknown kind of file. It must end in .csv, .tsv or .jsonl, each also with "
            f".gz after it."
        )
    return format


def describe_need(format: str) -> str:
    return "an object a line" if format == "jsonl" else "a header row and data rows"


def column_names(path: Path, format: str, *, delimiter: str, quoted: bool) -> list[str]:
    """Returns the header's cells, or the keys of the first objects; [] for an empty file."""
    if format == "jsonl":
        keys: dict[str, None] = {}
        for _, value in islice(read_objects(path), JSON_ROWS_FOR_COLUMNS):
            keys.update(dict.fromkeys(value))
        return list(keys)
    records = read_records(path, delimiter=delimiter, quoted=quoted)
    return [name.strip() for _, record in islice(records, 1) for name in record]


def choose_column(
    path: Path, names: Sequence[str], wanted: str | None, kind: str, defaults: Sequence[str]
) -> str:
    """Returns the column's name as it stands in the file."""
    folded = [name.casefold() for name in names]
    candidates = defaults if wanted is None else [wanted.strip().casefold()]
    found = wanted if wanted in names else None
    for candidate in candidates:
        if found is None and candidate in folded:
            found = names[folded.index(candidate)]
    if found is None:
        asked = f"no column {wanted!r}" if wanted is not None else f"no {kind} column is known"
        hint = " Is the first line a header, and are the cells separated by commas or tabs?"
        raise ValueError(
            f"{path}: {asked} among {shorten(names)}. Say which column holds the {kind}s with "
            f"--{kind}-column NAME.{hint if wanted is None else ''}"
        )
    if list(names).count(found) > 1:
        raise ValueError(
            f"{path}: column {found!r} is there {list(names).count(found)} times "
            f"({shorten(names)}). Rename all but one."
        )
    return found


def shorten(names: Sequence[str], limit: int = 20) -> str:
    """Returns names in quotes, long ones and long lists cut."""
    shown = [repr(name if len(name) <= 40 else name[:39] + "…") for name in names[:limit]]
    more = [f"and {len(names) - limit} more"] if len(names) > limit else []
    return ", ".join(shown + more)


def read_records(path: Path, *, delimiter: str, quoted: bool) -> Iterator[tuple[int, list[str]]]:
    """Yields `(line, cells)` for each row that is not blank; `line` is where the row begins."""
    # The limit is one for the whole process; it is only ever raised.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_CELL_CHARACTERS))
    reader = csv.reader(
        read_lines(path, newline=""),
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        strict=True,
    )
    line = 1
    try:
        for record in reader:
            if record:
                yield line, record
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(describe_csv_error(path, line, str(error))) from error


def describe_csv_error(path: Path, line: int, error: str) -> str:
    if "field larger" in error:
        return (
            f"{path}: the row at line {line} has a cell of more than {MAX_CELL_CHARACTERS} "
            f"characters, the longest that is read. Is there a quote that is never closed?"
        )
    if "unexpected end" in error:
        return f"{path}: a quote opened in the row at line {line} is never closed. Close it."
    return f'{path}: line {line}: {error}. Inside a quoted cell, write a quote twice ("").'


def tsv_is_quoted(path: Path) -> bool:
    """Tells whether quotes enclose cells in a .tsv file.

    Spreadsheets quote cells there, most other programs write quotes as plain characters. They are
    plain if some row breaks the rules of quoting, or if a cell would hold a tab and a line end.
    """
    if not any('\t"' in line or line.startswith('"') for line in read_lines(path, newline="")):
        return False
    try:
        for _, record in read_records(path, delimiter="\t", quoted=True):
            if any("\t" in cell and "\n" in cell for cell in record):
                return False
    except ValueError as error:
        if isinstance(error.__cause__, csv.Error):
            return False
        raise
    return True


def read_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields `(line, object)` for each line of a .jsonl file that is not blank."""
    for line, content in enumerate(read_lines(path, newline="\n"), start=1):
        if content.isspace():
            continue
        try:
            value = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"{path}: line {line} is not JSON ({error}). Each line must be one JSON object."
            ) from error
        if not isinstance(value, dict):
            raise ValueError(
                f"{path}: line {line} is {JSON_TYPES.get(type(value), 'a number or null')}. Each "
                "line must be one JSON object with a text and a label."
            )
        yield line, value
