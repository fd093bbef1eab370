"""A graph → the bytes of the arena that the interpreter plans for its tensors."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from tfpipe.check.context import Subject
from tfpipe.check.model import Graph, Operator

# tflite/arena_planner.h and util.h: kDefaultTensorAlignment.
ALIGNMENT_BYTES = 64
# Planning takes time with the square of their number, here some seconds.
MAX_TENSORS = 30_000
# No device has more; sums of it still fit into 64 bits.
MAX_BYTES = 1 << 45
# Smaller tensors are never shared (arena_planner.cc, kScalarTensorBytes).
MAX_UNSHARED_BYTES = 4
# Ops whose output takes the place of an input (inplace_operator in tflite/kernels, LiteRT commit
# f67457790): {name: (inputs that may be overwritten, whether the values stay as they are)}.
IN_PLACE = {
    "ADD": (2, False), "BITCAST": (1, True), "DIV": (2, False), "DYNAMIC_UPDATE_SLICE": (1, False),
    "EXPAND_DIMS": (1, True), "MUL": (2, False), "RESHAPE": (1, True), "SOFTMAX": (1, False),
    "SQUEEZE": (1, True), "SUB": (2, False),
}  # fmt: skip


class Arena:
    """Tensors placed so far: offset, size, and the ops between which each must stay.

    Args:
        capacity: How many tensors will be placed.
    """

    def __init__(self, capacity: int) -> None:
        self._rows = np.zeros((4, capacity), np.int64)
        self._count = 0
        self.peak_bytes = 0

    def place(self, size: int, first: int, last: int) -> None:
        """Puts a tensor into the smallest gap that takes it, or at the end."""
        offsets, sizes, firsts, lasts = self._rows[:, : self._count]
        together = np.flatnonzero((lasts >= first) & (firsts <= last))
        together = together[np.argsort(offsets[together], kind="stable")]
        offset = find_gap(offsets[together].tolist(), sizes[together].tolist(), size)
        self._rows[:, self._count] = offset, size, first, last
        self._count += 1
        self.peak_bytes = max(self.peak_bytes, offset + size)


@dataclass
class Lifetimes:
    """From which op to which one each tensor of a graph lives; shared tensors under one index."""

    first: dict[int, int]
    last: dict[int, int]


def arena_bytes(subject: Subject) -> int | None:
    """Returns the peak of the interpreter's arenas, those of all graphs that can run together.

    None where a graph has more than MAX_TENSORS tensors.

    The greedy-by-size plan of tflite/arena_planner.cc without what ops ask for beside their
    tensors, and without delegates, which keep their own buffers. Dynamic sizes count as 1.
    """
    if any(len(graph.tensors) > MAX_TENSORS for graph in subject.reachable):
        return None
    return sum(plan(graph) for graph in subject.reachable)


def plan(graph: Graph) -> int:
    """Returns the bytes of one graph's arena."""
    sizes = {
        tensor.index: min(tensor.size_bytes or 0, MAX_BYTES)
        for tensor in graph.tensors
        if tensor.data is None and tensor.elements >= 0
    }
    lives = lifetimes(graph, sizes)
    end = len(graph.operators)

    def order(index: int) -> tuple[int, ...]:
        """Whole-life tensors first, by index; then the largest, then the earliest."""
        if lives.first[index] == 0 and lives.last[index] == end:
            return (0, index, 0)
        return (1, -sizes[index], lives.first[index])

    arena = Arena(len(lives.first))
    for index in sorted(lives.first, key=order):
        if size := sizes.get(index, 0):
            arena.place(size, lives.first[index], lives.last[index])
    return arena.peak_bytes


def find_gap(offsets: list[int], sizes: list[int], wanted: int) -> int:
    """Returns where `wanted` bytes fit best between allocations, which are sorted by offset."""
    best, best_gap, end = -1, 0, 0
    for offset, size in zip(offsets, sizes, strict=True):
        start = align(end)
        if start + wanted <= offset and (best < 0 or offset - start < best_gap):
            best, best_gap = start, offset - end
        end = max(end, offset + size)
    return align(end) if best < 0 else best


def align(offset: int) -> int:
    """Returns the next multiple of the alignment."""
    return -(-offset // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def lifetimes(graph: Graph, sizes: dict[int, int]) -> Lifetimes:
    """Returns from which op to which one each tensor without constant content is needed."""
    end = len(graph.operators)
    kept = {index for index in (*graph.inputs, *graph.outputs) if index in sizes}
    kept |= {tensor.index for tensor in graph.tensors if tensor.is_variable}
    homes = find_homes(graph, sizes, kept)
    first = {index: 0 for index in kept if index not in graph.outputs or index in graph.inputs}
    last = dict.fromkeys(kept, end)
    for number, operator in enumerate(graph.operators):
        for index in operator.outputs:
            if index in sizes:
                home = homes.get(index, index)
                first.setdefault(home, number)
                last.setdefault(home, end)
        for index in operator.inputs:
            home = homes.get(index, index)
            if home in first and home not in kept:
                last[home] = number
    return Lifetimes(first, {index: last.get(index, end) for index in first})


def find_homes(graph: Graph, sizes: dict[int, int], kept: set[int]) -> dict[int, int]:
    """Returns {tensor: the one whose bytes it uses} for the outputs of ops that work in place."""
    reads = Counter(index for operator in graph.operators for index in operator.inputs)
    reads.update(kept)
    homes: dict[int, int] = {}
    for operator in graph.operators:
        shared = shared_input(operator, sizes, kept, reads)
        if shared is not None:
            home = homes.get(shared, shared)
            if IN_PLACE[operator.name][1] or reads[home] <= 1:
                homes[operator.outputs[0]] = home
    return homes


def shared_input(
    operator: Operator, sizes: dict[int, int], kept: set[int], reads: Counter[int]
) -> int | None:
    """Returns the input whose bytes an op's output may take over."""
    count, unchanged = IN_PLACE.get(operator.name, (0, False))
    if not operator.outputs or operator.outputs[0] in kept or operator.outputs[0] not in sizes:
        return None
    for index in operator.inputs[:count]:
        if index not in sizes or index in kept:
            continue
        size = sizes[index]
        fits = size == sizes[operator.outputs[0]] and size > MAX_UNSHARED_BYTES
        if unchanged or (fits and reads[index] <= 1):
            return index
    return None
