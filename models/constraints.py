"""Weights → the same weights with the entries that make padding harmless held at zero."""

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

    def project(self, gradient: Any) -> Any:
        """Returns the table's gradient without row 0's part; see `project_gradients`."""
        if isinstance(gradient, tf.IndexedSlices):
            padding = gradient.indices[:, None] == 0
            values = tf.where(padding, tf.zeros_like(gradient.values), gradient.values)
            return tf.IndexedSlices(values, gradient.indices, gradient.dense_shape)
        padding = tf.range(tf.shape(gradient)[0])[:, None] == 0
        return tf.where(padding, tf.zeros_like(gradient), gradient)


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

    # What the weights must not have, their gradient need not have either.
    project = __call__


def project_gradients(gradients: list[Any], variables: list[Any]) -> list[Any]:
    """Returns the gradients without the parts that the variables' constraints would undo.

    An LSTM's state is zero on padding, but the gradient of its cell is not: it runs back through
    all the padding and lands, grown by many orders of magnitude, on the two weights that are held
    at zero. Left in, it would make clipping by the global norm shrink all other gradients away.
    """
    return [
        variable.constraint.project(gradient) if variable.constraint is not None else gradient
        for gradient, variable in zip(gradients, variables, strict=True)
    ]
