"""ONNX files → the work of their matrix products, as roofline.py counts it of .tflite files."""

import math
from collections.abc import Iterator
from typing import Any

import onnx
from onnx import TensorProto, helper
from roofline import Work

PRODUCTS = frozenset({"Gemm", "MatMul", "MatMulInteger"})
INT8 = frozenset({TensorProto.INT8, TensorProto.UINT8})
LSTMS = frozenset({"LSTM", "DynamicQuantizeLSTM"})


class Sizes:
    """What a file says of its values.

    Args:
        model: A parsed file of fixed shapes.
    """

    def __init__(self, model: Any) -> None:
        graph = onnx.shape_inference.infer_shapes(model).graph
        self.types = {
            value.name: (
                value.type.tensor_type.elem_type,
                tuple(size.dim_value for size in value.type.tensor_type.shape.dim),
            )
            for value in [*graph.value_info, *graph.input, *graph.output]
        }
        self.constants = {
            value.name: (value.data_type, tuple(value.dims)) for value in graph.initializer
        }
        self.types.update(self.constants)
        # Weights that are stored as int8 and multiplied as int8, behind a node that says how.
        self.stored = {
            node.output[0]: self.constants[node.input[0]]
            for node in graph.node
            if node.op_type == "DequantizeLinear" and node.input[0] in self.constants
        }
        self.types.update(self.stored)

    def num_bytes(self, name: str) -> int:
        """Returns the bytes of a value; 0 for one left out."""
        if not name:
            return 0
        dtype, shape = self.types[name]
        return math.prod(shape) * helper.tensor_dtype_to_np_dtype(dtype).itemsize

    def work(self, weights: str, multiply_adds: int, moved_bytes: int, runs: int = 1) -> Work:
        """Returns the work whose type is that of its weights."""
        dtype = "int8" if self.types[weights][0] in INT8 else "float32"
        return Work(dtype, multiply_adds, moved_bytes, runs)


def works_of_onnx(data: bytes) -> Iterator[Work]:
    """Yields the work of each node that multiplies matrices; an LSTM's as `roofline.lstm_works`.

    Raises:
        ValueError: A loop, whose runs are not in the file.
    """
    model = onnx.load_model_from_string(data)
    sizes = Sizes(model)
    for node in model.graph.node:
        if node.op_type in ("Loop", "Scan"):
            raise ValueError(f"the file has a {node.op_type}, expected none.")
        if node.op_type in PRODUCTS:
            first, weights = node.input[:2]
            transposed = any(item.name == "transA" and item.i for item in node.attribute)
            inner = sizes.types[first][1][-2 if transposed else -1]
            result = sizes.types[node.output[0]][1]
            moved = sum(map(sizes.num_bytes, (*node.input, *node.output)))
            yield sizes.work(weights, math.prod(result) * inner, moved)
        elif node.op_type in LSTMS:
            values, weights, recurrent = node.input[:3]
            steps = sizes.types[values][1][0]
            elements = [math.prod(sizes.types[name][1]) for name in (weights, recurrent)]
            moved = sizes.num_bytes(weights) + sizes.num_bytes(values)
            yield sizes.work(weights, steps * elements[0], moved)
            yield sizes.work(recurrent, elements[1], sizes.num_bytes(recurrent), steps)
