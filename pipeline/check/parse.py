"""The bytes of a .tflite file → its model; indices of tensors are checked later."""

from __future__ import annotations

from tfpipe.check.flatbuffer import DamagedFileError, Flatbuffer, Table
from tfpipe.check.model import (
    BUILTIN_NAMES,
    OPTION_TYPES,
    TYPE_NAMES,
    Graph,
    Model,
    Operator,
    OperatorCode,
    Tensor,
)

# The runtimes compute with up to 8 dimensions; a product of millions of sizes would take minutes.
MAX_RANK = 64


def read_model(data: bytes) -> Model:
    """Reads a whole file.

    Raises:
        DamagedFileError: Offsets, lengths or indices that no writer makes.
    """
    root = Flatbuffer(data).root()
    buffers = [read_buffer(table, data) for table in root.tables(4, "Buffers")]
    codes = tuple(read_code(table) for table in root.tables(1, "OperatorCodes"))
    graphs = tuple(
        read_graph(table, index, codes, buffers)
        for index, table in enumerate(root.tables(2, "Subgraphs"))
    )
    if not graphs:
        raise DamagedFileError("there is no subgraph in it")
    metadata = {}
    for table in root.tables(6, "Metadata"):
        content = find_buffer(buffers, table.number(1, "<I"))
        metadata[table.text(0, "a name") or ""] = bytes(content or b"")
    signatures = {
        table.text(2, "a key") or "": table.number(4, "<I")
        for table in root.tables(7, "SignatureDefs")
    }
    return Model(root.number(0, "<I"), codes, graphs, signatures, metadata, len(data))


def read_code(table: Table) -> OperatorCode:
    """Reads one entry of the list of operators."""
    # Files before schema 3a keep the code in the deprecated field alone.
    builtin = max(table.number(3, "<i"), table.number(0, "<b"))
    name = BUILTIN_NAMES.get(builtin, f"BUILTIN_{builtin}")
    if name == "CUSTOM":
        name = table.text(1, "an operator's name") or "CUSTOM"
        return OperatorCode(name, table.number(2, "<i", 1), True)
    return OperatorCode(name, table.number(2, "<i", 1), False)


def read_buffer(table: Table, data: bytes) -> memoryview | None:
    """Returns a buffer's content; in files over 2 GB it lies behind the flatbuffer."""
    content = table.data(0, "a buffer")
    offset, size = table.number(1, "<Q"), table.number(2, "<Q")
    if content is not None or offset <= 1:
        return content
    if offset + size > len(data):
        raise DamagedFileError(f"a buffer ends at {offset + size} of {len(data)} bytes")
    return memoryview(data)[offset : offset + size]


def find_buffer(buffers: list[memoryview | None], index: int) -> memoryview | None:
    """Returns the content of one buffer; the first stands for none."""
    if index == 0:
        return None
    if index >= len(buffers):
        raise DamagedFileError(f"buffer {index} of {len(buffers)}")
    return buffers[index]


def read_graph(
    table: Table, index: int, codes: tuple[OperatorCode, ...], buffers: list[memoryview | None]
) -> Graph:
    """Reads one subgraph."""
    return Graph(
        index,
        tuple(
            read_tensor(entry, number, buffers)
            for number, entry in enumerate(table.tables(0, "Tensors"))
        ),
        tuple(read_operator(entry, codes) for entry in table.tables(3, "Operators")),
        table.numbers(1, "<i4", "Inputs") or (),
        table.numbers(2, "<i4", "Outputs") or (),
    )


def read_tensor(table: Table, index: int, buffers: list[memoryview | None]) -> Tensor:
    """Reads one tensor."""
    shape = table.numbers(0, "<i4", "sizes") or ()
    if len(shape) > MAX_RANK:
        raise DamagedFileError(f"tensor {index} has {len(shape)} dimensions")
    kind, buffer, quantization = table.number(1, "<b"), table.number(2, "<I"), table.table(4)
    scales: tuple[float, ...] = ()
    num_zero_points = axis = 0
    if quantization is not None:
        scales = quantization.numbers(2, "<f4", "scales") or ()
        num_zero_points = len(quantization.numbers(3, "<i8", "zero points") or ())
        axis = quantization.number(6, "<i")
    return Tensor(
        index=index,
        name=table.text(3, "a tensor's name") or "",
        dtype=TYPE_NAMES.get(kind, f"type_{kind}"),
        shape=shape,
        signature=table.numbers(7, "<i4", "sizes") or shape,
        buffer=buffer,
        data=find_buffer(buffers, buffer),
        is_variable=bool(table.number(5, "<B")),
        scales=scales,
        num_zero_points=num_zero_points,
        axis=axis,
        is_sparse=table.table(6) is not None,
    )


def read_operator(table: Table, codes: tuple[OperatorCode, ...]) -> Operator:
    """Reads one node of a graph."""
    index, options = table.number(0, "<I"), table.table(4)
    if index >= len(codes):
        raise DamagedFileError(f"operator code {index} of {len(codes)}")
    return Operator(
        codes[index],
        table.numbers(1, "<i4", "inputs") or (),
        table.numbers(2, "<i4", "outputs") or (),
        OPTION_TYPES.get(table.number(3, "<B"), ""),
        0 if options is None else options.position,
        table.file,
    )
