"""Dense layers with sparse int8 weights → what the runtimes' default kernels make of them.

TFLite has kernels for sparse weights (`SparsityParameters` of the schema): float32 in blocks of
1 x 4, int8 in blocks of 1 x 16; other blocks are unpacked by a DENSIFY first. But interpreters hand
dense layers to XNNPACK, which does not look at whether int8 weights are sparse.
"""

from __future__ import annotations

from collections.abc import Iterator

from tfpipe.check.context import Subject, tensors_of
from tfpipe.check.findings import Finding, finding
from tfpipe.check.runtimes import OLD_RUNTIME


def find_sparse(subject: Subject) -> Iterator[Finding]:
    """Yields the dense layers that compute something else, or keep the file from loading; both
    measured with ai-edge-litert 1.4.0 to 2.3.0, tensorflow 2.21.0 and tflite-runtime 2.14.0."""
    is_old = subject.runtime.name == OLD_RUNTIME
    for graph, operator in subject.operators():
        inputs = tensors_of(graph, operator.inputs)
        if operator.name != "FULLY_CONNECTED" or len(inputs) < 2 or inputs[1].dtype != "int8":
            continue
        values, weights = inputs[:2]
        where = f"{weights.label} on {subject.runtime}."
        if is_old:
            # Its kernel for int8 values takes the first scale for all outputs.
            is_wrong = values.dtype == "int8" and len(weights.scales) > 1
        else:
            is_wrong = values.dtype == "float32"
        source = subject.producer(graph, operator.inputs[1])
        if is_wrong and weights.is_sparse:
            yield finding("sparse-int8", where)
        elif is_wrong and source and source.name == "DENSIFY" and not is_old:
            yield finding("sparse-unpacked", where)
