"""What a .tflite file holds: graphs, operators, tensors and their names, as plain values."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any

# Generated from the schema of ai-edge-litert; it needs flatbuffers only, no runtime.
from ai_edge_litert import schema_py_generated as schema

from tfpipe.check.flatbuffer import DamagedFileError

BUILTIN_NAMES = {
    value: name for name, value in vars(schema.BuiltinOperator).items() if name.isupper()
}
TYPE_NAMES = {
    value: name.lower() for name, value in vars(schema.TensorType).items() if name.isupper()
}
OPTION_TYPES = {
    value: name for name, value in vars(schema.BuiltinOptions).items() if name[0].isupper()
}
MIN_RUNTIME_KEY = "min_runtime_version"
BITS = {
    "int2": 2, "int4": 4, "uint4": 4, "int8": 8, "uint8": 8, "bool": 8,
    "int16": 16, "uint16": 16, "float16": 16, "bfloat16": 16, "int32": 32, "uint32": 32,
    "float32": 32, "int64": 64, "uint64": 64, "float64": 64, "complex64": 64, "complex128": 128,
}  # fmt: skip
FLOAT_TYPES = frozenset({"float16", "bfloat16", "float32", "float64"})
QUANTIZED_TYPES = frozenset({"int2", "int4", "int8", "uint8", "int16"})
# What the generated readers of options raise at damaged offsets: struct.error is a kind of
# Exception of its own, the others come of wrong types.
OPTION_DAMAGE = (AttributeError, IndexError, MemoryError, OverflowError, TypeError, ValueError)


@dataclass(frozen=True)
class Tensor:
    """One tensor of a graph.

    Attributes:
        index: Its number in the graph.
        name: As written, possibly empty.
        dtype: Such as "float32"; "type_99" where the schema has none of that number.
        shape: Sizes; a dynamic one stands as 1 here and as -1 in the signature.
        signature: Sizes with -1 for what is only known at run time.
        buffer: Number of its buffer, which several tensors may share.
        data: Its constant content; None where the runtime fills it.
        is_variable: Whether it keeps its content from one call to the next.
        scales: Quantization scales; one, or one for each index of `axis`.
        num_zero_points: Their number.
        axis: The quantized dimension.
        is_sparse: Whether `data` is packed.
    """

    index: int
    name: str
    dtype: str
    shape: tuple[int, ...]
    signature: tuple[int, ...]
    buffer: int
    data: memoryview | None = field(repr=False)
    is_variable: bool
    scales: tuple[float, ...] = field(repr=False)
    num_zero_points: int
    axis: int
    is_sparse: bool

    @property
    def elements(self) -> int:
        """Number of values, dynamic sizes counted as 1."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int | None:
        """Bytes of the values without padding; None for strings, resources and the like."""
        bits = BITS.get(self.dtype)
        return None if bits is None else -(-self.elements * bits // 8)

    @property
    def is_dynamic(self) -> bool:
        """Whether a size is only known at run time."""
        return any(size < 0 for size in (*self.signature, *self.shape))

    @property
    def label(self) -> str:
        """How messages name it."""
        sizes = ",".join(map(str, self.signature))
        return f"tensor {self.index} ({self.name[:60] or 'no name'}, {self.dtype} [{sizes}])"


@dataclass(frozen=True)
class OperatorCode:
    """One entry of the file's list of operators: the name, and the version that it needs."""

    name: str
    version: int
    is_custom: bool


@dataclass(frozen=True)
class Operator:
    """One node of a graph; inputs and outputs are tensor indices, -1 for one left out."""

    code: OperatorCode
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options_type: str
    options_position: int
    bytes_of_file: bytes = field(repr=False)

    @property
    def name(self) -> str:
        """The builtin or custom name."""
        return self.code.name

    def option(self, table: str, name: str, default: Any = 0) -> Any:
        """Returns one builtin option, such as ("WhileOptions", "BodySubgraphIndex").

        Raises:
            DamagedFileError: The options cannot be read.
        """
        if self.options_type != table or not self.options_position:
            return default
        reader = getattr(schema, table)()
        reader.Init(self.bytes_of_file, self.options_position)
        try:
            return getattr(reader, name)()
        except (*OPTION_DAMAGE, schema.flatbuffers.packer.struct.error) as error:
            raise DamagedFileError(f"the options of an operator {self.name}: {error}") from error


@dataclass(frozen=True)
class Graph:
    """One subgraph."""

    index: int
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def tensor(self, index: int) -> Tensor | None:
        """Returns a tensor; None for one left out or out of range."""
        return self.tensors[index] if 0 <= index < len(self.tensors) else None


@dataclass(frozen=True)
class Model:
    """A whole file.

    Attributes:
        schema_version: 3 in every file that the runtimes read.
        codes: The list of operators, also those that no node uses.
        graphs: The subgraphs; the first is what an interpreter runs by default.
        signatures: {key: subgraph index}.
        metadata: {name: content}.
        size_bytes: Of the file.
    """

    schema_version: int
    codes: tuple[OperatorCode, ...]
    graphs: tuple[Graph, ...]
    signatures: dict[str, int]
    metadata: dict[str, bytes] = field(repr=False)
    size_bytes: int

    @property
    def recorded_min_runtime(self) -> str | None:
        """Oldest runtime, as the converter recorded it; None where that is no release."""
        text = self.metadata.get(MIN_RUNTIME_KEY, b"").rstrip(b"\0").decode("utf-8", "replace")
        return text if re.fullmatch(r"[0-9]{1,5}(\.[0-9]{1,5}){1,3}", text) else None
