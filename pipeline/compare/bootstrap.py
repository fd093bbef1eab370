"""Latencies of two models, in the order of measuring → ratio of their medians, with an interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

REPLICATES = 2000
CONFIDENCE = 0.95
# Enough for a percentile interval; few enough that a unit outlasts what disturbs neighbours alike.
MAX_UNITS = 50
MIN_RUNS_PER_UNIT = 5
MIN_UNITS = 10
# Samples of one side that are resampled: evenly thinned above.
MAX_SAMPLES = 50_000
_SEED = 1


@dataclass(frozen=True)
class Ratio:
    """The median of B as a multiple of the median of A.

    Attributes:
        ratio: Of the samples themselves.
        low, high: Ends of the interval of confidence `CONFIDENCE`.
        num_units: Blocks that were resampled.
        paired: Whether a unit held the calls of both from the same time.
    """

    ratio: float
    low: float
    high: float
    num_units: int
    paired: bool

    @property
    def distance(self) -> float:
        """How far the interval reaches from 1."""
        return max(abs(self.low - 1), abs(self.high - 1))


def ratio_of_medians(a: Sequence[int], b: Sequence[int], *, paired: bool) -> Ratio:
    """Returns the ratio of medians, B to A, with a block bootstrap interval.

    Neighbouring calls are alike: a burst of another process, a clock step or a full cache slows
    down a whole stretch. So not calls but stretches of consecutive calls are drawn with
    replacement (non-overlapping block bootstrap: Carlstein, "The use of subseries values for
    estimating the variance of a general statistic from a stationary sequence", Annals of
    Statistics 14, 1986), the medians are taken anew and divided, 2,000 times; the interval lies
    between the percentiles of those ratios (Efron and Tibshirani, "An Introduction to the
    Bootstrap", 1993, chapter 13). Where both were measured interleaved, a stretch is drawn for
    both at once, so that what slowed both cancels, as Kalibera and Jones do for ratios ("Rigorous
    benchmarking in reasonable time", ISMM 2013).

    Args:
        a: Latencies in the order of measuring, at least 50.
        b: The same of the other.
        paired: Whether both were measured in turn, so that equal places are of the same time. What
            one of them has more is then left out.

    Raises:
        ValueError: One side has fewer than 50 samples, or a median is not above 0.
    """
    sides = [np.asarray(side, np.int64) for side in (a, b)]
    if paired:
        sides = [side[: min(map(len, sides))] for side in sides]
    fewest = min(map(len, sides))
    if fewest < MIN_UNITS * MIN_RUNS_PER_UNIT:
        raise ValueError(
            f"{fewest} calls were measured, expected at least {MIN_UNITS * MIN_RUNS_PER_UNIT} of "
            "each. Measure longer, such as with --profile mlperf."
        )
    num_units = min(MAX_UNITS, fewest // MIN_RUNS_PER_UNIT)
    random = np.random.default_rng(_SEED)
    drawn = [_draw(random, num_units)] * 2 if paired else [_draw(random, num_units) for _ in "ab"]
    first, second = (
        _medians(side, counts) for side, counts in zip(map(_thin, sides), drawn, strict=True)
    )
    middles = [_median(side) for side in sides]
    if min(middles) <= 0 or first.min() <= 0:
        raise ValueError(
            f"medians={middles} ns, expected both above 0. Use a clock that is finer than a call."
        )
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(second / first, [tail, 100 - tail])
    return Ratio(middles[1] / middles[0], float(low), float(high), num_units, paired)


def _draw(random: np.random.Generator, num_units: int) -> NDArray[np.int64]:
    """Returns how often each unit is in each replicate, (replicates, units)."""
    return random.multinomial(num_units, [1 / num_units] * num_units, size=REPLICATES)


def _thin(samples: NDArray[np.int64]) -> NDArray[np.int64]:
    return samples[:: -(-len(samples) // MAX_SAMPLES)]


def _median(samples: NDArray[np.int64]) -> int:
    """Returns the nearest-rank median, which is one of the samples."""
    middle = (len(samples) + 1) // 2 - 1
    return int(np.partition(samples, middle)[middle])


def _medians(samples: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns the nearest-rank median of each replicate.

    A unit that was drawn k times is one whose samples have the weight k: nothing is copied.
    """
    units = np.repeat(
        np.arange(counts.shape[1]), [len(part) for part in np.array_split(samples, counts.shape[1])]
    )
    order = np.argsort(samples, kind="stable")
    ordered, unit_of = samples[order], units[order]
    medians = np.empty(len(counts))
    for replicate, weights in enumerate(counts):
        total = np.cumsum(weights[unit_of])
        medians[replicate] = ordered[np.searchsorted(total, (total[-1] + 1) // 2)]
    return medians
