"""A dynamic-range file whose int8 weights have 15 values → the same file with 4 bits a weight."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfpipe.export.lookups import look_up_integers
from tfpipe.export.loops import kind_of
from tfpipe.export.min_runtime import with_min_runtime
from tfpipe.export.pack import content_of
from tfpipe.models.rounding import largest_level
from tfpipe.weight_schemes import pack_halves

OPS, TYPES = schema.BuiltinOperator, schema.TensorType
# Op → the input that holds its weights, and the version in which it takes them in 4 bits
# (tensorflow/lite/tools/versioning/op_version.cc).
HOLDERS = {OPS.FULLY_CONNECTED: (1, 10), OPS.GATHER: (0, 7), OPS.DEQUANTIZE: (0, 6)}
INT8_LEVEL, INT4_LEVEL = largest_level(8), largest_level(4)
# What rounding one of the 15 values to an int8 step leaves of it, in steps of its own.
OFF_GRID = 0.5 * INT4_LEVEL / INT8_LEVEL + 1e-6


def halve_weights(data: bytes) -> bytes:
    """Stores each int8 kernel and table in 4 bits.

    The converter of TensorFlow 2.21 writes no int4. Weights on a grid of 15 values lie 127/7 of its
    int8 steps apart, from which each is found again without loss.

    Args:
        data: A file of scheme dynamic_int8.

    Raises:
        ValueError: A kernel's values are not on such a grid.
    """
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    look_up_integers(model)
    for graph in model.subgraphs:
        for operator, tensor in list(weight_readers(model, graph)):
            if tensor.type == TYPES.INT8:
                halve(model, tensor)
            raise_version(model, operator)
            if kind_of(model, operator) == OPS.GATHER:
                rows = graph.tensors[operator.outputs[0]]
                rows.type, rows.quantization = TYPES.INT4, copy.deepcopy(tensor.quantization)
                for reader in graph.operators:
                    if operator.outputs[0] in reader.inputs:
                        raise_version(model, reader)
    return with_min_runtime(model)


def weight_readers(model: Any, graph: Any) -> Iterator[tuple[Any, Any]]:
    """Yields each op of a graph that reads weights of few bits, and their tensor."""
    for operator in graph.operators:
        holder = HOLDERS.get(kind_of(model, operator))
        tensor = None if holder is None else graph.tensors[operator.inputs[holder[0]]]
        if tensor is not None and tensor.type in (TYPES.INT8, TYPES.INT4):
            if content_of(model.buffers[tensor.buffer]):
                yield operator, tensor


def raise_version(model: Any, operator: Any) -> None:
    """Gives an op the version in which it takes 4 bits."""
    code = model.operatorCodes[operator.opcodeIndex]
    code.version = max(code.version, HOLDERS.get(code.builtinCode, (0, 1))[1])


def halve(model: Any, tensor: Any) -> None:
    """Turns an int8 tensor into one of 4 bits, with a buffer of its own."""
    levels = np.frombuffer(content_of(model.buffers[tensor.buffer]), np.int8)
    exact = levels.astype(np.float64) * INT4_LEVEL / INT8_LEVEL
    found = np.round(exact)
    if np.abs(exact - found).max() > OFF_GRID:
        raise ValueError(
            f"a kernel of shape {np.asarray(tensor.shape).tolist()} has more than the "
            f"{2 * INT4_LEVEL + 1} values of 4 bits: it was not trained with them. Make a variant "
            "with tfpipe compress --qat --scheme dynamic_int4."
        )
    buffer = schema.BufferT()
    buffer.data = pack_halves(found.astype(np.int8))
    model.buffers.append(buffer)
    tensor.buffer, tensor.type = len(model.buffers) - 1, TYPES.INT4
    scales = np.asarray(tensor.quantization.scale, np.float64) * INT8_LEVEL / INT4_LEVEL
    tensor.quantization.scale = scales.astype(np.float32)
