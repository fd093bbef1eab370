"""A file's graphs → constants and values that its ops would miss."""

from __future__ import annotations

from collections.abc import Iterator

from tfpipe.check.context import Subject, name_some
from tfpipe.check.findings import Finding, finding
from tfpipe.check.model import Graph, Operator, Tensor

WRITERS_OF_VARIABLES = frozenset({"ASSIGN_VARIABLE", "HASHTABLE_IMPORT"})


def find_running(subject: Subject) -> Iterator[Finding]:
    """Yields why a file that loads would compute something else than its model did."""
    if not any(graph.operators for graph in subject.model.graphs):
        yield finding("no-ops", f"none of {len(subject.model.graphs)} subgraphs has an op.")
    for graph in subject.reachable:
        yield from find_reads(subject, graph)
    yield from find_variables(subject)


def find_reads(subject: Subject, graph: Graph) -> Iterator[Finding]:
    """Follows the ops in the order in which they run."""
    written = {index for index in graph.inputs if index >= 0}
    missing: dict[str, list[str]] = {}
    for operator in graph.operators:
        for index in operator.inputs:
            tensor = graph.tensor(index)
            if tensor is None or index in written or is_filled(tensor):
                continue
            code = "tensor-unset" if subject.producer(graph, index) else "constant-missing"
            missing.setdefault(code, []).append(f"{operator.name} reads {tensor.label}")
        written.update(operator.outputs)
    for index in graph.outputs:
        tensor = graph.tensor(index)
        if tensor is not None and index not in written and not is_filled(tensor):
            missing.setdefault("tensor-unset", []).append(f"the output {tensor.label}")
    for code, where in missing.items():
        unique = list(dict.fromkeys(where))
        yield finding(code, f"subgraph {graph.index}: {name_some(unique)}.")


def is_filled(tensor: Tensor) -> bool:
    """Returns whether a tensor has values that no op has to write."""
    return tensor.data is not None or tensor.is_variable or tensor.elements == 0


def find_variables(subject: Subject) -> Iterator[Finding]:
    """Yields resource variables that are read and never written."""
    written, read = set(), set()
    for graph, operator in subject.operators():
        name = variable_name(subject, graph, operator)
        if operator.name in WRITERS_OF_VARIABLES:
            written.add(name)
        elif operator.name == "READ_VARIABLE":
            read.add(name)
    # A handle that came through a graph's input could be any of them.
    lost = sorted(name for name in read - written if name is not None)
    if lost and None not in written:
        yield finding("variable-unset", f"{len(lost)} variables: {name_some(lost)}.")


def variable_name(subject: Subject, graph: Graph, operator: Operator) -> str | None:
    """Returns the name of the variable that an op reads or writes; None where it is not known."""
    handle = subject.producer(graph, operator.inputs[0]) if operator.inputs else None
    if handle is None or handle.name != "VAR_HANDLE":
        return None
    options = ("Container", "SharedName")
    parts = [handle.option("VarHandleOptions", name, b"") or b"" for name in options]
    return "/".join(part.decode("utf-8", "replace") for part in parts)
