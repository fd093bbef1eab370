"""Latency samples → percentiles, and the number of samples that each percentile needs.

The rule is MLPerf Inference's early stopping (mlcommons/inference, loadgen/early_stopping.cc and
"Early Stopping Criterion" of the inference rules) with confidence 99 % and tolerance 0.
"""

from __future__ import annotations

import functools
import math
from typing import Any, Dict, Optional, Sequence, Tuple

# The percentiles that a result quotes, by their name in its keys.
PERCENTS: Dict[str, float] = {"p50": 50.0, "p90": 90.0, "p99": 99.0}
CONFIDENCE = 0.99


def nearest_rank(samples: Sequence[int], percent: float) -> int:
    """Returns the percentile that is itself one of the samples: the ceil(p·n)-th smallest.

    Args:
        samples: At least one, in any order.
        percent: In (0, 100].

    Raises:
        ValueError: No samples, or `percent` outside its range.

    >>> nearest_rank([30, 10, 20], 50)
    20
    """
    if not len(samples):
        raise ValueError("samples has no entry, expected at least 1. Measure first.")
    if not 0 < percent <= 100:
        raise ValueError(
            f"percent={percent}, expected more than 0 and at most 100. Use 50 for the median."
        )
    # The rounding takes away the error of the product: 0.07 · 100 is 7.000000000000001.
    rank = math.ceil(round(percent / 100 * len(samples), 9))
    return sorted(samples)[max(rank, 1) - 1]


@functools.lru_cache(maxsize=None)
def smallest_sample_count(percent: float) -> int:
    """Returns how many samples a percentile needs before it may be quoted.

    The smallest n for which F(1; n, 1 - p) ≤ 1 - confidence, where F is the distribution function
    of the binomial: with fewer, even one sample above the bound proves nothing.

    Args:
        percent: In (0, 100).

    >>> [smallest_sample_count(percent) for percent in (50.0, 90.0, 99.0)]
    [11, 64, 662]
    """
    if not 0 < percent < 100:
        raise ValueError(f"percent={percent}, expected more than 0 and less than 100. Use 50.")
    high = 2
    while _binomial_cdf(1, high, 1 - percent / 100) > 1 - CONFIDENCE:
        high *= 2
    low = high // 2
    while low < high:
        middle = (low + high) // 2
        if _binomial_cdf(1, middle, 1 - percent / 100) <= 1 - CONFIDENCE:
            high = middle
        else:
            low = middle + 1
    return high


def percentile(samples: Sequence[int], percent: float) -> Optional[int]:
    """Returns the nearest-rank percentile, or None when there are too few samples for it."""
    if len(samples) < smallest_sample_count(percent):
        return None
    return nearest_rank(samples, percent)


def early_stopping_bound(samples: Sequence[int], percent: float) -> Optional[int]:
    """Returns MLPerf's upper bound of a percentile, true with 99 % confidence.

    With t the largest number for which F(t; n, 1 - p) ≤ 1 - confidence, the t - 1 slowest samples
    are discarded and the slowest of the rest is the bound: the 98th of 100 for p90, the 945th of
    1,024.

    Args:
        samples: In any order.
        percent: In (0, 100).

    Returns:
        One of the samples, or None when there are too few.
    """
    if len(samples) < smallest_sample_count(percent):
        return None
    over = _largest_over_count(len(samples), 1 - percent / 100)
    return sorted(samples)[len(samples) - over]


def percentile_interval(samples: Sequence[int], percent: float) -> Tuple[int, int]:
    """Returns between which samples a percentile lies, whatever their distribution.

    The samples at the ranks n·p ± z·√(n·p·(1 - p)), the binomial's normal approximation (W. J.
    Conover, Practical Nonparametric Statistics, section 3.2). z = 2.576 / √2: where the intervals
    of two equally large samples do not touch, their percentiles differ with 99 % confidence.

    Args:
        samples: At least one, in any order.
        percent: In (0, 100).

    >>> percentile_interval(range(1, 101), 90)
    (84, 96)
    """
    ordered, share = sorted(samples), percent / 100
    count = len(ordered)
    reach = 2.576 / math.sqrt(2) * math.sqrt(count * share * (1 - share))
    low, high = math.floor(count * share - reach), math.ceil(count * share + reach)
    return ordered[max(low, 1) - 1], ordered[min(high, count) - 1]


def describe(samples: Sequence[int]) -> Dict[str, Any]:
    """Returns percentiles, mean, smallest and largest of latencies in nanoseconds.

    A percentile that the samples are too few for is None, and so is all else without samples.
    No outlier is removed.
    """
    count = len(samples)
    values: Dict[str, Any] = {
        f"{name}_ns": percentile(samples, percent) for name, percent in PERCENTS.items()
    }
    mean = sum(samples) / count if count else None
    values["mean_ns"] = mean
    values["standard_deviation_ns"] = (
        math.sqrt(sum((sample - mean) ** 2 for sample in samples) / (count - 1))
        if mean is not None and count > 1
        else None
    )
    values["min_ns"] = min(samples) if count else None
    values["max_ns"] = max(samples) if count else None
    values["percentile_n"] = {
        name: smallest_sample_count(percent) for name, percent in PERCENTS.items()
    }
    values["early_stopping_p90_ns"] = early_stopping_bound(samples, PERCENTS["p90"])
    return values


def _binomial_cdf(successes: int, trials: int, probability: float) -> float:
    """Returns P(X ≤ successes) of the binomial; terms in logarithms, as p^n underflows."""
    log_odds = math.log(probability) - math.log1p(-probability)
    log_term = trials * math.log1p(-probability)
    total = math.exp(log_term)
    for k in range(1, successes + 1):
        log_term += math.log(trials - k + 1) - math.log(k) + log_odds
        total += math.exp(log_term)
    return total


def _largest_over_count(trials: int, probability: float) -> int:
    """Returns the largest t with P(X ≤ t) ≤ 1 - confidence; the caller knows that 1 is one."""
    log_odds = math.log(probability) - math.log1p(-probability)
    log_term = trials * math.log1p(-probability)
    total = math.exp(log_term)
    for k in range(1, trials + 1):
        log_term += math.log(trials - k + 1) - math.log(k) + log_odds
        total += math.exp(log_term)
        if total > 1 - CONFIDENCE:
            return k - 1
    return trials
