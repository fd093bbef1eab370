"""A float16 .tflite file → the same with the tables of its lookups in float32."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema


def widen_tables(data: bytes) -> bytes:
    """Rewrites each GATHER whose table is float16 behind a DEQUANTIZE to read a float32 table.

    LiteRT's GPU accelerator takes float16 constants in products and sums, where it drops the
    DEQUANTIZE; at a lookup it then refuses the table ("GATHER: Input / output dtype mismatch").

    Args:
        data: A .tflite file with one subgraph, as the converter writes it.

    Returns:
        The file; values are those of the float16 table.
    """
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    graph = model.subgraphs[0]
    codes = [code.builtinCode for code in model.operatorCodes]
    makers = {
        int(op.outputs[0]): op
        for op in graph.operators
        if codes[op.opcodeIndex] == schema.BuiltinOperator.DEQUANTIZE
    }
    for operator in list(graph.operators):
        table = int(operator.inputs[0])
        if codes[operator.opcodeIndex] == schema.BuiltinOperator.GATHER and table in makers:
            maker = makers.pop(table)
            widen(model, graph.tensors[int(maker.inputs[0])], graph.tensors[table])
            graph.operators.remove(maker)
    builder = flatbuffers.Builder(len(data))
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def widen(model: Any, half: Any, whole: Any) -> None:
    """Makes the constant of tensor `half` float32, and that of tensor `whole` too."""
    buffer = model.buffers[half.buffer]
    values = np.asarray(buffer.data, np.uint8).tobytes()
    wide = np.frombuffer(values, np.float16).astype(np.float32)
    buffer.data = np.frombuffer(wide.tobytes(), np.uint8)
    half.type = schema.TensorType.FLOAT32
    whole.buffer = half.buffer
