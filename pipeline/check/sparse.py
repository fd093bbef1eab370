"""Dense layers with sparse int8 weights → what the runtimes' default kernels make of them.

TFLite has kernels for sparse weights (`SparsityParameters` of the schema): float32 in blocks of
1 x 4, int8 in blocks of 1 x 16; other blocks are unpacked by a DENSIFY first. But interpreters hand
dense layers to XNNPACK, which with float32 inputs does not look at whether int8 weights are sparse.
"""

from __future__ import annotations

from collections.abc import Iterator

from tfpipe.check.context import Subject, tensors_of
from tfpipe.check.findings import Finding, finding
from tfpipe.check.runtimes import DEFAULT_RUNTIME


def find_sparse(subject: Subject) -> Iterator[Finding]:
    """Yields the dense layers that compute something else, or keep the file from loading.

    Measured with tflite-runtime 2.14.0 (taken for TensorFlow up to 2.14 too), and with
    ai-edge-litert 1.4.0, 2.0.3, 2.1.2, 2.1.6, 2.2.0 and 2.3.0 and tensorflow 2.21.0 (taken for all
    that is newer than 2.14).
    """
    is_litert = subject.runtime.name == DEFAULT_RUNTIME
    is_old = not is_litert and subject.runtime.release < (2, 15)
    # Of those releases the first that does not load an unpacked layer of int8 values either.
    refuses_int8 = is_litert and subject.runtime.release >= (2, 1, 6)
    for graph, operator in subject.operators():
        inputs = tensors_of(graph, operator.inputs)
        if operator.name != "FULLY_CONNECTED" or len(inputs) < 2 or inputs[1].dtype != "int8":
            continue
        values, weights = inputs[:2]
        where = f"{weights.label} on {subject.runtime}."
        # The old kernel takes one scale for all outputs; newer XNNPACK takes all of them for dense.
        by_output = values.dtype == "int8" and len(weights.scales) > 1
        is_wide = values.dtype == "float32"
        if weights.is_sparse and (by_output if is_old else is_wide):
            yield finding("sparse-int8", where)
        source = subject.producer(graph, operator.inputs[1])
        if source and source.name == "DENSIFY" and not is_old and (is_wide or refuses_int8):
            yield finding("sparse-unpacked", where)
