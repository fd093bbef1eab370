"""Weights after an update → the same weights with the entries that make padding harmless held at zero."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras as keras


@keras.utils.register_keras_serializable("tfpipe")
class ZeroPaddingRow(keras.constraints.Constraint):  # type: ignore[misc]
    """Holds row 0 of an embedding table, the padding token's, at zero.

    With `ZeroCandidateBias` it makes padding free: an LSTM that meets the padding first stays
    exactly in its zero state until the first real token, in float and in integer arithmetic.
    """

    def __call__(self, weights: Any) -> Any:
        """Returns `weights` `(vocabulary_size, embedding_dim)` with a zero first row."""
        return weights * tf.cast(tf.range(tf.shape(weights)[0]) > 0, weights.dtype)[:, None]


@keras.utils.register_keras_serializable("tfpipe")
class ZeroCandidateBias(keras.constraints.Constraint):  # type: ignore[misc]
    """Holds the candidate gate's part of an LSTM bias at zero.

    From h = c = 0 and x = 0 the candidate is then tanh(0) = 0, so c and h stay 0 whatever the
    other gates say. Keras orders the gates input, forget, candidate, output.
    """

    def __call__(self, weights: Any) -> Any:
        """Returns `weights` `(4 * units,)` with zeros in `[2 * units : 3 * units]`."""
        input_gate, forget_gate, candidate, output_gate = tf.split(weights, 4)
        return tf.concat([input_gate, forget_gate, tf.zeros_like(candidate), output_gate], 0)
