"""Files of a run folder → checked values; a damaged file → ValueError that names file and fix."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HISTORY_COLUMNS = (
    "epoch",
    "loss",
    "accuracy",
    "val_loss",
    "val_accuracy",
    "learning_rate",
    "seconds",
)
_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Node:
    """One JSON object of a file, read key by key: a missing key is None, a wrong type an error.

    Attributes:
        values: The object.
        where: File, and the keys that lead to the object, for messages.
        fix: What the user can do about a damaged file.
    """

    values: dict[str, Any]
    where: str
    fix: str

    def _refuse(self, key: str, limit: str) -> ValueError:
        received = repr(self.values.get(key))[:80]
        return ValueError(f"{self.where}: {key}={received} is not {limit}. {self.fix}")

    def number(self, key: str) -> float | None:
        """Returns a finite number, or None where the key is missing or null (NaN is read so)."""
        value = self.values.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self._refuse(key, "a number")
        return value

    def integer(self, key: str) -> int | None:
        """Returns a whole number, or None where the key is missing or null."""
        value = self.number(key)
        if value is not None and value != int(value):
            raise self._refuse(key, "a whole number")
        return None if value is None else int(value)

    def text(self, key: str) -> str | None:
        """Returns a string, or None where the key is missing or null."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, str):
            raise self._refuse(key, "a text")
        return value

    def flag(self, key: str) -> bool | None:
        """Returns true or false, or None where the key is missing or null."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, bool):
            raise self._refuse(key, "true or false")
        return value

    def child(self, key: str) -> Node:
        """Returns the object under `key`; an empty one where it is missing or null."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, dict):
            raise self._refuse(key, "an object")
        return Node(value or {}, f"{self.where}: {key}", self.fix)

    def children(self, key: str) -> list[Node]:
        """Returns the list of objects under `key`; an empty one where it is missing or null."""
        entries = self._list(key)
        if not all(isinstance(entry, dict) for entry in entries):
            raise self._refuse(key, "a list of objects")
        return [
            Node(entry, f"{self.where}: {key}[{i}]", self.fix) for i, entry in enumerate(entries)
        ]

    def texts(self, key: str) -> list[str]:
        """Returns the list of strings under `key`; an empty one where it is missing or null."""
        entries = self._list(key)
        if not all(isinstance(entry, str) for entry in entries):
            raise self._refuse(key, "a list of texts")
        return entries

    def integers(self, key: str) -> list[int]:
        """Returns the list of whole numbers under `key`; an empty one where it is missing."""
        entries = self._list(key)
        if not all(type(entry) is int for entry in entries):
            raise self._refuse(key, "a list of whole numbers")
        return entries

    def numbers(self, key: str) -> list[float]:
        """Returns the list of finite numbers under `key`; an empty one where it is missing."""
        entries = self._list(key)
        if not all(type(entry) in (int, float) for entry in entries):
            raise self._refuse(key, "a list of numbers")
        return entries

    def counts(self, key: str) -> dict[str, int]:
        """Returns the object name → whole number under `key`; {} where it is missing or null."""
        node = self.child(key)
        found = {name: node.integer(name) for name in node.values}
        return {name: value for name, value in found.items() if value is not None}

    def _list(self, key: str) -> list[Any]:
        value = self.values.get(key)
        if value is not None and not isinstance(value, list):
            raise self._refuse(key, "a list")
        return value or []


def _without_surrogates(value: Any) -> Any:
    """Returns `value` with lone surrogates, which UTF-8 cannot hold, as U+FFFD."""
    if isinstance(value, str):
        return _SURROGATES.sub("\ufffd", value)
    if isinstance(value, list):
        # Lists of measured numbers are long and hold no text.
        return [e if type(e) is int else _without_surrogates(e) for e in value]
    if isinstance(value, dict):
        return {_without_surrogates(k): _without_surrogates(v) for k, v in value.items()}
    return value


def read_json(path: Path, fix: str) -> Node:
    """Reads a JSON file that holds one object.

    Args:
        path: File to read.
        fix: Sentence for the message of a damaged file: what the user can do.

    Raises:
        ValueError: Not UTF-8, not JSON, or not an object.
        OSError: The file cannot be read.
    """
    data = path.read_bytes()
    try:
        value = json.loads(data.decode("utf-8"), parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError) as error:  # also: not UTF-8, a number too long to read
        raise ValueError(f"{path} is not valid JSON: {error}. {fix}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds {type(value).__name__}, not a JSON object. {fix}")
    return Node(_without_surrogates(value), str(path), fix)


def _finite(text: str) -> float | None:
    """Returns a JSON number with a fraction or exponent; NaN and infinite ones as None."""
    value = float(text)
    return value if math.isfinite(value) else None


def require_schema(node: Node, supported: int) -> None:
    """Refuses a file of another layout.

    Raises:
        ValueError: `schema_version` is given and is not `supported`.
    """
    version = node.values.get("schema_version", supported)
    if type(version) is not int or version != supported:
        raise ValueError(
            f"{node.where}: schema_version={version!r}, but this tfpipe reads {supported}. "
            "Use the tfpipe that wrote it."
        )


def read_history(path: Path) -> dict[str, list[float | None]]:
    """Reads train/history.csv by columns; NaN, infinite and empty cells are None.

    Raises:
        ValueError: A cell is neither empty nor a number; the message names file and line.
    """
    columns: dict[str, list[float | None]] = {name: [] for name in HISTORY_COLUMNS}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    header = lines[0].split(",") if lines else []
    for number, line in enumerate(lines[1:], start=2):
        cells = dict(zip(header, line.split(","), strict=False))
        for name, values in columns.items():
            values.append(_cell(cells.get(name, ""), f"{path}, line {number}: {name}"))
    return columns


def _cell(text: str, where: str) -> float | None:
    """Returns one cell of history.csv as a finite number or None."""
    try:
        value = float(text) if text.strip() else math.nan
    except ValueError as error:
        raise ValueError(
            f"{where}={text[:40]!r} is not a number. Delete the file to have a report without "
            "training curves, or train again with --overwrite."
        ) from error
    return value if math.isfinite(value) else None
