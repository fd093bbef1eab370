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


def token_input() -> Any:
    """Returns the input every model has: int32 `(batch, length)`, padded on the right with id 0."""
    return keras.Input((None,), dtype=tf.int32, name="token_ids")


def embed_tokens(
    token_ids: Any,
    *,
    vocabulary_size: int,
    embedding_dim: int,
    token_dropout: float,
    embedding_dropout: float,
    seed: int,
) -> Any:
    """Looks up the tokens' vectors; dropout of whole tokens, then of whole features of a text.

    Returns:
        float `(batch, length, embedding_dim)`, zero at padding.
    """
    vectors = ScaledEmbedding(
        vocabulary_size,
        embedding_dim,
        embeddings_initializer=keras.initializers.RandomUniform(-0.05, 0.05),
        embeddings_constraint=ZeroPaddingRow(),
        name="embedding",
    )(token_ids)
    vectors = ResumableDropout(token_dropout, seed, (0, 1), name="token_dropout")(vectors)
    return ResumableDropout(embedding_dropout, seed + 1, (0, 2), name="embedding_dropout")(vectors)
