"""A file's graphs → who writes and reads each tensor, and which graphs can run at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from tfpipe.check.model import Graph, Model, Operator, Tensor
from tfpipe.check.runtimes import Runtime

# Options that name a subgraph: {table: names of its fields}.
SUBGRAPH_OPTIONS = {
    "CallOnceOptions": ("InitSubgraphIndex",),
    "IfOptions": ("ThenSubgraphIndex", "ElseSubgraphIndex"),
    "WhileOptions": ("CondSubgraphIndex", "BodySubgraphIndex"),
}
CONTROL_FLOW = frozenset({"CALL", "CALL_ONCE", "IF", "STABLEHLO_CASE", "STABLEHLO_WHILE", "WHILE"})
LOOPS = frozenset({"WHILE", "STABLEHLO_WHILE"})
BRANCHES = frozenset({"IF", "STABLEHLO_CASE"})
EDGETPU_OP = "edgetpu-custom-op"


@dataclass(frozen=True)
class Subject:
    """What is checked against what.

    Attributes:
        model: The file.
        target: Where it shall run whole.
        runtime: The runtime that loads it there.
    """

    model: Model
    target: str
    runtime: Runtime
    _producers: dict[int, dict[int, Operator]] = field(default_factory=dict, repr=False)

    @cached_property
    def reachable(self) -> tuple[Graph, ...]:
        """The first graph, those of the signatures, and those that they call."""
        return self._called_from([0, *self.model.signatures.values()])

    @cached_property
    def first(self) -> tuple[Graph, ...]:
        """The first graph, which is what one run runs, and those that it calls."""
        return self._called_from([0])

    def _called_from(self, waiting: list[int]) -> tuple[Graph, ...]:
        graphs, found = self.model.graphs, set()
        while waiting:
            index = waiting.pop()
            if index in found or not 0 <= index < len(graphs):
                continue
            found.add(index)
            for operator in graphs[index].operators:
                waiting.extend(called_graphs(operator))
        return tuple(graphs[index] for index in sorted(found))

    def operators(self) -> Iterator[tuple[Graph, Operator]]:
        """Yields every op of the graphs that can run."""
        for graph in self.reachable:
            for operator in graph.operators:
                yield graph, operator

    def producer(self, graph: Graph, index: int) -> Operator | None:
        """Returns the op that writes a tensor."""
        if graph.index not in self._producers:
            self._producers[graph.index] = {
                output: operator for operator in graph.operators for output in operator.outputs
            }
        return self._producers[graph.index].get(index)


def called_graphs(operator: Operator) -> list[int]:
    """Returns the subgraphs that an op runs."""
    names = SUBGRAPH_OPTIONS.get(operator.options_type, ())
    return [int(operator.option(operator.options_type, name, -1)) for name in names]


def tensors_of(graph: Graph, indices: tuple[int, ...]) -> list[Tensor]:
    """Returns the tensors that are there; those left out (-1) and out of range are not."""
    found = [graph.tensor(index) for index in indices]
    return [tensor for tensor in found if tensor is not None]


def name_some(names: list[str], limit: int = 4) -> str:
    """Returns the first names and how many more there are.

    >>> name_some(["a", "b", "c"], limit=2)
    'a, b and 1 more'
    """
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")
