"""Two .tflite files of one model → which tensor of the one is which of the other."""

from __future__ import annotations

from collections.abc import Iterator

from tfpipe.check.model import Graph, Model, Operator, Tensor

Pair = tuple[int, int]


def match_tensors(ours: Graph, theirs: Graph) -> dict[int, int] | None:
    """Returns {index in `ours`: index in `theirs`} of every tensor behind an output; None if the
    graphs do not compute the same with the same types and shapes.

    The converter writes ops in an order that changes from process to process. From the outputs
    backwards each tensor has one maker, and an op's inputs have an order: that leaves one way to
    lay the graphs on each other.
    """
    if (len(ours.tensors), len(ours.operators)) != (len(theirs.tensors), len(theirs.operators)):
        return None
    makers = (makers_of(ours), makers_of(theirs))
    found: dict[int, int] = {}
    waiting = [*paired(ours.inputs, theirs.inputs), *paired(ours.outputs, theirs.outputs)]
    while waiting:
        a, b = waiting.pop()
        if found.get(a) == b:
            continue
        operators = (makers[0].get(a), makers[1].get(b))
        pairs = pairs_of(*operators)
        if a in found or pairs is None or not are_alike(ours.tensors[a], theirs.tensors[b]):
            return None
        found[a] = b
        waiting += pairs
    return found if makers[0].keys() <= found.keys() else None


def makers_of(graph: Graph) -> dict[int, Operator]:
    """Returns {tensor: the op that makes it}."""
    return {index: operator for operator in graph.operators for index in operator.outputs}


def paired(ours: tuple[int, ...], theirs: tuple[int, ...]) -> Iterator[Pair]:
    """Yields the tensors that stand in the same place; -1 is none."""
    yield from ((a, b) for a, b in zip(ours, theirs, strict=True) if a >= 0)


def pairs_of(ours: Operator | None, theirs: Operator | None) -> list[Pair] | None:
    """Returns the tensors of two ops that belong together, none of none; None if they are not the
    same op."""
    if ours is None or theirs is None:
        return [] if ours is theirs else None
    places = [(ours.inputs, theirs.inputs), (ours.outputs, theirs.outputs)]
    is_same = ours.code == theirs.code and all(
        [index < 0 for index in a] == [index < 0 for index in b] for a, b in places
    )
    return [pair for a, b in places for pair in paired(a, b)] if is_same else None


def are_alike(ours: Tensor, theirs: Tensor) -> bool:
    """Returns whether two tensors have one type and shape, and both a content or none."""
    return (ours.dtype, ours.shape, ours.data is None) == (
        theirs.dtype,
        theirs.shape,
        theirs.data is None,
    )


def count_differences(remade: Model, shipped: Model, matched: dict[int, int]) -> int:
    """Returns how many tensors of subgraph 0 have other scales or contents in two files."""
    ours, theirs = remade.graphs[0].tensors, shipped.graphs[0].tensors
    return sum(
        (ours[a].scales, bytes(ours[a].data or b""))
        != (theirs[b].scales, bytes(theirs[b].data or b""))
        for a, b in matched.items()
    )
