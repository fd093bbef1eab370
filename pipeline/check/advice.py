"""A file that would run → what is unwise in it, or good to know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tfpipe.check.context import (
    BRANCHES,
    CONTROL_FLOW,
    Subject,
    called_graphs,
    name_some,
    tensors_of,
)
from tfpipe.check.findings import Finding, finding
from tfpipe.check.model import FLOAT_TYPES, QUANTIZED_TYPES, Graph, Operator, Tensor
from tfpipe.check.runtimes import OLD_RUNTIME, min_tensorflow, parse_release
from tfpipe.weight_schemes import SMALL_KERNEL

# The converter leaves smaller constants as floats on purpose
# (tensorflow/lite/tools/optimize/quantize_weights.cc, kWeightsMinNumElementsDefault).
MIN_QUANTIZED_ELEMENTS = 1024
LOOKUPS = {"GATHER": 1, "EMBEDDING_LOOKUP": 0}
# What may stand between the ids and their lookup without changing them.
PASSING = frozenset({"CAST", "EXPAND_DIMS", "RESHAPE", "SQUEEZE"})
# Targets whose runtime is LiteRT's CompiledModel, which has no variable tensors
# (litert/core/model/model_load.cc: "Variable tensors not yet supported").
COMPILED_TARGETS = frozenset({"gpu", "web"})
# The Edge TPU's compiler: "a delegate that only supports static-sized tensors".
STATIC_TARGETS = frozenset({"edgetpu"})
# These refuse the graph, or the part of it behind the loop.
UNBRANCHED_TARGETS = frozenset({"edgetpu", "gpu", "mediapipe"})


def find_advice(subject: Subject) -> Iterator[Finding]:
    """Yields warnings and notes; some are errors on the targets that refuse the thing."""
    yield from find_dynamic(subject)
    yield from find_state(subject)
    yield from find_control_flow(subject)
    yield from find_half_branches(subject)
    yield from find_floats(subject)
    yield from find_guards(subject)
    yield from find_two_outputs(subject)
    yield from find_record(subject)
    yield from find_signatures(subject)


def find_signatures(subject: Subject) -> Iterator[Finding]:
    """Yields the note about a file with graphs beside the one that an interpreter runs first."""
    others = {name: index for name, index in subject.model.signatures.items() if index}
    if others and subject.target != "mediapipe":
        yield finding("several-signatures", f"beside the first graph: {name_some(list(others))}.")


def find_dynamic(subject: Subject) -> Iterator[Finding]:
    """Yields tensors whose sizes are not known before the file runs."""
    found = [
        tensor.label for graph in subject.reachable for tensor in graph.tensors if tensor.is_dynamic
    ]
    if found:
        yield finding(
            "dynamic-shape",
            f"{len(found)} tensors: {name_some(found, 2)}.",
            severity="error" if subject.target in STATIC_TARGETS else None,
        )


def find_state(subject: Subject) -> Iterator[Finding]:
    """Yields tensors that live from one call to the next."""
    found = [
        tensor.label
        for graph in subject.reachable
        for tensor in graph.tensors
        if tensor.is_variable
    ]
    if found:
        yield finding(
            "variable-tensor",
            f"{len(found)} tensors: {name_some(found, 2)}.",
            severity="error" if subject.target in COMPILED_TARGETS else None,
        )


def find_control_flow(subject: Subject) -> Iterator[Finding]:
    """Yields loops and branches."""
    found = Counter(
        operator.name for _, operator in subject.operators() if operator.name in CONTROL_FLOW
    )
    if found:
        names = ", ".join(f"{name} ({count} times)" for name, count in found.items())
        severity = "error" if subject.target in UNBRANCHED_TARGETS else None
        yield finding("control-flow", f"{names}.", severity=severity)


def find_half_branches(subject: Subject) -> Iterator[Finding]:
    """Yields branches that widen float16 weights: the old runtimes do so once, and lose them."""
    called = {
        index
        for _, operator in subject.operators()
        if operator.name in BRANCHES
        for index in called_graphs(operator)
    }
    found = [
        tensor.label
        for graph, operator in subject.operators()
        if graph.index in called and operator.name == "DEQUANTIZE"
        for tensor in tensors_of(graph, operator.inputs)
        if tensor.dtype == "float16" and tensor.data is not None
    ]
    if found:
        severity = "error" if subject.runtime.name == OLD_RUNTIME else None
        yield finding("float16-branch", f"{name_some(found, 2)}.", severity=severity)


def find_floats(subject: Subject) -> Iterator[Finding]:
    """Yields the float constants of a file whose other constants are quantized, but for kernels
    that are faster so."""
    kernels = {
        tensor.buffer
        for graph, operator in subject.operators()
        if operator.name == "FULLY_CONNECTED"
        for tensor in tensors_of(graph, operator.inputs[1:2])
        if tensor.elements < SMALL_KERNEL
    }
    constants = {
        (tensor.buffer, tensor.dtype): tensor
        for graph in subject.reachable
        for tensor in graph.tensors
        if tensor.data is not None and tensor.elements >= MIN_QUANTIZED_ELEMENTS
        if tensor.dtype in QUANTIZED_TYPES or tensor.buffer not in kernels
    }
    quantized = [t for t in constants.values() if t.dtype in QUANTIZED_TYPES and t.scales]
    left = [t for t in constants.values() if t.dtype in FLOAT_TYPES]
    if quantized and left:
        left.sort(key=lambda tensor: -len(tensor.data or b""))
        total = sum(len(tensor.data or b"") for tensor in left)
        share = total / (total + sum(len(tensor.data or b"") for tensor in quantized))
        yield finding(
            "float-left",
            f"{total} bytes ({share:.0%} of the large constants) are floats: "
            f"{name_some([tensor.label for tensor in left], 2)}.",
        )


def find_guards(subject: Subject) -> Iterator[Finding]:
    """Yields lookups whose ids went through a wrap of negative ones."""
    guarded = [
        operator for graph, operator in subject.operators() if is_guarded(subject, graph, operator)
    ]
    if guarded:
        yield finding("embedding-guard", f"{len(guarded)} lookups have LESS, ADD and SELECT.")


def is_guarded(subject: Subject, graph: Graph, lookup: Operator) -> bool:
    """Returns whether a lookup's ids come from SELECT(LESS(ids, …), ids + size, ids)."""
    place = LOOKUPS.get(lookup.name)
    if place is None or place >= len(lookup.inputs):
        return False
    source = subject.producer(graph, lookup.inputs[place])
    for _ in range(len(PASSING)):
        if source is None or source.name not in PASSING or not source.inputs:
            break
        source = subject.producer(graph, source.inputs[0])
    if source is None or source.name not in ("SELECT", "SELECT_V2") or not source.inputs:
        return False
    condition = subject.producer(graph, source.inputs[0])
    return condition is not None and condition.name in ("LESS", "GREATER_EQUAL")


def find_two_outputs(subject: Subject) -> Iterator[Finding]:
    """Yields the dense layers that crash tflite-runtime on ARM."""
    if subject.runtime.name != OLD_RUNTIME:
        return
    for graph, operator in subject.operators():
        if operator.name == "FULLY_CONNECTED" and has_two_channels(graph, operator):
            weights = tensors_of(graph, operator.inputs)[1]
            yield finding("dense-two-outputs", f"{weights.label} on {subject.runtime}.")


def has_two_channels(graph: Graph, operator: Operator) -> bool:
    """Returns whether a dense layer is int8 in and out, with 2 outputs and a scale for each."""
    inputs, outputs = tensors_of(graph, operator.inputs), tensors_of(graph, operator.outputs)
    if len(inputs) < 2 or not outputs:
        return False

    def is_int8(tensor: Tensor) -> bool:
        return tensor.dtype == "int8"

    return is_int8(inputs[0]) and is_int8(inputs[1]) and len(inputs[1].scales) == 2


def find_record(subject: Subject) -> Iterator[Finding]:
    """Yields a recorded minimum runtime that is too old, and a runtime that nobody looked at."""
    recorded, needed = subject.model.recorded_min_runtime, min_tensorflow(subject.model.codes)
    if recorded and needed and parse_release(recorded) < parse_release(needed):
        yield finding("min-runtime-understated", f"recorded {recorded}, needed {needed}.")
    if subject.runtime.is_newer_than_known:
        yield finding("runtime-unknown", f"{subject.runtime}.")
