"""Bytes of a flatbuffer → tables, read one at a time and never outside the file."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

# A file may let two vectors share their entries, as a shared table or string does, but not so often
# that reading it takes hours: every entry read counts against this many times the file's size.
MAX_SHARING = 4
# Each takes about 20 us to read; the largest files known have some 50,000 tensors and operators.
MAX_TABLES = 300_000
# Longer names are cut; only people read them.
MAX_TEXT_BYTES = 500
# Offsets of flatbuffers have 4 bytes (https://flatbuffers.dev/internals/).
OFFSET_BYTES = 4


class DamagedFileError(ValueError):
    """An offset, length or value that no writer of flatbuffers makes."""


class Flatbuffer:
    """A file's bytes, with how much of them may still be read.

    Args:
        data: The whole file.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._unread_bytes = MAX_SHARING * len(data)
        self._unread_tables = MAX_TABLES
        self._vtables: dict[int, tuple[int, ...]] = {}

    def root(self) -> Table:
        """Returns the table that the first offset points at."""
        return self.table(self.number("<I", 0))

    def number(self, code: str, position: int) -> Any:
        """Returns the scalar of `struct` code `code` at an absolute position."""
        if position < 0:
            raise DamagedFileError(f"offset {position} lies before the file")
        try:
            return struct.unpack_from(code, self.data, position)[0]
        except struct.error as error:
            raise DamagedFileError(
                f"offset {position} lies behind its {len(self.data)} bytes"
            ) from error

    def table(self, position: int) -> Table:
        """Returns the table at an absolute position."""
        self._unread_tables -= 1
        if self._unread_tables < 0:
            raise DamagedFileError(f"it has more than {MAX_TABLES} tables")
        vtable = position - self.number("<i", position)
        fields = self._vtables.get(vtable)
        if fields is None:
            fields = self._vtables[vtable] = self._read_vtable(vtable)
        if position + fields[0] > len(self.data):
            raise DamagedFileError(f"a table at {position} ends behind the file")
        return Table(self, position, fields)

    def _read_vtable(self, position: int) -> tuple[int, ...]:
        """Returns the table's size in bytes and then the offset of each field, 0 where absent."""
        size = self.number("<H", position)
        if size < 4 or size % 2 or position + size > len(self.data):
            raise DamagedFileError(f"a table's list of fields at {position} has {size} bytes")
        return struct.unpack_from(f"<{size // 2 - 1}H", self.data, position + 2)

    def vector(self, position: int, entry_bytes: int, what: str) -> tuple[int, int]:
        """Returns (position of the first entry, length) of the vector at a position."""
        length = self.number("<I", position)
        self._unread_bytes -= length * entry_bytes
        if position + 4 + length * entry_bytes > len(self.data) or self._unread_bytes < 0:
            raise DamagedFileError(f"{length} {what} are more than the file has room for")
        return position + 4, length


class Table:
    """One table; its fields have the numbers of the schema's order.

    Args:
        buffer: The file.
        position: Where the table begins.
        fields: Its size and its fields' offsets.
    """

    __slots__ = ("_buffer", "_fields", "position")

    def __init__(self, buffer: Flatbuffer, position: int, fields: tuple[int, ...]) -> None:
        self._buffer = buffer
        self._fields = fields
        self.position = position

    def _place(self, field: int) -> int:
        """Returns the absolute position of a field, 0 where the table has none."""
        offset = self._fields[field + 1] if field + 1 < len(self._fields) else 0
        return self.position + offset if offset else 0

    def _target(self, field: int) -> int:
        """Returns what an offset field points at, 0 where the table has none."""
        place = self._place(field)
        return place + int(self._buffer.number("<I", place)) if place else 0

    @property
    def file(self) -> bytes:
        """The bytes of the whole file."""
        return self._buffer.data

    def number(self, field: int, code: str, default: int = 0) -> int:
        """Returns a scalar field of `struct` code `code`."""
        place = self._place(field)
        return int(self._buffer.number(code, place)) if place else default

    def table(self, field: int) -> Table | None:
        """Returns the table that a field points at."""
        target = self._target(field)
        return self._buffer.table(target) if target else None

    def tables(self, field: int, what: str) -> Iterator[Table]:
        """Yields the entries of a vector of tables; `what` names them in an error."""
        target = self._target(field)
        if not target:
            return
        start, length = self._buffer.vector(target, OFFSET_BYTES, what)
        for place in range(start, start + OFFSET_BYTES * length, OFFSET_BYTES):
            yield self._buffer.table(place + self._buffer.number("<I", place))

    def numbers(self, field: int, dtype: str, what: str) -> tuple[Any, ...] | None:
        """Returns a vector of scalars of a NumPy type, None where the table has none."""
        target = self._target(field)
        if not target:
            return None
        size = np.dtype(dtype).itemsize
        start, length = self._buffer.vector(target, size, what)
        return tuple(np.frombuffer(self._buffer.data, dtype, length, start).tolist())

    def data(self, field: int, what: str) -> memoryview | None:
        """Returns a vector of bytes without copying it, None where the table has none."""
        target = self._target(field)
        if not target:
            return None
        length = self._buffer.number("<I", target)
        if target + 4 + length > len(self._buffer.data):
            raise DamagedFileError(f"{length} bytes of {what} are more than the file has room for")
        return memoryview(self._buffer.data)[target + 4 : target + 4 + length]

    def text(self, field: int, what: str) -> str | None:
        """Returns a string, what no terminal should see replaced, None where the table has none."""
        content = self.data(field, what)
        if content is None:
            return None
        text = bytes(content[:MAX_TEXT_BYTES]).decode("utf-8", "replace")
        return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
