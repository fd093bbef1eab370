"""A dynamic-range file → the same file with its small kernels in float32, which are faster so."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfpipe.export.loops import kind_of, readers_of
from tfpipe.export.min_runtime import with_min_runtime
from tfpipe.export.pack import content_of
from tfpipe.weight_schemes import SMALL_KERNEL

FLOAT32, INT8 = schema.TensorType.FLOAT32, schema.TensorType.INT8
FULLY_CONNECTED = schema.BuiltinOperator.FULLY_CONNECTED


def widen_kernels(data: bytes, *, below: int = SMALL_KERNEL) -> bytes:
    """Stores the int8 kernels of fewer than `below` numbers in float32, with the same values.

    A product with int8 weights rounds its input first, at run time: an op of its own, which costs
    more than a small product saves. The input is then not rounded at all. Where no int8 kernel is
    left, the file loads in runtimes that have no such product.

    Args:
        data: A file of scheme dynamic_int8.
        below: Numbers in the smallest kernel that stays as it is.
    """
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    for graph in model.subgraphs:
        for index, tensor in enumerate(graph.tensors):
            if not 0 < count_levels(model, tensor) < below:
                continue
            products = readers_of(graph, index)
            if products and all(is_hybrid(model, graph, each, index) for each in products):
                widen(model, tensor)
                for product in products:
                    product.builtinOptions.asymmetricQuantizeInputs = False
    lower_version(model)
    return with_min_runtime(model)


def count_levels(model: Any, tensor: Any) -> int:
    """Returns how many int8 numbers a constant holds; 0 of a tensor that is none."""
    return len(content_of(model.buffers[tensor.buffer])) if tensor.type == INT8 else 0


def is_hybrid(model: Any, graph: Any, operator: Any, kernel: int) -> bool:
    """Returns whether an op multiplies float32 values with this kernel."""
    inputs = np.asarray(operator.inputs).tolist()
    is_product = kind_of(model, operator) == FULLY_CONNECTED
    is_float = bool(graph.tensors[inputs[0]].type == FLOAT32)
    return is_product and is_float and inputs.index(kernel) == 1


def widen(model: Any, tensor: Any) -> None:
    """Makes an int8 kernel float32, with a buffer of its own; the scales are those of its rows."""
    levels = np.frombuffer(content_of(model.buffers[tensor.buffer]), np.int8)
    scales = np.asarray(tensor.quantization.scale, np.float32)
    values = levels.reshape(len(scales), -1) * scales[:, None]
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(values.astype(np.float32).tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor.buffer, tensor.type, tensor.quantization = len(model.buffers) - 1, FLOAT32, None


def lower_version(model: Any) -> None:
    """Gives FULLY_CONNECTED the version of a float32 product where all kernels are float32: 1, or 5
    with `keep_num_dims` (tensorflow/lite/tools/versioning/op_version.cc). The converter's, 12, is
    that of int8 kernels with a scale for each output, which tflite-runtime 2.14.0 does not have."""
    products = [
        (graph, operator)
        for graph in model.subgraphs
        for operator in graph.operators
        if kind_of(model, operator) == FULLY_CONNECTED
    ]
    if all(graph.tensors[operator.inputs[1]].type == FLOAT32 for graph, operator in products):
        version = 5 if any(product.builtinOptions.keepNumDims for _, product in products) else 1
        for _, product in products:
            model.operatorCodes[product.opcodeIndex].version = version
