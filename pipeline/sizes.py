"""The bytes of a file → how many they are: plain, as zip, as zstd."""

from __future__ import annotations

import zlib

from backports import zstd  # the standard library's compression.zstd, from Python 3.14 on

ZIP_LEVEL = 9  # as archives for phones are packed
# The highest of the usual levels, as packages are packed; 0.3 s a MB, a pruned float file 1.3 s.
ZSTD_LEVEL = 19
# Beyond it nobody waits for a few per cent: 0.06 s a MB.
MAX_SLOW_BYTES = 16 << 20
FAST_ZSTD_LEVEL = 9


def stored_sizes(data: bytes) -> dict[str, int]:
    """Returns the bytes of `data` as each way to store them makes of it.

    Returns:
        "plain": as it is. "zip": DEFLATE, level 9 (RFC 1951, in the zlib frame of RFC 1950: an
        archive adds about 100 bytes). "zstd": one Zstandard frame (RFC 8878) of level 19, of level
        9 where `data` has more than 16 MiB.
    """
    level = ZSTD_LEVEL if len(data) <= MAX_SLOW_BYTES else FAST_ZSTD_LEVEL
    return {
        "plain": len(data),
        "zip": len(zlib.compress(data, ZIP_LEVEL)),
        "zstd": len(zstd.compress(data, level)),
    }


def file_sizes(data: bytes) -> dict[str, int]:
    """Returns `stored_sizes` of a model file under the names of check.json."""
    sizes = stored_sizes(data)
    return {
        "model_size_bytes": sizes["plain"],
        "zip_size_bytes": sizes["zip"],
        "zstd_size_bytes": sizes["zstd"],
    }
