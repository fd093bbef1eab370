"""An op and the type of its input → whether the runtime's kernel computes it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tfpipe.check.context import Subject
from tfpipe.check.findings import Finding, finding
from tfpipe.check.runtimes import OLD_RUNTIME, Runtime

FLOAT = ("float32",)
BYTES = (*FLOAT, "int8", "uint8")
QUANTIZED = (*BYTES, "int16")
INTEGERS = (*QUANTIZED, "int32", "int64")
# The converter writes some of these pairs all the same, above all with int16 activations. Every
# pair was run as a file of one op by ai-edge-litert 2.3.0; ops that are not listed take what the
# converter gives them, or were not measured.
KERNEL_TYPES: dict[str, tuple[str, ...]] = {
    "ABS": (*FLOAT, "int8", "int16", "int32"),
    "ADD": (*INTEGERS, "float16"),
    "CEIL": FLOAT,
    "COS": (*FLOAT, "float16"),
    "DIV": (*BYTES, "int16", "int32"),
    "ELU": (*FLOAT, "int8"),
    "EQUAL": (*INTEGERS, "float16", "bool"),
    "EXP": (*FLOAT, "int8", "int16"),
    "FLOOR": (*FLOAT, "float16"),
    "GELU": (*QUANTIZED, "float16"),
    "GREATER": (*INTEGERS, "float16"),
    "GREATER_EQUAL": (*INTEGERS, "float16"),
    "HARD_SWISH": BYTES,
    "L2_NORMALIZATION": BYTES,
    "LEAKY_RELU": QUANTIZED,
    "LESS": (*INTEGERS, "float16"),
    "LESS_EQUAL": (*INTEGERS, "float16"),
    "LOG": (*FLOAT, "int8", "int16"),
    "LOG_SOFTMAX": BYTES,
    "LOGICAL_AND": ("bool",),
    "LOGICAL_NOT": ("bool",),
    "LOGISTIC": (*QUANTIZED, "float16"),
    "MAXIMUM": (*INTEGERS, "float16"),
    "MEAN": INTEGERS,
    "MINIMUM": (*INTEGERS, "float16"),
    "MUL": (*INTEGERS, "float16"),
    "NEG": (*FLOAT, "float16", "int8", "int16", "int32", "int64"),
    "NOT_EQUAL": (*INTEGERS, "float16", "bool"),
    "PRELU": QUANTIZED,
    "REDUCE_MAX": INTEGERS,
    "REDUCE_MIN": INTEGERS,
    "RELU": QUANTIZED,
    "RELU6": QUANTIZED,
    "RELU_N1_TO_1": BYTES,
    "ROUND": (*FLOAT, "float16"),
    "RSQRT": (*FLOAT, "int8", "int16"),
    "SIN": (*FLOAT, "float16"),
    "SOFTMAX": (*QUANTIZED, "float16"),
    "SQRT": (*FLOAT, "int8", "int16"),
    "SQUARE": FLOAT,
    "SQUARED_DIFFERENCE": (*FLOAT, "int8", "int32"),
    "SUB": INTEGERS,
    "SUM": INTEGERS,
    "TANH": (*QUANTIZED, "float16"),
}
# Those of them that tflite-runtime 2.14.0 does not compute, measured in the same way.
MISSING_IN_TFLITE: dict[str, tuple[str, ...]] = {
    "DIV": ("int8", "int16"),
    "GELU": ("int16",),
    "GREATER": ("int16",),
    "LESS_EQUAL": ("int16",),
    "LOG": ("int8", "int16"),
    "NEG": ("int8", "int16"),
    "NOT_EQUAL": ("int16",),
    "PRELU": ("int16",),
    "RSQRT": ("int16",),
    "SQRT": ("int8", "int16"),
}


def find_kernels(subject: Subject) -> Iterator[Finding]:
    """Yields ops whose kernel does not compute the type that the file gives them."""
    found: Counter[tuple[str, str]] = Counter()
    for graph, operator in subject.operators():
        tensor = graph.tensor(operator.inputs[0]) if operator.inputs else None
        if tensor is not None and not has_kernel(subject.runtime, operator.name, tensor.dtype):
            found[operator.name, tensor.dtype] += 1
    for (name, dtype), count in found.items():
        yield finding("op-type", f"{name} (used {count} times) on {dtype} in {subject.runtime}.")


def has_kernel(runtime: Runtime, name: str, dtype: str) -> bool:
    """Returns whether a runtime computes an op on a type, True where that was not measured."""
    if name not in KERNEL_TYPES:
        return True
    if runtime.name == OLD_RUNTIME:
        if dtype == "float16" or dtype in MISSING_IN_TFLITE.get(name, ()):
            return False
    return dtype in KERNEL_TYPES[name]
