"""A file and a runtime → why the runtime would refuse to load it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tfpipe.check.context import EDGETPU_OP, Subject, called_graphs
from tfpipe.check.findings import Finding, finding
from tfpipe.check.model import Graph, Operator, OperatorCode, Tensor
from tfpipe.check.runtimes import FLEX_PREFIX, first_release

SCHEMA_VERSION = 3
# Their content has a length of its own, so a shape says nothing about their bytes.
UNSIZED_TYPES = frozenset({"resource", "string", "variant"})


def find_loading(subject: Subject) -> Iterator[Finding]:
    """Yields what keeps the runtime from building an interpreter of the file."""
    version = subject.model.schema_version
    if version != SCHEMA_VERSION:
        yield finding("schema-version", f"schema version {version}, expected {SCHEMA_VERSION}.")
    yield from find_codes(subject)
    for key, index in subject.model.signatures.items():
        if index >= len(subject.model.graphs):
            yield finding("subgraph-index", f"signature {key!r} names subgraph {index}.")
    for graph in subject.model.graphs:
        for tensor in graph.tensors:
            yield from find_tensor(subject, tensor)
        yield from find_indices(subject, graph)


def find_codes(subject: Subject) -> Iterator[Finding]:
    """Yields ops that the runtime does not have; a builtin is looked up even if nothing uses it."""
    used: Counter[OperatorCode] = Counter(
        operator.code for graph in subject.model.graphs for operator in graph.operators
    )
    running = {operator.code for _, operator in subject.operators()}
    for code in dict.fromkeys(subject.model.codes):
        count = used[code]
        if not count:
            yield finding("unused-op-code", f"{code.name} version {code.version} is unused.")
        if not code.is_custom:
            yield from find_builtin(subject, code, count)
        elif code in running and not subject.runtime.has_custom(code.name):
            yield from find_custom(subject, code, count)


def find_builtin(subject: Subject, code: OperatorCode, count: int) -> Iterator[Finding]:
    """Yields the finding about a builtin op that the runtime has not."""
    runtime = subject.runtime
    if runtime.has_op(code) or runtime.is_newer_than_known:
        return
    what = f"{code.name} version {code.version} (used {count} times)"
    first = first_release(runtime.name, code)
    if first is not None:
        yield finding(
            "op-version",
            f"{what} needs {runtime.name} {first}, the runtime is {runtime}.",
            fix=f"Install {runtime.name} {first} or newer, or export for this one: tfpipe export "
            f"… --runtime {runtime}.",
        )
    elif first_release("tensorflow", code) or first_release("ai-edge-litert", code):
        litert = first_release("ai-edge-litert", code)
        advice = f"Install ai-edge-litert {litert} or newer, or " if litert else "Rewrite it, or "
        yield finding(
            "op-version",
            f"{what} is in no release of {runtime.name}.",
            fix=f"{advice}export for this runtime: tfpipe export … --runtime {runtime}.",
        )
    else:
        yield finding("op-unknown", f"{what} is in no release of {runtime.name} that is known.")


def find_custom(subject: Subject, code: OperatorCode, count: int) -> Iterator[Finding]:
    """Yields the finding about an op that is not builtin."""
    if code.name == EDGETPU_OP:
        if subject.target != "edgetpu":
            yield finding("edgetpu-compiled", f"{count} ops {EDGETPU_OP} need the Edge TPU.")
    elif code.name.startswith(FLEX_PREFIX):
        yield finding("flex-op", f"{code.name} (used {count} times) is not in {subject.runtime}.")
    else:
        yield finding("custom-op", f"{code.name} (used {count} times) is not in {subject.runtime}.")


def find_tensor(subject: Subject, tensor: Tensor) -> Iterator[Finding]:
    """Yields what is wrong with one tensor by itself."""
    if not subject.runtime.has_type(tensor.dtype):
        yield finding("tensor-type", f"{tensor.label}: {subject.runtime} does not have its type.")
    if any(size < 0 for size in tensor.shape):
        yield finding("tensor-shape", f"{tensor.label}: shape {list(tensor.shape)}.")
    elif tensor.data is not None:
        yield from find_constant(subject, tensor, len(tensor.data))
    yield from find_quantization(tensor)


def find_constant(subject: Subject, tensor: Tensor, given: int) -> Iterator[Finding]:
    """Yields the finding about a constant whose bytes do not fit its shape."""
    if tensor.is_variable:
        yield finding("constant-variable", f"{tensor.label} has {given} constant bytes.")
    if tensor.dtype in UNSIZED_TYPES or tensor.is_sparse or tensor.size_bytes is None:
        return
    needed = tensor.size_bytes
    if given < needed or (given > needed and subject.runtime.needs_exact_sizes):
        yield finding("constant-size", f"{tensor.label} has {given} bytes, it takes {needed}.")


def find_quantization(tensor: Tensor) -> Iterator[Finding]:
    """Yields the finding about scales that do not fit the tensor."""
    count, rank = len(tensor.scales), len(tensor.shape)
    if not count:
        return
    if tensor.num_zero_points != count:
        problem = f"{count} scales and {tensor.num_zero_points} zero points"
    elif tensor.axis < 0 or (rank and tensor.axis >= rank):
        problem = f"quantized dimension {tensor.axis}"
    elif count != 1 and rank and count != tensor.shape[tensor.axis]:
        problem = f"{count} scales along dimension {tensor.axis}"
    else:
        return
    yield finding("quantization-parameters", f"{tensor.label} has {problem}.")


def find_indices(subject: Subject, graph: Graph) -> Iterator[Finding]:
    """Yields numbers of tensors and subgraphs that are not in the file."""
    for what, indices in (("inputs", graph.inputs), ("outputs", graph.outputs)):
        yield from find_range(graph, f"{what} of subgraph {graph.index}", indices)
    for operator in graph.operators:
        what = f"{operator.name} of subgraph {graph.index}"
        yield from find_range(graph, what, operator.inputs + operator.outputs)
        yield from find_overlap(what, operator)
        for index in called_graphs(operator):
            if not 0 <= index < len(subject.model.graphs):
                yield finding("subgraph-index", f"{what} runs subgraph {index}.")


def find_range(graph: Graph, what: str, indices: tuple[int, ...]) -> Iterator[Finding]:
    """Yields the finding about indices beyond the graph's tensors; -1 stands for one left out."""
    wrong = [index for index in indices if not -1 <= index < len(graph.tensors)]
    if wrong:
        yield finding("tensor-index", f"{what}: tensors {wrong[:4]} of {len(graph.tensors)}.")


def find_overlap(what: str, operator: Operator) -> Iterator[Finding]:
    """Yields the finding about an op that would write what it reads."""
    both = {index for index in operator.inputs if index >= 0} & set(operator.outputs)
    if both:
        yield finding("tensor-index", f"{what} reads and writes tensors {sorted(both)[:4]}.")
