"""Vocabulary and width → the input and the embedding lookup that every model begins with."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras as keras

from tfpipe.models.constraints import ZeroPaddingRow
from tfpipe.models.dropout import ResumableDropout


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
    vectors = keras.layers.Embedding(
        vocabulary_size,
        embedding_dim,
        embeddings_initializer=keras.initializers.RandomUniform(-0.05, 0.05),
        embeddings_constraint=ZeroPaddingRow(),
        name="embedding",
    )(token_ids)
    vectors = ResumableDropout(token_dropout, seed, (0, 1), name="token_dropout")(vectors)
    return ResumableDropout(embedding_dropout, seed + 1, (0, 2), name="embedding_dropout")(vectors)
