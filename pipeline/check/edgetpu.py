"""One op of a graph → why Coral's Edge TPU compiler would leave it on the CPU: a prediction."""

from __future__ import annotations

import math

import numpy as np

from tfpipe.check.context import EDGETPU_OP, tensors_of
from tfpipe.check.model import Graph, Operator, Tensor

# The compiler's table of supported operations (https://coral.ai/docs/edgetpu/models-intro, the
# state of compiler 16.0). Nothing here was run on the compiler, which is closed and not at hand.
EDGETPU_OPS = frozenset(
    """
    ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D EXPAND_DIMS FULLY_CONNECTED
    L2_NORMALIZATION LOGISTIC MAXIMUM MAX_POOL_2D MEAN MINIMUM MUL PACK PAD PRELU QUANTIZE
    REDUCE_MAX REDUCE_MIN RELU RELU6 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR
    RSQRT SLICE SOFTMAX SPACE_TO_DEPTH SPLIT SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM TANH
    TRANSPOSE TRANSPOSE_CONV UNIDIRECTIONAL_SEQUENCE_LSTM
    """.split()
)
# The compiler's TensorFlow, of about 2.5, knows no builtin from here on: "Op builtin_code out of
# range: 150" (google-coral/edgetpu#667), and refuses the whole file.
FIRST_UNKNOWN_OP = "GELU"
# Versions that it refused in reports (google-coral/edgetpu#34, #147, #340, #879).
REFUSED_VERSIONS = {"QUANTIZE": 3, "RELU": 2, "REVERSE_V2": 3, "TRANSPOSE_CONV": 3}
NOT_SUPPORTED = "Operation not supported"
BAD_TYPE = "Operation is working on an unsupported data type"
BAD_RANK = "Tensor has unsupported rank (up to 3 innermost dimensions mapped)"
NOT_CONSTANT = "Filter, bias, or other param is not constant at compile-time"
OLD_COMPILER = "Operation version not supported"
MAX_SOFTMAX_ELEMENTS = 16_000
TPU_TYPES = frozenset({"int8", "uint8"})
WITH_WEIGHTS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})
REDUCTIONS = frozenset({"MEAN", "REDUCE_MAX", "REDUCE_MIN", "SUM"})
POOLS = frozenset({"AVERAGE_POOL_2D", "MAX_POOL_2D"})


def edgetpu_reason(graph: Graph, operator: Operator) -> str | None:
    """Returns the compiler's reason for leaving an op on the CPU; None where it would map."""
    if operator.name == EDGETPU_OP:
        return None
    if operator.code.is_custom or operator.name not in EDGETPU_OPS:
        unknown = operator.name == FIRST_UNKNOWN_OP
        return f"{NOT_SUPPORTED} (it refuses the whole file)" if unknown else NOT_SUPPORTED
    if operator.code.version >= REFUSED_VERSIONS.get(operator.name, operator.code.version + 1):
        return OLD_COMPILER
    inputs, outputs = tensors_of(graph, operator.inputs), tensors_of(graph, operator.outputs)
    if not inputs or not outputs:
        return NOT_SUPPORTED
    values = [tensor for tensor in inputs if tensor.data is None] + outputs
    if any(tensor.dtype not in TPU_TYPES for tensor in values):
        return BAD_TYPE
    if any(math.prod(tensor.shape[:-3]) != 1 for tensor in values):
        return BAD_RANK
    if operator.name in WITH_WEIGHTS:
        return weights_reason(operator, inputs, outputs)
    return limit_reason(operator, inputs)


def weights_reason(operator: Operator, inputs: list[Tensor], outputs: list[Tensor]) -> str | None:
    """Returns the limit that an op with weights meets."""
    if any(tensor.data is None for tensor in inputs[1:]):
        return NOT_CONSTANT
    if operator.name == "FULLY_CONNECTED" and math.prod(outputs[0].shape[:-1]) != 1:
        return "Output tensor is not one-dimensional"
    return None


def limit_reason(operator: Operator, inputs: list[Tensor]) -> str | None:
    """Returns the limit that any other op meets."""
    shape = inputs[0].shape
    if operator.name == "SOFTMAX":
        wide = math.prod(shape[:-1]) != 1 or shape[-1:] > (MAX_SOFTMAX_ELEMENTS,)
        return f"Supports only 1D input of up to {MAX_SOFTMAX_ELEMENTS} elements" if wide else None
    if operator.name in REDUCTIONS:
        return reduction_reason(inputs)
    if operator.name in POOLS and operator.option("Pool2DOptions", "FusedActivationFunction"):
        return "No fused activation function"
    if operator.name == "CONCATENATION":
        fused = operator.option("ConcatenationOptions", "FusedActivationFunction")
        return "No fused activation function" if fused else None
    if operator.name == "PACK" and operator.option("PackOptions", "Axis") == 0:
        return "No packing in batch dimension"
    return None


def reduction_reason(inputs: list[Tensor]) -> str | None:
    """A reduction leaves the batch alone and takes innermost dimensions of multiples of 4."""
    if len(inputs) < 2 or inputs[1].data is None or inputs[1].dtype != "int32":
        return NOT_CONSTANT
    if len(inputs[1].data) % 4:
        return NOT_CONSTANT  # cut off: `constant-size` says so
    shape = inputs[0].shape
    axes = {int(axis) % max(1, len(shape)) for axis in np.frombuffer(inputs[1].data, "<i4")}
    if 0 in axes and len(shape) > 1:
        return "No reduction in batch dimension"
    if len(shape) - 1 in axes and shape[-1] % 4:
        return "In a z-reduction, the z-dimension must be a multiple of 4"
    return None
