"""A file's graphs → multiply-adds of one run, for each kind of op that multiplies matrices."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

from tfpipe.check.context import Subject, called_graphs, tensors_of
from tfpipe.check.model import Graph, Operator

# The fused sequence LSTM reads the input's weights at 1 to 4 and the recurrent ones at 5 to 8,
# those of a second direction at 18 to 21 and 22 to 25 (kernels/bidirectional_sequence_lstm.cc).
LSTM_WEIGHTS = {
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (range(1, 9),),
    "BIDIRECTIONAL_SEQUENCE_LSTM": (range(1, 9), range(18, 26)),
}


def multiply_adds(subject: Subject) -> dict[str, int]:
    """Returns {op name: multiply-adds of one run of the first graph}, the largest first.

    A loop's body counts once and so does every branch: how often a body runs, and which branch,
    is not written in the file.
    """
    counts: Counter[str] = Counter()
    for graph in subject.first:
        for operator in graph.operators:
            count = COUNTED.get(operator.name)
            if count is not None:
                counts[operator.name] += count(graph, operator)
    return {name: count for name, count in counts.most_common() if count}


def has_calls(subject: Subject, names: frozenset[str]) -> bool:
    """Returns whether an op of these names runs a graph of the file: how often a run does, if at
    all, `multiply_adds` cannot know."""
    return any(
        operator.name in names and called_graphs(operator) for _, operator in subject.operators()
    )


def sizes(graph: Graph, indices: tuple[int, ...], place: int) -> tuple[int, ...]:
    """Returns the sizes of one input or output, dynamic ones as 1; () where there is none."""
    tensor = graph.tensor(indices[place]) if place < len(indices) else None
    return () if tensor is None else tuple(max(1, size) for size in tensor.shape)


def count_dense(graph: Graph, operator: Operator) -> int:
    """Every output value sums over the weights' second dimension."""
    weights = sizes(graph, operator.inputs, 1)
    return math.prod(sizes(graph, operator.outputs, 0)) * weights[-1] if weights else 0


def count_convolution(graph: Graph, operator: Operator) -> int:
    """Every output value sums over the filter's height, width and input channels."""
    weights = sizes(graph, operator.inputs, 1)
    return math.prod(sizes(graph, operator.outputs, 0)) * math.prod(weights[1:]) if weights else 0


def count_depthwise(graph: Graph, operator: Operator) -> int:
    """Every output value sums over the filter's height and width."""
    weights = sizes(graph, operator.inputs, 1)
    return math.prod(sizes(graph, operator.outputs, 0)) * math.prod(weights[1:3])


def count_transposed(graph: Graph, operator: Operator) -> int:
    """Every input value spreads over the filter's height, width and output channels."""
    weights = sizes(graph, operator.inputs, 1)
    return math.prod(sizes(graph, operator.inputs, 2)) * math.prod(weights[:3]) if weights else 0


def count_matrix_product(graph: Graph, operator: Operator) -> int:
    """Every output value sums over the inner dimension of the first input."""
    left = sizes(graph, operator.inputs, 0)
    transposed = operator.option("BatchMatMulOptions", "AdjX", False)
    inner = left[-2 if transposed else -1] if len(left) > 1 else 0
    return math.prod(sizes(graph, operator.outputs, 0)) * inner


def count_lstm(graph: Graph, operator: Operator) -> int:
    """Every step multiplies each weight once, for each text of the batch."""
    steps = math.prod(sizes(graph, operator.inputs, 0)[:2])
    places = [place for places in LSTM_WEIGHTS[operator.name] for place in places]
    weights = [tuple(operator.inputs[place : place + 1]) for place in places]
    return steps * sum(
        tensor.elements for indices in weights for tensor in tensors_of(graph, indices)
    )


COUNTED: dict[str, Callable[[Graph, Operator], int]] = {
    "BATCH_MATMUL": count_matrix_product,
    "BIDIRECTIONAL_SEQUENCE_LSTM": count_lstm,
    "CONV_2D": count_convolution,
    "DEPTHWISE_CONV_2D": count_depthwise,
    "FULLY_CONNECTED": count_dense,
    "TRANSPOSE_CONV": count_transposed,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": count_lstm,
}
