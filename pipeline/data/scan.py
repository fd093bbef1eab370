"""A table → per row, in integers: skipped or kept, a hash of the text, its set of labels."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfpipe.data.table import Cells, Table

MAX_TEXT_CHARACTERS = 1_000_000  # far above any sequence length; longer texts are cut and counted
MAX_LABELS = 10_000  # more means that the label column holds ids or texts
LABEL_SEPARATOR = "|"
NO_LABEL, NO_TEXT = "no label", "no text"
SURROGATES = range(0xD800, 0xE000)


class Labels:
    """Label names and sets of labels, numbered as they are first met.

    Attributes:
        names: The labels.
        sets: Distinct sets of labels, each a sorted tuple of indices into `names`.
    """

    def __init__(self) -> None:
        self.names: dict[str, int] = {}
        self.sets: dict[tuple[int, ...], int] = {}

    def index_of(self, names: Sequence[str]) -> int:
        """Returns the number of the set of these labels."""
        for name in names:
            if name not in self.names and len(self.names) == MAX_LABELS:
                raise ValueError(
                    f"there are more than {MAX_LABELS} different labels, the most that are taken. "
                    f"Does the label column hold ids or texts? Name another with --label-column."
                )
            self.names.setdefault(name, len(self.names))
        indices = tuple(sorted({self.names[name] for name in names}))
        return self.sets.setdefault(indices, len(self.sets))


@dataclass
class Scan:
    """What one pass over a table leaves in memory.

    Attributes:
        table: The table.
        kept: One byte a row, 1 if the row has a text and a label.
        hashes: 8 bytes a kept row: a digest of its text.
        codes: A kept row's set of labels, as an index into `Labels.sets`.
        skipped: Number of rows left out, by reason.
        notes: Number of rows that were kept and changed, by what was done.
        first_lines: The line where each note was made first.
    """

    table: Table
    kept: bytearray = field(default_factory=bytearray)
    hashes: bytearray = field(default_factory=bytearray)
    codes: array[int] = field(default_factory=lambda: array("i"))
    skipped: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    first_lines: dict[str, int] = field(default_factory=dict)

    @property
    def num_rows(self) -> int:
        return len(self.kept)

    def hash_array(self) -> NDArray[np.uint64]:
        return np.frombuffer(self.hashes, dtype="<u8").astype(np.uint64)

    def code_array(self) -> NDArray[np.int32]:
        return np.array(self.codes, dtype=np.int32)

    def note(self, what: str, line: int) -> None:
        self.notes[what] += 1
        self.first_lines.setdefault(what, line)


def scan_table(table: Table, labels: Labels, *, multi_label: bool) -> Scan:
    """Reads every row once; adds the labels it meets to `labels`.

    Raises:
        ValueError: A row is malformed, or a cell cannot be a text or a label.
    """
    scan = Scan(table)
    known: dict[str, int] = {}  # label cell → set of labels, as most cells repeat
    for cells in table.rows():
        text = scan_text(cells, scan)
        code = known.get(cells.label) if isinstance(cells.label, str) else None
        if code is None:
            names = scan_labels(cells, scan, multi_label=multi_label)
            code = labels.index_of(names) if names else -1
            if isinstance(cells.label, str) and cells.label == LABEL_SEPARATOR.join(names):
                known[cells.label] = code
        if code < 0 or not text:
            scan.skipped[NO_LABEL if code < 0 else NO_TEXT] += 1
            scan.kept.append(0)
            continue
        scan.kept.append(1)
        scan.codes.append(code)
        scan.hashes += digest_of(text)
    return scan


def scan_text(cells: Cells, scan: Scan) -> str:
    """Returns the row's text, "" for none, and notes what was done to it."""
    raw = cells.text
    try:
        text = clean_text(raw)
    except TypeError as error:
        raise ValueError(
            f"{scan.table.path}: line {cells.line}: the text in {scan.table.text_column!r} is "
            f"{error}. It must be a string."
        ) from error
    if text is not raw and isinstance(raw, str) and text:
        if len(raw) > MAX_TEXT_CHARACTERS:
            scan.note("cut", cells.line)
        if "\0" in raw:
            scan.note("nul", cells.line)
        if has_surrogate(raw):
            scan.note("surrogate", cells.line)
    return text


def digest_of(text: str) -> bytes:
    """Returns 8 bytes that tell texts apart."""
    return hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest()


def clean_text(cell: Any) -> str:
    """Returns the text that training and evaluation see; "" for none.

    Raises:
        TypeError: The cell is a list or an object.

    >>> clean_text("a\\0b"), clean_text(3), clean_text("  "), clean_text(None)
    ('a b', '3', '', '')
    """
    text = cell if isinstance(cell, str) else scalar_to_string(cell)
    if len(text) > MAX_TEXT_CHARACTERS:
        text = text[:MAX_TEXT_CHARACTERS]
    text = clean_characters(text)
    return "" if text.isspace() else text


def clean_characters(text: str) -> str:
    """Returns the text with NUL as a space, and U+FFFD for half a surrogate pair (from JSON)."""
    if "\0" in text:
        text = text.replace("\0", " ")
    if has_surrogate(text):
        text = "".join("\ufffd" if ord(c) in SURROGATES else c for c in text)
    return text


def has_surrogate(text: str) -> bool:
    if text.isascii():
        return False
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def scalar_to_string(value: Any) -> str:
    """Returns a JSON scalar as a string, as JSON writes it; "" for null.

    Raises:
        TypeError: The value is a list or an object.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, dict)):
        raise TypeError("a list" if isinstance(value, list) else "an object")
    return str(value)


def scan_labels(cells: Cells, scan: Scan, *, multi_label: bool) -> list[str]:
    """Returns the row's labels without repetition; [] for none.

    Raises:
        ValueError: A label holds a line end, or is a list where one label is wanted.
    """
    place = f"{scan.table.path}: line {cells.line}: the label in {scan.table.label_column!r}"
    if isinstance(cells.label, list) and not multi_label:
        raise ValueError(
            f"{place} is a list, but one label a text was asked for. Use --multi-label."
        )
    try:
        names = dict.fromkeys(split_labels(cells.label, multi_label=multi_label))
    except TypeError as error:
        wanted = "a string or a list of strings" if multi_label else "a string"
        raise ValueError(f"{place} is {error}. It must be {wanted}.") from error
    for name in names:
        if "\n" in name or "\r" in name:
            raise ValueError(
                f"{place} holds a line end: {name[:80]!r}. Labels are written one a line: "
                f"take the line end out."
            )
    if names and not multi_label and isinstance(cells.label, str) and cells.label not in names:
        scan.note("stripped", cells.line)
    return list(names)


def split_labels(cell: Any, *, multi_label: bool) -> Iterator[str]:
    """Yields the labels in a cell, without spaces around them and without empty ones."""
    parts = cell if isinstance(cell, list) else [cell]
    if multi_label and isinstance(cell, str):
        parts = cell.split(LABEL_SEPARATOR)
    for part in parts:
        label = clean_characters(scalar_to_string(part)).strip()
        if label:
            yield label
