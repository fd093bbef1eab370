"""Vocabulary and width → the input and the embedding lookup that every model begins with."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf
import tf_keras as keras

from tfpipe.models.constraints import ZeroPaddingRow
from tfpipe.models.dropout import ResumableDropout


@keras.utils.register_keras_serializable("tfpipe")
class ScaledEmbedding(keras.layers.Embedding):  # type: ignore[misc]
    """Embedding lookup times the square root of its width (Vaswani et al. 2017, section 3.4).

    Adam moves a weight by about the learning rate at each update that touches it. A rare word's
    row is touched a few times; without the factor it would hardly leave its initial values. The
    inference form multiplies the table itself.

    Call arguments:
        inputs: int32 `(batch, sequence_length)`.

    Returns:
        float `(batch, sequence_length, output_dim)`.
    """

    @property
    def scale(self) -> float:
        """The factor between the table's rows and the vectors."""
        width: int = self.output_dim
        return math.sqrt(width)

    def call(self, inputs: Any) -> Any:
        return super().call(inputs) * self.scale


@keras.utils.register_keras_serializable("tfpipe")
class EmbeddingProjection(keras.layers.Layer):  # type: ignore[misc]
    """Vectors of a narrow table times a kernel: an embedding of low rank (Lan et al. 2020, "ALBERT:
    A Lite BERT", section 3.1). Without a bias, so that padding stays zero.

    Args:
        output_dim: Width of the result.

    Call arguments:
        inputs: float `(..., rank)`.

    Returns:
        float `(..., output_dim)`.
    """

    def __init__(self, output_dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.output_dim = output_dim

    def build(self, input_shape: Any) -> None:
        self.kernel = self.add_weight("kernel", (int(input_shape[-1]), self.output_dim))
        super().build(input_shape)

    def call(self, inputs: Any) -> Any:
        return tf.tensordot(inputs, tf.cast(self.kernel, inputs.dtype), 1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "output_dim": self.output_dim}


def embedding_behind(layer: keras.layers.Layer) -> ScaledEmbedding | None:
    """Returns the embedding whose rows a layer reads as they are; None if it reads something
    else."""
    source = layer.inbound_nodes[0].inbound_layers
    while isinstance(source, ResumableDropout):
        source = source.inbound_nodes[0].inbound_layers
    return source if isinstance(source, ScaledEmbedding) else None


def token_input() -> Any:
    """Returns the input every model has: int32 `(batch, length)`, padded on the right with id 0."""
    return keras.Input((None,), dtype=tf.int32, name="token_ids")


def embed_tokens(
    token_ids: Any,
    *,
    vocabulary_size: int,
    columns: int,
    token_dropout: float,
    embedding_dropout: float,
    seed: int,
) -> Any:
    """Looks up the tokens' vectors; dropout of whole tokens, then of whole features of a text.

    Returns:
        float `(batch, length, columns)`, zero at padding.
    """
    vectors = ScaledEmbedding(
        vocabulary_size,
        columns,
        embeddings_initializer=keras.initializers.RandomUniform(-0.05, 0.05),
        embeddings_constraint=ZeroPaddingRow(),
        name="embedding",
    )(token_ids)
    vectors = ResumableDropout(token_dropout, seed, (0, 1), name="token_dropout")(vectors)
    return ResumableDropout(embedding_dropout, seed + 1, (0, 2), name="embedding_dropout")(vectors)


def project_vectors(
    vectors: Any, *, embedding_dim: int, embedding_rank: int, is_read: bool = True
) -> Any:
    """Returns the vectors in their full width, for layers that do not begin with a product.

    Args:
        vectors: Of a table of `embedding_rank` columns.
        embedding_dim: The full width.
        embedding_rank: 0 where the table has the full width itself.
        is_read: Whether the model has such a layer.

    Returns:
        float `(batch, length, embedding_dim)`, zero at padding.

    Raises:
        ValueError: The table has more columns than the full width, or nothing reads that.
    """
    if not embedding_rank:
        return vectors
    if embedding_rank > embedding_dim:
        raise ValueError(
            f"model.embedding_rank={embedding_rank} is above model.embedding_dim={embedding_dim}. "
            "Give fewer columns, or 0 for a table of the full width."
        )
    if not is_read:
        raise ValueError(
            f"model.embedding_rank={embedding_rank} with model.embedding_skip=false: products "
            "alone read the table, in its own width. Give "
            f"model.embedding_dim={embedding_rank} and model.embedding_rank=0."
        )
    return EmbeddingProjection(embedding_dim, name="projection")(vectors)
