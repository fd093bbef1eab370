"""Text hashes, label sets and a seed → which row is train, validation or test."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

TRAIN, VALIDATION, TEST, LEFT_OUT = 0, 1, 2, 255
SPLIT_NAMES = ("train", "validation", "test")
TEST_FRACTION = 0.15
VALIDATION_FRACTION = 0.1  # of the rows that are not test

UInt64s = NDArray[np.uint64]
Indices = NDArray[np.int64]


def mix64(values: UInt64s, seed: int) -> UInt64s:
    """Returns pseudo-random numbers that depend on value and seed alone.

    The mixing is SplitMix64 (Steele, Lea, Flood 2014), the same on every machine and in every
    version of NumPy.
    """
    golden, mask = 0x9E3779B97F4A7C15, 0xFFFFFFFFFFFFFFFF
    mixed = values + np.uint64((seed + 1) * golden & mask)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    result: UInt64s = mixed ^ (mixed >> np.uint64(31))
    return result


def shuffled_indices(num_rows: int, seed: int) -> Indices:
    """Returns the row numbers 0 … num_rows - 1 in an order drawn from the seed.

    >>> shuffled_indices(5, 1).tolist()
    [0, 3, 1, 2, 4]
    """
    return np.argsort(mix64(np.arange(num_rows, dtype=np.uint64), seed), kind="stable")


def sample_indices(num_rows: int, limit: int, seed: int) -> Indices:
    """Returns at most `limit` of the row numbers 0 … num_rows - 1, ascending.

    >>> sample_indices(5, 10, 1).tolist()
    [0, 1, 2, 3, 4]
    """
    return np.sort(shuffled_indices(num_rows, seed)[:limit])


def assign_splits(
    hashes: UInt64s,
    codes: NDArray[np.int32],
    label_sets: Sequence[tuple[int, ...]],
    *,
    test_fraction: float,
    seed: int,
) -> NDArray[np.uint8]:
    """Splits rows by their texts, stratified by label.

    Rows with equal texts form a group and stay together. One group of each label is always
    training data. The others are sorted by their rarest label and, within a label, by a hash of
    text and seed; test groups are taken from that list at equal distances, then validation
    groups from what is left. The order of the rows in the file plays no part.

    Args:
        hashes: `(num_rows,)`, equal where texts are equal.
        codes: `(num_rows,)`, indices into `label_sets`.
        label_sets: Sets of label numbers.
        test_fraction: Share of the texts that become test data; 0 for none.
        seed: Another seed gives another split.

    Returns:
        uint8 `(num_rows,)` of `TRAIN`, `VALIDATION` and `TEST`.

    Raises:
        ValueError: There are too few different texts.
    """
    unique, first, group_of_row = np.unique(hashes, return_index=True, return_inverse=True)
    keys = mix64(unique, seed)
    label_counts = count_labels(codes, label_sets)
    kept_back = protect_labels(keys[group_of_row], group_of_row, codes, label_sets, label_counts)
    strata = np.array([min(s, key=lambda c: (label_counts[c], c)) for s in label_sets])
    order = np.lexsort((keys, strata[codes[first]]))
    free = order[~np.isin(order, kept_back)]
    needed = 1 + (test_fraction > 0)
    if len(free) < needed:
        raise ValueError(
            f"{len(unique)} different texts with {np.count_nonzero(label_counts)} labels are too "
            f"few to split: training keeps a text of each label, and {needed} more are needed for "
            f"{'validation and test' if needed == 2 else 'validation'}. Add rows."
        )
    result = np.full(len(unique), TRAIN, dtype=np.uint8)
    num_test = clip(round(test_fraction * len(unique)), 1, len(free) - 1) if needed == 2 else 0
    picked = spread(len(free), num_test, seed)
    result[free[picked]] = TEST
    free = np.delete(free, picked)
    num_validation = clip(round(VALIDATION_FRACTION * (len(unique) - num_test)), 1, len(free))
    result[free[spread(len(free), num_validation, seed + 1)]] = VALIDATION
    return result[group_of_row]


def clip(value: int, low: int, high: int) -> int:
    return max(low, min(value, high))


def spread(length: int, count: int, seed: int) -> Indices:
    """Returns `count` positions at equal distances in a list, from a start drawn from the seed."""
    start = float(mix64(np.zeros(1, dtype=np.uint64), seed)[0]) / 2.0**64
    return np.floor((np.arange(count) + min(start, 0.999)) * length / max(count, 1)).astype(int)


def count_labels(
    codes: NDArray[np.int32], label_sets: Sequence[tuple[int, ...]]
) -> NDArray[np.int64]:
    """Returns `(num_labels,)`, the number of rows that have each label."""
    num_labels = 1 + max(max(labels) for labels in label_sets)
    counts = np.zeros(num_labels, dtype=np.int64)
    rows_of_set = np.bincount(codes, minlength=len(label_sets))
    for labels, num_rows in zip(label_sets, rows_of_set.tolist(), strict=True):
        counts[list(labels)] += num_rows
    return counts


def protect_labels(
    keys: UInt64s,
    group_of_row: Indices,
    codes: NDArray[np.int32],
    label_sets: Sequence[tuple[int, ...]],
    label_counts: NDArray[np.int64],
) -> list[int]:
    """Returns groups that between them hold every label: the first by key, rare labels first."""
    order = np.lexsort((group_of_row, keys))
    present, position = np.unique(codes[order], return_index=True)
    first_of_set = sorted(
        (place, label_sets[code])
        for place, code in zip(position.tolist(), present.tolist(), strict=True)
    )
    first_of_label: dict[int, tuple[int, tuple[int, ...]]] = {}
    for place, labels in first_of_set:
        for label in labels:
            first_of_label.setdefault(label, (place, labels))
    groups: list[int] = []
    covered: set[int] = set()
    for label in sorted(first_of_label, key=lambda c: (label_counts[c], c)):
        place, labels = first_of_label[label]
        if label not in covered:
            covered.update(labels)
            groups.append(int(group_of_row[order[place]]))
    return groups
