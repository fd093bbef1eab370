"""One op of a graph → why LiteRT's GPU accelerator would not take it."""

from __future__ import annotations

from tfpipe.check.context import tensors_of
from tfpipe.check.model import Graph, Operator, Tensor

# Ops that google-ai-edge/LiteRT (commit f67457790) parses for GPUs: NewOperationParser in
# tflite/delegates/gpu/common/model_builder.cc, and CheckGpuDelegateCompatibility in
# tflite/tools/versioning/gpu_compatibility.cc, whose list is the longer one.
GPU_OPS = frozenset(
    """
    ABS ADD ADD_N ATAN2 AVERAGE_POOL_2D BATCH_MATMUL BITCAST CAST CEIL CONCATENATION CONV_2D COS
    CUMSUM DENSIFY DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE DIV DYNAMIC_UPDATE_SLICE ELU
    EMBEDDING_LOOKUP EQUAL EXP FLOOR FLOOR_DIV FLOOR_MOD FULLY_CONNECTED GATHER GELU GREATER
    GREATER_EQUAL HARD_SWISH LEAKY_RELU LESS LESS_EQUAL LOG LOGICAL_AND LOGICAL_NOT LOGICAL_OR
    LOGISTIC LSTM MAXIMUM MAX_POOL_2D MEAN MINIMUM MIRROR_PAD MUL NEG NOT_EQUAL ONE_HOT PACK PAD
    PADV2 POW PRELU QUANTIZE REDUCE_ALL REDUCE_ANY REDUCE_MAX REDUCE_MIN REDUCE_PROD RELU RELU6
    RELU_0_TO_1 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR REVERSE_V2 RIGHT_SHIFT
    ROUND RSQRT SELECT SELECT_V2 SIGN SIN SLICE SOFTMAX SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE
    SQUARED_DIFFERENCE STRIDED_SLICE SUB SUM TANH TILE TOPK_V2 TRANSPOSE TRANSPOSE_CONV UNPACK
    """.split()
)
# The limits below: CheckGpuDelegateCompatibility. Where the accelerator of ai-edge-litert 2.3.0 was
# seen to take more (slices of any rank), the limit is left out.
CASTS = frozenset(
    [(a, b) for a in ("float32", "int32") for b in ("float32", "int32")]
    + [("bool", kind) for kind in ("float16", "float32")]
    + [(kind, "bool") for kind in ("float16", "float32")]
)
REDUCTIONS = frozenset({"MEAN", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "SUM"})
PADS = frozenset({"MIRROR_PAD", "PAD", "PADV2"})
MASKS = ("EllipsisMask", "NewAxisMask")


def gpu_reason(graph: Graph, operator: Operator) -> str | None:
    """Returns why an op stays on the CPU; None where the GPU takes it."""
    if operator.code.is_custom or operator.name not in GPU_OPS:
        return "Operation is not supported"
    inputs, outputs = tensors_of(graph, operator.inputs), tensors_of(graph, operator.outputs)
    if not inputs or not outputs:
        return None
    if any(tensor.dtype == "int64" for tensor in outputs):
        return "int64 tensors are not supported"
    if operator.name in REDUCTIONS | PADS and len(inputs) > 1 and inputs[1].data is None:
        return "only constant axes and paddings are supported"
    check = CHECKS.get(operator.name)
    return check(operator, inputs, outputs) if check else None


def gather_reason(_: Operator, inputs: list[Tensor], __: list[Tensor]) -> str | None:
    """A lookup takes a vector of int32 indices."""
    if len(inputs) < 2:
        return None
    if len(inputs[1].shape) != 1:
        return "Only support 1D indices"
    return None if inputs[1].dtype == "int32" else "Only accept INT32 indices"


def cast_reason(_: Operator, inputs: list[Tensor], outputs: list[Tensor]) -> str | None:
    """Only these pairs of types."""
    pair = inputs[0].dtype, outputs[0].dtype
    return None if pair in CASTS else f"Not supported Cast case: {pair[0]} to {pair[1]}"


def strided_reason(operator: Operator, _: list[Tensor], __: list[Tensor]) -> str | None:
    """Without an ellipsis or new axes."""
    for mask in MASKS:
        if operator.option("StridedSliceOptions", mask):
            return f"{mask} is not supported"
    return None


def dense_reason(_: Operator, inputs: list[Tensor], __: list[Tensor]) -> str | None:
    """The input comes at run time."""
    return "constant input is not supported" if inputs[0].data is not None else None


def dequantize_reason(_: Operator, inputs: list[Tensor], __: list[Tensor]) -> str | None:
    """All but int16."""
    return "Unsupported dequantization type" if inputs[0].dtype == "int16" else None


def softmax_reason(operator: Operator, _: list[Tensor], __: list[Tensor]) -> str | None:
    """Without a temperature."""
    beta = operator.option("SoftmaxOptions", "Beta", 1.0)
    return None if beta == 1.0 else f"beta {beta:g} is not supported"


def select_reason(_: Operator, inputs: list[Tensor], __: list[Tensor]) -> str | None:
    """The condition is a bool or a float, and a branch of two dimensions a constant."""
    if inputs[0].dtype not in ("bool", "float16", "float32"):
        return f"condition of type {inputs[0].dtype}"
    flat = any(tensor.data is None and len(tensor.shape) == 2 for tensor in inputs[1:])
    return "2-D branches only if constant" if flat else None


CHECKS = {
    "CAST": cast_reason,
    "DEQUANTIZE": dequantize_reason,
    "FULLY_CONNECTED": dense_reason,
    "GATHER": gather_reason,
    "SELECT": select_reason,
    "SELECT_V2": select_reason,
    "SOFTMAX": softmax_reason,
    "STRIDED_SLICE": strided_reason,
}
