"""Stock Keras layers that imported models bring → the same in ops on matrices without a batch.

States are `(sequence_length, features)`, a text's one vector is `(1, features)`, as in
`tfpipe.export.lowering`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from tfpipe.export.recurrence import weights_of
from tfpipe.models.padded import FlagPadding, HoldLast, flag_padding
from tfpipe.models.padding import pool


def lower_batch_norm(layer: keras.layers.BatchNormalization, states: Any) -> Any:
    """Scales and shifts each feature by the moving statistics, in one product and one sum."""
    gamma, beta, mean, variance = weights_of(layer)
    scale = gamma / np.sqrt(variance + np.float32(layer.epsilon))
    return states * tf.constant(scale) + tf.constant(beta - mean * scale)


def pool_windows(operation: Callable[..., Any]) -> Callable[..., Any]:
    """Makes a handler of a pooling over windows of time, the matrix being one row of an image."""

    def lower(layer: Any, states: Any) -> Any:
        row = tf.reshape(states, [1, 1, *states.shape])
        size, stride = (1, layer.pool_size[0]), (1, layer.strides[0])
        result = operation(row, size, stride, layer.padding.upper())
        return tf.reshape(result, result.shape[2:])

    return lower


def hold(_: HoldLast, states: Any, mask: Any) -> Any:
    """Gives padding the state of the last real token; no slice drops an axis, as the GPU has it."""
    last = pool(tf.expand_dims(states, 0), tf.expand_dims(mask, 0), "last")
    return last + mask * (states - last)


def multiply(_: Any, *parts: Any) -> Any:
    """Multiplies matrices of one shape."""
    result = parts[0]
    for part in parts[1:]:
        result *= part
    return result


def maximum(_: Any, *parts: Any) -> Any:
    """Returns the largest value at each place."""
    result = parts[0]
    for part in parts[1:]:
        result = tf.maximum(result, part)
    return result


STOCK_LAYERS: dict[type, Callable[..., Any]] = {
    FlagPadding: lambda _, states, mask: flag_padding(states, mask),
    HoldLast: hold,
    keras.layers.Activation: lambda layer, states: layer.activation(states),
    keras.layers.Average: lambda _, *parts: tf.add_n(parts) / len(parts),
    keras.layers.AveragePooling1D: pool_windows(tf.nn.avg_pool2d),
    keras.layers.BatchNormalization: lower_batch_norm,
    keras.layers.Flatten: lambda _, states: tf.reshape(states, [1, -1]),
    keras.layers.GlobalAveragePooling1D: lambda _, states: tf.reduce_mean(states, 0, keepdims=True),
    keras.layers.GlobalMaxPooling1D: lambda _, states: tf.reduce_max(states, 0, keepdims=True),
    keras.layers.Maximum: maximum,
    keras.layers.MaxPooling1D: pool_windows(tf.nn.max_pool2d),
    keras.layers.Multiply: multiply,
    keras.layers.Subtract: lambda _, first, second: first - second,
}
