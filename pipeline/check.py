"""A .tflite file → its ops, bytes by type and minimum runtime, read from the flatbuffer alone."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Generated from the schema of ai-edge-litert; it needs flatbuffers only, no runtime.
from ai_edge_litert import schema_py_generated as schema

from device_runner.interpreter import check_model_file

BUILTIN_NAMES = {
    value: name for name, value in vars(schema.BuiltinOperator).items() if name.isupper()
}
TYPE_NAMES = {
    value: name.lower() for name, value in vars(schema.TensorType).items() if name.isupper()
}
# What reading a damaged flatbuffer raises: offsets outside the file, lists and names that are none.
DAMAGE = (
    AttributeError, IndexError, KeyError, MemoryError, OverflowError, TypeError, ValueError,
    struct.error,
)  # fmt: skip
MIN_RUNTIME_KEY = "min_runtime_version"
# Every entry of a vector of tables is an offset of this size.
ENTRY_BYTES = 4


class Contents:
    """The tables of one file, read one at a time, never more than the file has room for.

    A damaged or hostile file can claim vectors of 2^32 entries, or let many tables share one.

    Args:
        data: The whole file.
    """

    def __init__(self, data: bytes) -> None:
        self.model = schema.Model.GetRootAs(data, 0)
        self.size_bytes = len(data)
        self._unread_bytes = len(data)

    def entries(self, table: Any, name: str) -> Iterator[Any]:
        """Yields the entries of a table's vector, such as the "Operators" of a subgraph."""
        length = getattr(table, f"{name}Length")()
        self._unread_bytes -= ENTRY_BYTES * length
        if self._unread_bytes < 0:
            raise ValueError(f"{length} {name} are more than the file has room for")
        for index in range(length):
            yield getattr(table, name)(index)

    def buffer(self, index: int) -> bytes | memoryview:
        """Returns the content of one buffer; over 2 GB it lies behind the flatbuffer."""
        if not 0 <= index < self.model.BuffersLength():
            raise IndexError(f"buffer {index} of {self.model.BuffersLength()}")
        buffer = self.model.Buffers(index)
        if buffer.Offset() > 1:
            start, end = buffer.Offset(), buffer.Offset() + buffer.Size()
            if end > self.size_bytes:
                raise IndexError(f"buffer {index} ends at {end} of {self.size_bytes} bytes")
            return memoryview(self.model._tab.Bytes)[start:end]
        return b"" if buffer.DataIsNone() else memoryview(buffer.DataAsNumpy())


def inspect_tflite(path: Path) -> dict[str, Any]:
    """Reads what a file is made of.

    Returns:
        "min_runtime": oldest runtime that has every op's version, as the converter recorded it, or
        None; "ops": {name: count} over all subgraphs, Flex and custom ops by their own names;
        "bytes_by_dtype": {dtype: bytes of constants}; "model_size_bytes"; "zip_size_bytes": size of
        the file alone after DEFLATE at level 9, which is what a zip or an APK stores.

    Raises:
        ValueError: Not a .tflite file, or a damaged one.
    """
    check_model_file(str(path))
    data = path.read_bytes()
    try:
        contents = Contents(data)
        found = {
            "min_runtime": read_min_runtime(contents),
            "ops": count_ops(contents),
            "bytes_by_dtype": count_bytes(contents),
        }
    except DAMAGE as error:
        raise ValueError(
            f"{path} ({len(data)} bytes) is damaged: {type(error).__name__} while reading it "
            f"({error}). Copy or export it again."
        ) from error
    return {
        **found,
        "model_size_bytes": len(data),
        "zip_size_bytes": len(zlib.compress(data, 9)),
    }


def count_ops(contents: Contents) -> dict[str, int]:
    """Returns {op name: count}, the most frequent first."""
    names = []
    for code in contents.entries(contents.model, "OperatorCodes"):
        # Files before schema 3a keep the code in the deprecated field alone.
        builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        name = BUILTIN_NAMES.get(builtin, f"BUILTIN_{builtin}")
        custom = code.CustomCode() or b""
        names.append(custom.decode("utf-8", "replace") or name)
    counts: Counter[str] = Counter()
    for graph in contents.entries(contents.model, "Subgraphs"):
        for operator in contents.entries(graph, "Operators"):
            counts[names[operator.OpcodeIndex()]] += 1
    if not counts:
        raise ValueError("there is no op in it")
    return dict(counts.most_common())


def count_bytes(contents: Contents) -> dict[str, int]:
    """Returns {dtype: bytes of constants}; a buffer that several tensors share counts once."""
    sizes: Counter[str] = Counter()
    seen = set()
    for graph in contents.entries(contents.model, "Subgraphs"):
        for tensor in contents.entries(graph, "Tensors"):
            if tensor.Buffer() in seen:
                continue
            seen.add(tensor.Buffer())
            sizes[TYPE_NAMES.get(tensor.Type(), f"type_{tensor.Type()}")] += len(
                contents.buffer(tensor.Buffer())
            )
    return {name: size for name, size in sizes.most_common() if size}


def read_min_runtime(contents: Contents) -> str | None:
    """Returns the version that the converter recorded in the file's metadata."""
    for entry in contents.entries(contents.model, "Metadata"):
        if entry.Name() == MIN_RUNTIME_KEY.encode():
            return bytes(contents.buffer(entry.Buffer())).rstrip(b"\0").decode() or None
    return None
