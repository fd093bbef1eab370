"""A full-int8 .tflite file → what the Edge TPU's compiler will probably say of each op."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfpipe.check import BUILTIN_NAMES, TYPE_NAMES, Contents
from tfpipe.export import edgetpu_log as log

# Coral's table of supported operations (coral.ai/docs/edgetpu/models-intro), compiler 16.0.
SUPPORTED = frozenset(
    "ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D EXPAND_DIMS FULLY_CONNECTED "
    "L2_NORMALIZATION LOGISTIC MAXIMUM MAX_POOL_2D MEAN MINIMUM MUL PACK PAD PRELU QUANTIZE "
    "REDUCE_MAX REDUCE_MIN RELU RELU6 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR "
    "RESIZE_NEAREST_NEIGHBOR RSQRT SLICE SOFTMAX SPACE_TO_DEPTH SPLIT SQUARED_DIFFERENCE SQUEEZE "
    "STRIDED_SLICE SUB SUM TANH TRANSPOSE TRANSPOSE_CONV UNIDIRECTIONAL_SEQUENCE_LSTM".split()
)
# Versions from which on some compiler was seen to refuse an op (issues of google-coral/edgetpu).
REFUSED_VERSIONS = {"QUANTIZE": 3, "REVERSE_V2": 3, "TRANSPOSE_CONV": 3, "RELU": 2}
# The compiler's TensorFlow knows no builtin op from here on: it refuses the whole file.
FIRST_UNKNOWN_BUILTIN = 150
MAPPED_TYPES = ("int8", "uint8")


@dataclass(frozen=True)
class Tensor:
    """One operand: its dimensions, its type, and whether it is a constant of the file."""

    shape: tuple[int, ...]
    dtype: str
    constant: bool


@dataclass(frozen=True)
class Operation:
    """One op of a file with its operands."""

    name: str
    builtin: int
    version: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def predict_mapping(path: Path) -> list[dict[str, Any]]:
    """Returns [{"op", "count", "status"}] in the words of the compiler: a prediction from its
    documented rules, not its answer.

    The compiler makes one part for the Edge TPU, from the input on: what comes after the first op
    that it does not map stays on the CPU.

    Raises:
        ValueError: The file is damaged.
    """
    counts: Counter[tuple[str, str]] = Counter()
    ended = False
    for operation in read_operations(path):
        status = predict_status(operation)
        if status == log.MAPPED and ended:
            status = log.SUBGRAPH
        ended = ended or status != log.MAPPED
        counts[operation.name, status] += 1
    return [
        {"op": name, "count": count, "status": status} for (name, status), count in counts.items()
    ]


def predict_status(operation: Operation) -> str:
    """Returns one op's status, whatever stands before it."""
    operands = [*operation.inputs, *operation.outputs]
    variable = [tensor for tensor in operands if not tensor.constant]
    if operation.name not in SUPPORTED or operation.builtin >= FIRST_UNKNOWN_BUILTIN:
        return log.UNSUPPORTED
    if any(tensor.dtype not in MAPPED_TYPES for tensor in variable):
        return log.DATA_TYPE
    if operation.version >= REFUSED_VERSIONS.get(operation.name, operation.version + 1):
        return log.VERSION
    if any(size > 1 for tensor in variable for size in tensor.shape[:-3]):
        return log.RANK
    if operation.name in ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D"):
        if not all(tensor.constant for tensor in operation.inputs[1:]):
            return log.NOT_CONSTANT
    if operation.name in ("FULLY_CONNECTED", "SOFTMAX"):
        if any(size > 1 for size in operation.outputs[0].shape[:-1]):
            return log.TWO_DIMENSIONS
    if operation.name == "TRANSPOSE" or has_constant_part(operation):
        return log.LIMITATION
    return log.MAPPED


def has_constant_part(operation: Operation) -> bool:
    """Returns whether a concatenation has a constant beside more than one other input."""
    constant = any(tensor.constant for tensor in operation.inputs)
    return operation.name == "CONCATENATION" and constant and len(operation.inputs) > 2


def read_operations(path: Path) -> Iterator[Operation]:
    """Yields the ops of a file's first subgraph in order."""
    contents = Contents(path.read_bytes())
    codes = [
        (max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), code.Version())
        for code in contents.entries(contents.model, "OperatorCodes")
    ]
    graph = next(contents.entries(contents.model, "Subgraphs"))
    tensors = [
        Tensor(
            tuple(int(tensor.Shape(axis)) for axis in range(tensor.ShapeLength())),
            TYPE_NAMES.get(tensor.Type(), "unknown"),
            len(contents.buffer(tensor.Buffer())) > 0,
        )
        for tensor in contents.entries(graph, "Tensors")
    ]
    for operator in contents.entries(graph, "Operators"):
        builtin, version = codes[operator.OpcodeIndex()]
        inputs = (operator.Inputs(index) for index in range(operator.InputsLength()))
        outputs = (operator.Outputs(index) for index in range(operator.OutputsLength()))
        yield Operation(
            BUILTIN_NAMES.get(builtin, f"BUILTIN_{builtin}"),
            builtin,
            version,
            tuple(tensors[index] for index in inputs if index >= 0),
            tuple(tensors[index] for index in outputs),
        )
