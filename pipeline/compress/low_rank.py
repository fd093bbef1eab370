"""An embedding that only linear layers read → the same texts' vectors in fewer dimensions."""

from __future__ import annotations

from typing import Any

import numpy as np
import tf_keras as keras
from numpy.typing import NDArray

from tfpipe.compress.copies import copy_of
from tfpipe.compress.source import Source
from tfpipe.models.dropout import ResumableDropout
from tfpipe.models.embedding import ScaledEmbedding
from tfpipe.models.padding import MaskedPooling

# Layers that begin with a product of their first weight; its axis of inputs.
INPUT_AXES: dict[type, int] = {
    keras.layers.LSTM: 0,
    keras.layers.Conv1D: 1,
    keras.layers.Dense: 0,
}
# Of the largest singular value: what is smaller is rounding.
NEGLIGIBLE = 1e-6
Matrix = NDArray[np.float64]


def with_low_rank(model: keras.Model, source: Source, rank: int) -> keras.Model:
    """Returns a copy whose embedding has what matters in its first columns, where it can have that.

    Layers that read the table E only by products with their kernels K read E P with P⁻¹ K just as
    well. Of all tables of `rank` columns, the one taken makes the smallest error in the products of
    the training texts' tokens, the sum over tokens of count × |e K - e' K'|²: the truncated
    singular value decomposition of sqrt(counts) E K (Eckart and Young 1936; weighted as in Hsu et
    al. 2022, "Language model compression with weighted low-rank factorization"). Its singular
    values are shared evenly by table and kernels, and its columns mixed by a rotation, so that they
    are of like size: one int8 scale suits all, and dropout takes no more with one than with
    another. The columns from `rank` on, or from the rank of E K on, become zero.

    Args:
        model: A float model.
        source: The run's data.
        rank: Columns to use, from 1 to those there are.

    Returns:
        The model itself where something else than a product, or the mean before one, reads the
        vectors (a residual stream, a maximum, several tables), or the products are all zero.
    """
    copy = copy_of(model)
    found = find_readers(copy)
    if found is None:
        return model
    embedding, readers = found
    table = embedding.embeddings.numpy().astype(np.float64)
    kernels = [as_matrix(layer) for layer in readers]
    joined = np.concatenate(kernels, axis=1)
    counts = source.splits["train"].count_tokens(len(table))
    # The triangular factor has the same products' sizes and directions, in as few rows as columns.
    triangle = np.linalg.qr(np.sqrt(counts)[:, None] * table, mode="r")
    _, values, rows = np.linalg.svd(triangle @ joined, full_matrices=False)
    rank = min(rank, int((values > values[0] * NEGLIGIBLE).sum()))
    if not rank:
        return model
    half, basis = np.sqrt(values[:rank]), rows[:rank]
    turn = np.linalg.qr(np.random.default_rng(source.content["seed"]).normal(size=(rank, rank)))[0]
    vectors = table @ joined @ (basis.T / half) @ turn
    size = np.linalg.norm(table) / np.linalg.norm(vectors)
    added = ((0, 0), (0, table.shape[1] - rank))
    embedding.embeddings.assign(np.pad(vectors * size, added).astype(np.float32))
    kernel = np.pad(turn.T @ (half[:, None] * basis) / size, added[::-1])
    ends = np.cumsum([each.shape[1] for each in kernels])[:-1]
    for layer, part in zip(readers, np.split(kernel, ends, axis=1), strict=True):
        put_matrix(layer, part)
    return copy


def find_readers(model: keras.Model) -> tuple[ScaledEmbedding, list[Any]] | None:
    """Returns the embedding and the layers that multiply its vectors, None where others read them
    too."""
    tables = [layer for layer in model.layers if isinstance(layer, ScaledEmbedding)]
    if len(tables) != 1:
        return None
    readers, waiting = [], [tables[0]]
    while waiting:
        for node in waiting.pop().outbound_nodes:
            layer = node.outbound_layer
            if type(layer) in INPUT_AXES:
                readers.append(layer)
            elif isinstance(layer, ResumableDropout) or is_mean(layer):
                waiting.append(layer)
            else:
                return None
    return tables[0], readers


def is_mean(layer: Any) -> bool:
    """Returns whether a layer takes the mean over the tokens."""
    return isinstance(layer, MaskedPooling) and layer.pooling == "mean"


def as_matrix(layer: Any) -> Matrix:
    """Returns a layer's first weight as `(inputs, products)`."""
    values = np.moveaxis(layer.trainable_weights[0].numpy(), INPUT_AXES[type(layer)], 0)
    return np.asarray(values.reshape(len(values), -1), np.float64)


def put_matrix(layer: Any, values: Matrix) -> None:
    """Gives a layer's first weight the values of `as_matrix`."""
    weights, axis = layer.trainable_weights[0], INPUT_AXES[type(layer)]
    shape = list(weights.shape)
    moved = [shape.pop(axis), *shape]
    weights.assign(np.moveaxis(values.reshape(moved), 0, axis).astype(np.float32))
