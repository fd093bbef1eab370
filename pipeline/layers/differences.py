"""A layer's values in the trained model's form and in the file → how far apart they are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Dequantized values of two programs that are the same quantum differ by float32's own rounding.
SAME_QUANTUM = 0.5


@dataclass
class Differences:
    """The differences at one point, summed up over texts.

    Attributes:
        scale: The step between two of the values that it can have; None of float32.
    """

    scale: float | None
    _count: int = 0
    _unequal: int = 0
    _absolute: float = 0.0
    _highest: float = 0.0
    _signal: float = 0.0
    _noise: float = 0.0

    def add(self, expected: NDArray[np.float32], found: NDArray[np.float32]) -> None:
        """Adds one text's values, two arrays of one shape."""
        wanted = expected.astype(np.float64)
        errors = np.abs(found - wanted)
        self._count += errors.size
        self._absolute += float(errors.sum())
        self._highest = max(self._highest, float(errors.max(initial=0.0)))
        self._signal += float(np.square(wanted).sum())
        self._noise += float(np.square(errors).sum())
        limit = 0.0 if self.scale is None else SAME_QUANTUM * self.scale
        self._unequal += int((errors > limit).sum())

    def figures(self) -> dict[str, Any]:
        """Returns the figures of all texts.

        "mean_error" and "max_error" are of |file - form|, "mean_quanta" and "max_quanta" the same
        in steps of the point's scale (None of float32), "equal" the share of values that are the
        same, and "signal_to_noise_db" is 10 log10(sum form² / sum (file - form)²), the SQNR of
        Lin, Talathi and Annapureddy 2016 (Fixed Point Quantization of Deep Convolutional
        Networks) with the form for the signal; None where there is no difference, or no signal.

        >>> differences = Differences(0.5)
        >>> differences.add(np.array([3.0, 4.0]), np.array([3.0, 4.5]))
        >>> differences.figures()["signal_to_noise_db"], differences.figures()["max_quanta"]
        (20.0, 1.0)
        """
        mean = self._absolute / self._count if self._count else 0.0
        known = bool(self._noise and self._signal)
        ratio = 10 * math.log10(self._signal / self._noise) if known else None
        return {
            "equal": 1 - self._unequal / self._count if self._count else 1.0,
            "mean_quanta": None if self.scale is None else round(mean / self.scale, 4),
            "max_quanta": None if self.scale is None else round(self._highest / self.scale, 3),
            "mean_error": mean,
            "max_error": self._highest,
            "signal_to_noise_db": None if ratio is None else round(ratio, 2),
        }
