"""`--buckets` and the lengths of training texts → the lengths of the graphs for shorter texts."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfpipe.export.target import ExportError

# How many graphs "auto" makes, the full length among them: a fifth saves little more than what the
# spread of measuring is (docs/buckets.md).
AUTO_GRAPHS = 4
# Each graph costs bytes, memory and time to load.
MAX_GRAPHS = 8
AUTO = re.compile(r"auto(?::([0-9]{1,4}))?")
LENGTHS = re.compile(r"[0-9]{1,6}(?:,[0-9]{1,6})*")


def parse_buckets(asked: str) -> int | tuple[int, ...]:
    """Returns the number of graphs that "auto" or "auto:N" asks for, or the lengths that "16,32"
    names.

    Raises:
        ExportError: Neither, or too many.
    """
    automatic = AUTO.fullmatch(asked)
    if automatic:
        count = int(automatic[1]) if automatic[1] else AUTO_GRAPHS
        if not 2 <= count <= MAX_GRAPHS:
            raise ExportError(
                f"buckets={asked!r} asks for {count} graphs, expected 2 to {MAX_GRAPHS}, the full "
                f"length among them. Use auto, which makes {AUTO_GRAPHS}."
            )
        return count
    if not LENGTHS.fullmatch(asked):
        raise ExportError(
            f"buckets={asked!r} is neither auto, auto:N nor lengths with commas. Use for example "
            "auto, auto:3 or 16,32."
        )
    lengths = tuple(sorted({int(length) for length in asked.split(",")}))
    if len(lengths) >= MAX_GRAPHS:
        raise ExportError(
            f"buckets={asked!r} names {len(lengths)} lengths, at most {MAX_GRAPHS - 1} beside the "
            "full one are made. Name fewer."
        )
    return lengths


def choose_buckets(
    asked: str, token_lengths: NDArray[np.integer[Any]], sequence_length: int
) -> tuple[int, ...]:
    """Returns the lengths of the graphs beside the full one, shortest first.

    Args:
        asked: What `parse_buckets` reads.
        token_lengths: `(n,)`, tokens of each of the texts that stand for those to come.
        sequence_length: The full length.

    Raises:
        ExportError: A length is not between 1 and the full one.
    """
    parsed = parse_buckets(asked)
    if isinstance(parsed, int):
        return cheapest_lengths(token_lengths, sequence_length, parsed)
    wrong = [length for length in parsed if not 1 <= length < sequence_length]
    if wrong:
        raise ExportError(
            f"buckets={asked!r} has the length {wrong[0]}, expected 1 to {sequence_length - 1}: "
            f"the full length, data.sequence_length={sequence_length}, is always there. Use auto."
        )
    return parsed


def cheapest_lengths(
    token_lengths: NDArray[np.integer[Any]], sequence_length: int, max_graphs: int
) -> tuple[int, ...]:
    """Returns the lengths below the full one that make the mean length of the graph that a text
    runs in smallest, exactly, by dynamic programming.

    A graph's time is taken to grow with its length, as that of a recurrence does; attention grows
    faster, so that it gains more than is counted here.

    Args:
        token_lengths: `(n,)`; longer texts are cut, empty ones count as one token.
        sequence_length: The full length, always one of the graphs.
        max_graphs: How many graphs there may be, at least 1; fewer where more save nothing.
    """
    ends = np.arange(sequence_length + 1)
    texts = np.bincount(
        np.clip(token_lengths, 1, sequence_length), minlength=sequence_length + 1
    ).cumsum()  # texts[n]: of at most n tokens
    # costs[end]: least sum of graph lengths over texts of at most `end` tokens, the longest graph
    # having `end`; with one graph at first, with one more after each round.
    costs = texts * ends
    before: list[NDArray[Any]] = []
    possible = ends[:, None] < ends[None, :]
    for _ in range(max_graphs - 1):
        extended = costs[:, None] + (texts[None, :] - texts[:, None]) * ends[None, :]
        extended = np.where(possible, extended, np.iinfo(extended.dtype).max)
        extended[0, 0] = 0
        before.append(extended.argmin(0))  # the first of equal ones: 0, no shorter graph at all
        costs = extended.min(0)
    lengths: list[int] = []
    end = sequence_length
    for shorter in reversed(before):
        end = int(shorter[end])
        if end == 0:
            break
        lengths.append(end)
    return tuple(sorted(lengths))
