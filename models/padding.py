"""Token ids → which of them are real; states and that mask → one vector a text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tf_keras as keras

# How `MaskedPooling` makes one vector of many, and how many vectors' width that has.
POOLINGS = {"last": 1, "mean": 1, "max": 1, "mean_max": 2}
# What of a text's states a pooling is made of.
FOLDS = {"mean": ("sum",), "max": ("max",), "mean_max": ("sum", "max")}
REDUCTIONS = {"sum": tf.reduce_sum, "max": tf.reduce_max}


@keras.utils.register_keras_serializable("tfpipe")
class PaddingMask(keras.layers.Layer):  # type: ignore[misc]
    """Marks the real tokens: 1.0 where an id differs from 0, the padding id.

    Call arguments:
        inputs: int32 `(batch, sequence_length)`.

    Returns:
        float `(batch, sequence_length, 1)` in the layer's compute dtype.
    """

    def call(self, inputs: Any) -> Any:
        return tf.cast(inputs[:, :, None] > 0, self.compute_dtype)


@keras.utils.register_keras_serializable("tfpipe")
class MaskedPooling(keras.layers.Layer):  # type: ignore[misc]
    """One vector a text from its states, independent of how much padding follows.

    Args:
        pooling: "last": the state of the last real token (zeros for an empty text). "mean": the sum
            over real tokens / max(number of real tokens, 1). "max": the largest value over real
            tokens and zero. The zero is part of the function: a padded text has it at its padding
            anyway, and with it one text gives one result at every sequence length.
            "mean_max": both, concatenated.

    Call arguments:
        inputs: A pair: float `(batch, sequence_length, units)` and the mask
            `(batch, sequence_length, 1)` of `PaddingMask`.

    Returns:
        float `(batch, units)`, or `(batch, 2 * units)` for "mean_max".
    """

    def __init__(self, pooling: str, **kwargs: Any) -> None:
        if pooling not in POOLINGS:
            raise ValueError(f"pooling={pooling!r} is unknown. Use one of {sorted(POOLINGS)}.")
        super().__init__(**kwargs)
        self.pooling = pooling

    def call(self, inputs: Any) -> Any:
        states, mask = inputs
        return pool(states, mask, self.pooling)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "pooling": self.pooling}


def pool(states: Any, mask: Any, pooling: str) -> Any:
    """Returns `MaskedPooling`'s function; the inference form calls it with static shapes."""
    if pooling == "last":
        # The mask's downward step stands at the last real token: 1 there, 0 elsewhere.
        following = tf.concat([mask[:, 1:], tf.zeros_like(mask[:, :1])], 1)
        return tf.reduce_sum(states * (mask - following), 1)
    states = states * mask
    folded = {fold: REDUCTIONS[fold](states, 1) for fold in FOLDS[pooling]}
    return join_folds(folded, tf.reduce_sum(mask, 1))


def join_folds(folded: Mapping[str, Any], num_tokens: Any) -> Any:
    """Returns what `pool` makes of a text's states.

    Args:
        folded: {"sum": their sum, "max": the largest of each unit}, one of them or both, float
            `(batch, units)`.
        num_tokens: Real tokens, float `(batch, 1)`.
    """
    parts = []
    if "sum" in folded:
        parts.append(folded["sum"] / tf.maximum(num_tokens, 1))
    if "max" in folded:
        parts.append(tf.nn.relu(folded["max"]))
    return tf.concat(parts, 1) if len(parts) > 1 else parts[0]
