"""A .tflite file → its ops, bytes by type and minimum runtime, read from the flatbuffer alone."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
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
    AttributeError,
    IndexError,
    KeyError,
    MemoryError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)
MIN_RUNTIME_KEY = "min_runtime_version"


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
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(data, 0))
        content = {
            "min_runtime": read_min_runtime(model),
            "ops": count_ops(model),
            "bytes_by_dtype": count_bytes(model),
        }
    except DAMAGE as error:
        raise ValueError(
            f"{path} ({len(data)} bytes) is damaged: {type(error).__name__} while reading it. "
            "Copy or export it again."
        ) from error
    return {
        **content,
        "model_size_bytes": len(data),
        "zip_size_bytes": len(zlib.compress(data, 9)),
    }


def count_ops(model: Any) -> dict[str, int]:
    """Returns {op name: count}, the most frequent first."""
    names = []
    for code in model.operatorCodes:
        # Files before schema 3a keep the code in the deprecated field alone.
        builtin = max(code.builtinCode, code.deprecatedBuiltinCode)
        custom = code.customCode.decode() if code.customCode else ""
        names.append(custom or BUILTIN_NAMES.get(builtin, f"BUILTIN_{builtin}"))
    counts = Counter(
        names[operator.opcodeIndex] for graph in model.subgraphs for operator in graph.operators
    )
    return dict(counts.most_common())


def count_bytes(model: Any) -> dict[str, int]:
    """Returns {dtype: bytes of constants}; a buffer that several tensors share counts once."""
    sizes: Counter[str] = Counter()
    seen = set()
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            buffer = model.buffers[tensor.buffer]
            if tensor.buffer not in seen and buffer.data is not None:
                seen.add(tensor.buffer)
                sizes[TYPE_NAMES.get(tensor.type, f"type_{tensor.type}")] += len(buffer.data)
    return dict(sizes.most_common())


def read_min_runtime(model: Any) -> str | None:
    """Returns the version that the converter recorded in the file's metadata."""
    for entry in model.metadata or []:
        if entry.name.decode() == MIN_RUNTIME_KEY:
            text = bytes(model.buffers[entry.buffer].data).rstrip(b"\0").decode()
            return text or None
    return None
