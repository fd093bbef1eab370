"""A full-int8 .tflite file → what the Edge TPU's compiler will probably say of each op."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from tfpipe.check.edgetpu import edgetpu_reason
from tfpipe.check.flatbuffer import DamagedFileError
from tfpipe.check.model import Graph, Operator
from tfpipe.check.parse import read_model
from tfpipe.export import edgetpu_log as log


def predict_mapping(path: Path) -> list[dict[str, Any]]:
    """Returns [{"op", "count", "status"}] in the words of the compiler: a prediction from its
    documented rules, not its answer.

    The compiler makes one part for the Edge TPU, from the input on: what comes after the first op
    that it does not map stays on the CPU.

    Raises:
        ValueError: The file is damaged.
    """
    try:
        graph = read_model(path.read_bytes()).graphs[0]
    except DamagedFileError as error:
        raise ValueError(f"{path} is damaged: {error}. Export it again.") from error
    counts: Counter[tuple[str, str]] = Counter()
    ended = False
    for operator in graph.operators:
        status = predict_status(graph, operator)
        if status == log.MAPPED and ended:
            status = log.SUBGRAPH
        ended = ended or status != log.MAPPED
        counts[operator.name, status] += 1
    return [
        {"op": name, "count": count, "status": status} for (name, status), count in counts.items()
    ]


def predict_status(graph: Graph, operator: Operator) -> str:
    """Returns one op's status, whatever stands before it."""
    reason = edgetpu_reason(graph, operator)
    if reason is not None:
        return reason
    # The rules allow a transposition, and the compiler was seen to leave those of texts alone.
    if operator.name == "TRANSPOSE" or has_constant_part(graph, operator):
        return log.LIMITATION
    return log.MAPPED


def has_constant_part(graph: Graph, operator: Operator) -> bool:
    """Returns whether a concatenation has a constant beside more than one other input."""
    tensors = [graph.tensor(index) for index in operator.inputs]
    constant = any(tensor is not None and tensor.data is not None for tensor in tensors)
    return operator.name == "CONCATENATION" and constant and len(tensors) > 2
