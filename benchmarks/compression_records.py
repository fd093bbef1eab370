"""Figures of finished cells ↔ the .json beside a page: they outlive the runs they were read from.

Runs are large and lie on one machine; a table of several days, or of several machines, is made of
these figures. A cell whose figures are of the same data is not made again; to have it made anew,
take it out of the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from device_runner.files import write_json_atomic

Record = dict[str, Any]


class Records:
    """The records of one kind in the .json beside a page.

    Attributes:
        path: Of the file.
        kind: Name of the list in it.
        key: Names of the values that tell one record from another, "seed" among them.
        table: Those that say which data a record is of.
    """

    def __init__(self, page: Path, kind: str, key: Sequence[str], table: Sequence[str]) -> None:
        self.path = page.with_suffix(".json")
        self.kind = kind
        self.key = tuple(key)
        self.table = tuple(table)
        self._known = {self._key_of(record): record for record in self._read().get(kind, [])}

    def find(self, *values: Any, data_sha256: str) -> Record:
        """Returns the record with these values of `key` if it is of that data, else {}."""
        record = self._known.get(values, {})
        return record if record.get("data_sha256") == data_sha256 else {}

    def select(self, **values: Any) -> list[Record]:
        """Returns the records that have all these values, in the order of their keys."""
        return [
            record
            for _, record in sorted(self._known.items())
            if all(record[name] == value for name, value in values.items())
        ]

    def add(self, found: Iterable[Record]) -> None:
        """Puts records in the place of those with the same key, and writes the file. Those of an
        earlier state of the same data go."""
        for record in found:
            names = {name: record[name] for name in self.table}
            for other in self.select(**names):
                if other["data_sha256"] != record["data_sha256"]:
                    del self._known[self._key_of(other)]
            self._known[self._key_of(record)] = record
        write_json_atomic(self.path, {**self._read(), self.kind: self.select()})

    def _key_of(self, record: Record) -> tuple[Any, ...]:
        return tuple(record[name] for name in self.key)

    def _read(self) -> dict[str, list[Record]]:
        return json.loads(self.path.read_text("utf-8")) if self.path.is_file() else {}
