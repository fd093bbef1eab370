"""Token ids → LSTM states, read backwards or both ways → logits."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras as keras

from tfpipe.models.classifier import classify, join_branches, pool_embeddings
from tfpipe.models.constraints import ZeroCandidateBias
from tfpipe.models.dropout import ResumableDropout
from tfpipe.models.embedding import embed_tokens, project_vectors, token_input
from tfpipe.models.padding import MaskedPooling, PaddingMask


@keras.utils.register_keras_serializable("tfpipe")
class ReverseTime(keras.layers.Layer):  # type: ignore[misc]
    """Turns a backward LSTM's states, last position first, back into reading order.

    Call arguments:
        inputs: float `(batch, sequence_length, units)`; the returned tensor has the same shape.
    """

    def call(self, inputs: Any) -> Any:
        return tf.reverse(inputs, [1])


@keras.utils.register_keras_serializable("tfpipe")
class Masked(keras.layers.Layer):  # type: ignore[misc]
    """Zeroes states at padding, so that a next LSTM that meets them first stays at zero.

    Call arguments:
        inputs: A pair: float `(batch, sequence_length, units)` and the mask of `PaddingMask`.
    """

    def call(self, inputs: Any) -> Any:
        states, mask = inputs
        return states * mask


def build_lstm_classifier(
    vocabulary_size: int,
    sequence_length: int,
    num_classes: int,
    *,
    embedding_dim: int = 64,
    embedding_rank: int = 0,
    units: int = 64,
    num_layers: int = 1,
    pooling: str = "mean_max",
    embedding_skip: bool = True,
    branch_dropout: float = 0.3,
    dropout: float = 0.5,
    token_dropout: float = 0.2,
    embedding_dropout: float = 0.5,
    seed: int = 1,
) -> keras.Model:
    """LSTM (Hochreiter and Schmidhuber 1997) that reads the text from its end to its beginning.

    Padding stands on the right, so a backward reader meets it first, in its zero state, and leaves
    it in its zero state (`ZeroPaddingRow`, `ZeroCandidateBias`): no mask op is needed in any form.

    Args:
        embedding_rank: See `project_vectors`.
        pooling: See `MaskedPooling`; "last" is the final state, that of the first token.
        embedding_skip: Whether the head also sees the pooled embeddings, as a bag of words does.
        branch_dropout: See `join_branches`.

    Returns:
        int32 `(batch, length)` → logits float32 `(batch, num_classes)`; any length will do.
    """
    token_ids = token_input()
    mask = PaddingMask(name="mask")(token_ids)
    states = embed_tokens(
        token_ids,
        vocabulary_size=vocabulary_size,
        columns=embedding_rank or embedding_dim,
        token_dropout=token_dropout,
        embedding_dropout=embedding_dropout,
        seed=seed,
    )
    vectors = project_vectors(
        states,
        embedding_dim=embedding_dim,
        embedding_rank=embedding_rank,
        is_read=embedding_skip,
    )
    for index in range(num_layers):
        if index:
            states = ResumableDropout(dropout, seed + 10 + index, name=f"dropout_{index}")(states)
        final = pooling == "last" and index == num_layers - 1
        # The first layer turns the order round; the next ones already see the padding first.
        layer = lstm(units, f"lstm_{index}", sequences=not final, backwards=index == 0)
        states = layer(states)
    if pooling != "last":
        states = MaskedPooling(pooling, name="pooling")([ReverseTime(name="reverse")(states), mask])
    bag = pool_embeddings(vectors, mask, pooling) if embedding_skip else None
    features = join_branches(states, bag, branch_dropout=branch_dropout, seed=seed)
    logits = classify(features, num_classes=num_classes, dropout=dropout, seed=seed)
    return keras.Model(token_ids, logits, name="lstm")


def build_bilstm_classifier(
    vocabulary_size: int,
    sequence_length: int,
    num_classes: int,
    *,
    embedding_dim: int = 64,
    embedding_rank: int = 0,
    units: int = 64,
    num_layers: int = 1,
    pooling: str = "mean_max",
    embedding_skip: bool = True,
    branch_dropout: float = 0.3,
    dropout: float = 0.5,
    token_dropout: float = 0.2,
    embedding_dropout: float = 0.5,
    seed: int = 1,
) -> keras.Model:
    """Two LSTMs a layer, one for each direction, as two plain layers that every tool can see.

    The forward one meets the padding last: its states there are masked before anything reads them.

    Args:
        embedding_rank: See `project_vectors`.
        units: Of one direction; the concatenated states have twice as many features.
        pooling: See `MaskedPooling`; "last" is both final states.
        embedding_skip: Whether the head also sees the pooled embeddings, as a bag of words does.
        branch_dropout: See `join_branches`.

    Returns:
        int32 `(batch, length)` → logits float32 `(batch, num_classes)`; any length will do.
    """
    token_ids = token_input()
    mask = PaddingMask(name="mask")(token_ids)
    states = embed_tokens(
        token_ids,
        vocabulary_size=vocabulary_size,
        columns=embedding_rank or embedding_dim,
        token_dropout=token_dropout,
        embedding_dropout=embedding_dropout,
        seed=seed,
    )
    vectors = project_vectors(
        states,
        embedding_dim=embedding_dim,
        embedding_rank=embedding_rank,
        is_read=embedding_skip,
    )
    forward = backward = states
    for index in range(num_layers):
        if index:
            both = keras.layers.Concatenate(name=f"states_{index - 1}")([forward, backward])
            states = Masked(name=f"masked_{index - 1}")([both, mask])
            states = ResumableDropout(dropout, seed + 10 + index, name=f"dropout_{index}")(states)
        final = pooling == "last" and index == num_layers - 1
        forward = lstm(units, f"forward_{index}", sequences=True, backwards=False)(states)
        backward = lstm(units, f"backward_{index}", sequences=not final, backwards=True)(states)
        if not final:
            backward = ReverseTime(name=f"reverse_{index}")(backward)
    if pooling == "last":
        forward = MaskedPooling("last", name="pooling")([forward, mask])
        states = keras.layers.Concatenate(name="states")([forward, backward])
    else:
        both = keras.layers.Concatenate(name="states")([forward, backward])
        states = MaskedPooling(pooling, name="pooling")([both, mask])
    bag = pool_embeddings(vectors, mask, pooling) if embedding_skip else None
    features = join_branches(states, bag, branch_dropout=branch_dropout, seed=seed)
    logits = classify(features, num_classes=num_classes, dropout=dropout, seed=seed)
    return keras.Model(token_ids, logits, name="bilstm")


def lstm(units: int, name: str, *, sequences: bool, backwards: bool) -> keras.layers.LSTM:
    """Returns a stock Keras LSTM layer whose zero state survives padding."""
    return keras.layers.LSTM(
        units,
        return_sequences=sequences,
        go_backwards=backwards,
        bias_constraint=ZeroCandidateBias(),
        name=name,
    )
