"""A GRU or SimpleRNN layer and its input sequence → its states, written out or as a loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from tfpipe.export.recurrence import weights_of

# (inputs' products of one step, hidden state or None for zero) → next hidden state, `(1, units)`.
Step = Callable[[Any, Any], Any]
# Layer and inputs → the inputs' products of all steps, and the step.
Prepare = Callable[[Any, Any], tuple[Any, Step]]


def prepare_gru(layer: keras.layers.GRU, inputs: Any) -> tuple[Any, Step]:
    """Gates in Keras' order: update, reset, candidate. `reset_after` as in Keras: whether the reset
    gate acts on the recurrent product, bias and all, or on the state before it."""
    kernel, recurrent_kernel, bias = weights_of(layer)
    units = layer.units
    after = layer.reset_after
    bias, recurrent_bias = bias if after else (bias, np.zeros_like(bias))
    products = tf.matmul(inputs, tf.constant(kernel)) + tf.constant(bias)

    def step(product: Any, hidden: Any) -> Any:
        x_update, x_reset, x_candidate = tf.split(product, 3, axis=1)
        if hidden is None:
            # With constants in place of products with zero, which no delegate need fold.
            h_update, h_reset, h_candidate = np.split(recurrent_bias[None], 3, axis=1)
            reset = tf.sigmoid(x_reset + h_reset)
            candidate = tf.tanh(x_candidate + reset * h_candidate)
            return candidate - tf.sigmoid(x_update + h_update) * candidate
        if after:
            recurrent = tf.matmul(hidden, tf.constant(recurrent_kernel)) + recurrent_bias
            h_update, h_reset, h_candidate = tf.split(recurrent, 3, axis=1)
            reset = tf.sigmoid(x_reset + h_reset)
            candidate = tf.tanh(x_candidate + reset * h_candidate)
        else:
            gates = tf.matmul(hidden, tf.constant(recurrent_kernel[:, : 2 * units]))
            h_update, h_reset = tf.split(gates, 2, axis=1)
            reset = tf.sigmoid(x_reset + h_reset)
            last = tf.constant(recurrent_kernel[:, 2 * units :])
            candidate = tf.tanh(x_candidate + tf.matmul(reset * hidden, last))
        update = tf.sigmoid(x_update + h_update)
        return candidate + update * (hidden - candidate)

    return products, step


def prepare_simple_rnn(layer: keras.layers.SimpleRNN, inputs: Any) -> tuple[Any, Step]:
    """The state is tanh of the sum of both products."""
    kernel, recurrent_kernel, bias = weights_of(layer)
    products = tf.matmul(inputs, tf.constant(kernel)) + tf.constant(bias)

    def step(product: Any, hidden: Any) -> Any:
        if hidden is None:
            return tf.tanh(product)
        return tf.tanh(product + tf.matmul(hidden, tf.constant(recurrent_kernel)))

    return products, step


def write_out(prepare: Prepare, layer: Any, inputs: Any) -> Any:
    """Writes every time step; arguments and results as `tfpipe.export.recurrence.unrolled`."""
    products, step = prepare(layer, inputs)
    steps = tf.split(products, inputs.shape[0])
    hidden: Any = None
    states = []
    for product in reversed(steps) if layer.go_backwards else steps:
        hidden = step(product, hidden)
        states.append(hidden)
    return tf.concat(states, 0) if layer.return_sequences else hidden


def write_loop(prepare: Prepare, layer: Any, inputs: Any) -> Any:
    """Writes one step as the body of a WHILE; arguments and results as `write_out`."""
    products, step = prepare(layer, inputs)
    length, units = inputs.shape[0], layer.units
    if layer.go_backwards:
        products = tf.reverse(products, [0])
    states = tf.TensorArray(tf.float32, length, element_shape=(1, units))

    def body(index: Any, hidden: Any, states: Any) -> tuple[Any, ...]:
        product = tf.slice(products, [index, 0], [1, products.shape[1]])
        hidden = step(product, hidden)
        return index + 1, hidden, states.write(index, hidden)

    _, hidden, states = tf.while_loop(
        lambda index, *_: index < length,
        body,
        (0, tf.zeros((1, units)), states),
        maximum_iterations=length,
    )
    if not layer.return_sequences:
        return hidden
    return tf.ensure_shape(states.concat(), (length, units))


def lower_cell(prepare: Prepare, layer: Any, inputs: Any, lowering: str) -> Any:
    """Writes a recurrence in a lowering.

    Raises:
        ValueError: The lowering is "fused", for which TensorFlow Lite has no op of this kind.
    """
    if lowering == "fused":
        raise ValueError(
            f"layer {layer.name!r} of type {type(layer).__name__} has no fused op in TensorFlow "
            "Lite. Use --lowering unrolled or loop."
        )
    return (write_loop if lowering == "loop" else write_out)(prepare, layer, inputs)


CELLS: dict[type, Prepare] = {
    keras.layers.GRU: prepare_gru,
    keras.layers.SimpleRNN: prepare_simple_rnn,
}
