"""A model whose embedding has many columns → the same model with a table of fewer."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import tf_keras as keras
from numpy.typing import NDArray

from tfpipe.compress.copies import copy_of
from tfpipe.compress.source import Source
from tfpipe.models.dropout import ResumableDropout
from tfpipe.models.embedding import EmbeddingProjection, ScaledEmbedding
from tfpipe.models.padding import MaskedPooling
from tfpipe.variant import build_model

# Layers that begin with a product of their first weight; its axis of inputs.
INPUT_AXES: dict[type, int] = {
    keras.layers.LSTM: 0,
    keras.layers.Conv1D: 1,
    keras.layers.Dense: 0,
    EmbeddingProjection: 0,
}
# Of the largest singular value: what is smaller is rounding.
NEGLIGIBLE = 1e-6
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Readers:
    """What reads a model's embedding, dropout and means left out.

    Attributes:
        embedding: The layer of the table.
        products: Layers that begin with a product of the vectors.
        others: Whether anything else reads them: a maximum, a residual stream.
    """

    embedding: ScaledEmbedding
    products: list[Any]
    others: bool


def reduce_rank(model: keras.Model, source: Source, rank: int) -> tuple[keras.Model, Source]:
    """Returns the same model with a table of `rank` columns.

    Layers that begin with a product read its rows as they are, their kernels being multiplied with
    what the columns stand for. Where something else reads the vectors, a layer between
    (`EmbeddingProjection`) makes them as wide as they were, and the table is the one that makes the
    smallest error in the vectors themselves; else that in the products, see `factorize`.

    Args:
        model: A float model of `tfpipe.models`.
        source: The run's data.
        rank: Columns of the new table, from 1 to one less than there are.

    Returns:
        The model, and the data with its recipe; fewer columns than asked for where the products
        need no more.

    Raises:
        ValueError: Nothing needs the table's vectors.
    """
    readers = find_readers(model)
    vectors, kernel = factorize(readers, source, rank)
    rank = vectors.shape[1]
    if not rank:
        raise ValueError("nothing needs the embedding's vectors: every product of them is zero.")
    key = "embedding_rank" if readers.others or is_projected(readers) else "embedding_dim"
    recipe = {**source.recipe, "model": {**source.recipe["model"], key: rank}}
    smaller = build_model(source.folder, recipe, len(vectors))
    firsts = {layer.name for layer in readers.products}
    for layer in smaller.layers:
        if layer.name == readers.embedding.name:
            layer.set_weights([vectors / layer.scale])
        elif isinstance(layer, EmbeddingProjection) and readers.others:
            layer.set_weights([kernel])
        else:
            own = layer.get_weights()[: layer.name in firsts]
            layer.set_weights([*own, *model.get_layer(layer.name).get_weights()[len(own) :]])
    for layer, part in zip(readers.products, split(readers, kernel), strict=True):
        put_matrix(smaller.get_layer(layer.name), part)
    return smaller, dataclasses.replace(source, recipe=recipe)


def with_low_rank(model: keras.Model, source: Source, rank: int) -> keras.Model:
    """Returns a copy whose embedding has what matters in its first `rank` columns, where nothing
    but products read them; the columns behind are zero.

    Args:
        model: A float model.
        source: The run's data.
        rank: Columns to use, from 1 to those there are.

    Returns:
        The model itself where something else reads the vectors, or the products are all zero.
    """
    copy = copy_of(model)
    readers = find_readers(copy)
    if readers.others:
        return model
    vectors, kernel = factorize(readers, source, rank)
    if not vectors.shape[1]:
        return model
    added = ((0, 0), (0, readers.embedding.output_dim - vectors.shape[1]))
    readers.embedding.set_weights([np.pad(vectors / readers.embedding.scale, added)])
    kernel = np.pad(kernel, added[::-1])
    for layer, part in zip(readers.products, split(readers, kernel), strict=True):
        put_matrix(layer, part)
    return copy


def factorize(readers: Readers, source: Source, rank: int) -> tuple[Matrix, Matrix]:
    """Returns vectors `(vocabulary_size, rank)` and what stands before them in every product.

    Layers that read the vectors E only by products with their kernels K read E P with P⁻¹ K just as
    well. Of all tables of `rank` columns, the one taken makes the smallest error in the products of
    the training texts' tokens, the sum over tokens of count × |e K - e' K'|²: the truncated
    singular value decomposition of sqrt(counts) E K (Eckart and Young 1936; weighted as in Hsu et
    al. 2022, "Language model compression with weighted low-rank factorization"). What is no product
    reads E itself, and K is the identity. The singular values are shared evenly by vectors and
    kernels, and the columns mixed by a rotation, so that they are of like size: one int8 scale
    suits all, and dropout takes no more with one than with another.

    Returns:
        Vectors of at most the rank of E K, and K' `(rank, products)`: of the layers one after the
        other, or, where others read the vectors, what makes E of them.
    """
    embedding = readers.embedding
    table = embedding.get_weights()[0].astype(np.float64) * embedding.scale
    joined = np.eye(table.shape[1])
    if not readers.others:
        joined = np.concatenate([as_matrix(layer) for layer in readers.products], axis=1)
    counts = source.splits["train"].count_tokens(len(table))
    # The triangular factor has the same products' sizes and directions, in as few rows as columns.
    triangle = np.linalg.qr(np.sqrt(counts)[:, None] * table, mode="r")
    _, values, rows = np.linalg.svd(triangle @ joined, full_matrices=False)
    rank = min(rank, int((values > values[0] * NEGLIGIBLE).sum()))
    half, basis = np.sqrt(values[:rank]), rows[:rank]
    turn = np.linalg.qr(np.random.default_rng(source.content["seed"]).normal(size=(rank, rank)))[0]
    vectors = table @ joined @ (basis.T / half) @ turn
    size = np.linalg.norm(table) / np.linalg.norm(vectors) if rank else 1.0
    return vectors * size, turn.T @ (half[:, None] * basis) / size


def split(readers: Readers, kernel: Matrix) -> list[Matrix]:
    """Returns the part of each product in what `factorize` gave."""
    kernels = [as_matrix(layer) for layer in readers.products]
    if readers.others:
        return [kernel @ each for each in kernels]
    return np.split(kernel, np.cumsum([each.shape[1] for each in kernels])[:-1], axis=1)


def is_projected(readers: Readers) -> bool:
    """Returns whether the table is a narrow one already."""
    return any(isinstance(layer, EmbeddingProjection) for layer in readers.products)


def find_readers(model: keras.Model) -> Readers:
    """Returns the embedding and what reads its vectors."""
    (table,) = (layer for layer in model.layers if isinstance(layer, ScaledEmbedding))
    readers, waiting = Readers(table, [], False), [table]
    while waiting:
        for node in waiting.pop().outbound_nodes:
            layer = node.outbound_layer
            if type(layer) in INPUT_AXES:
                readers.products.append(layer)
            elif isinstance(layer, ResumableDropout) or is_mean(layer):
                waiting.append(layer)
            else:
                readers = dataclasses.replace(readers, others=True)
    return readers


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
