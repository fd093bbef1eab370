"""Token ids + the host's int8 tables → the int8 inputs of a model's tail behind its embedding."""

from __future__ import annotations

import os
from typing import Any, Dict

import numpy as np

EMBEDDING_FILE = "embedding.npy"
POOLING_FILE = "pooling.npy"


class HostLookup:
    """The part of a model that stays on the host: embedding rows, mask and pooling factors.

    Args:
        embedding: int8 (vocabulary, columns), quantized as the tail's "vectors" input is.
        pooling: int8 (2 + sequence_length, 3). Row 0: what the inputs "mask" and "mean_weights"
            hold at padding, and 1.0 of "mask". Row 1 + n, for n real tokens: "mean_weights" at a
            real token, "mean_scale", and 0.
    """

    def __init__(self, embedding: np.ndarray[Any, Any], pooling: np.ndarray[Any, Any]) -> None:
        self.embedding = embedding
        self.pooling = pooling

    def inputs(self, token_ids: np.ndarray[Any, Any]) -> Dict[str, np.ndarray[Any, Any]]:
        """Returns the tail's inputs by name, int8 (1, 1, T, …), for int32 (1, T) token ids.

        Raises:
            IndexError: An id outside the table.
        """
        row = token_ids[0]
        if row.min() < 0:
            raise IndexError(f"token id {row.min()}, the embedding has rows from 0 on")
        real = row > 0
        no_token, no_weight, token = self.pooling[0]
        weight, scale, _ = self.pooling[1 + int(real.sum())]
        shape = (1, 1, len(row), 1)
        return {
            "vectors": self.embedding[row][None, None],
            "mask": np.where(real, token, no_token).reshape(shape),
            "mean_weights": np.where(real, weight, no_weight).reshape(shape),
            "mean_scale": np.full((1, 1, 1, 1), scale, np.int8),
        }


def read_lookup(folder: str) -> HostLookup:
    """Reads the tables of an artifact folder.

    Raises:
        ValueError: A table is no int8 matrix.
        OSError: A file cannot be read.
    """
    return HostLookup(_read(folder, EMBEDDING_FILE), _read(folder, POOLING_FILE))


def _read(folder: str, name: str) -> np.ndarray[Any, Any]:
    path = os.path.join(folder, name)
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is no table: {error}. Export the artifact again.") from error
    if not isinstance(array, np.ndarray) or array.dtype != np.int8 or array.ndim != 2:
        raise ValueError(f"{path} is no int8 matrix. Export the artifact again.")
    return array
