"""States and a padding mask → what Keras' masked recurrences give, by layers without a mask."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras as keras

from tfpipe.models.padding import pool


@keras.utils.register_keras_serializable("tfpipe")
class HoldLast(keras.layers.Layer):  # type: ignore[misc]
    """Gives padding positions the state of the last real token, as a masked Keras recurrence does.

    Call arguments:
        inputs: A pair: float `(batch, sequence_length, units)` and the mask of `PaddingMask`.

    Returns:
        float `(batch, sequence_length, units)`.
    """

    def call(self, inputs: Any) -> Any:
        states, mask = inputs
        last = pool(states, mask, "last")[:, None]
        return last + mask * (states - last)


@keras.utils.register_keras_serializable("tfpipe")
class FlagPadding(keras.layers.Layer):  # type: ignore[misc]
    """Zeroes the features of padding and adds one that is 1 there and 0 at real tokens.

    A recurrence whose kernel has the negated bias in that feature's row stays in its zero state
    while it reads padding before the text, as a masked one does.

    Call arguments:
        inputs: A pair: float `(batch, sequence_length, features)` and the mask of `PaddingMask`.

    Returns:
        float `(batch, sequence_length, features + 1)`.
    """

    def call(self, inputs: Any) -> Any:
        states, mask = inputs
        return flag_padding(states, mask)


def flag_padding(states: Any, mask: Any) -> Any:
    """Returns `FlagPadding`'s function; the inference form calls it with static shapes."""
    return tf.concat([states * mask, 1.0 - mask], -1)
