"""Schemes whose values stay in float32: bits of a weight, and how four of them are stored."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HALF_BYTE = 4
WEIGHT_SCHEMES = {"dynamic_int8": 8, "dynamic_int4": HALF_BYTE}
# Dense kernels with fewer numbers are float32 in dynamic_int8 files for cpu; the converter leaves
# those under 1,024 so itself. With more the product in int8 is the faster one for some number of
# rows: docs/targets.md, table of benchmarks/small_kernels.py.
SMALL_KERNEL = 4096


def pack_halves(levels: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Returns integers from -8 to 7, two in a byte, the first in its lower half; the last half is
    zero where their number is odd (tensorflow/lite/kernels/internal/portable_tensor_utils.cc).

    >>> pack_halves(np.int8([1, -1, 7])).tolist()
    [241, 7]
    """
    halves = np.ravel(levels).view(np.uint8) & np.uint8(0xF)
    halves = np.append(halves, np.zeros(halves.size % 2, np.uint8))
    packed: NDArray[np.uint8] = halves[0::2] + halves[1::2] * np.uint8(2**HALF_BYTE)
    return packed
