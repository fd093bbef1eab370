"""An LSTM layer and its input sequence → its states, written as one of several recurrences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tf_keras as keras


def unrolled(layer: keras.layers.LSTM, inputs: Any) -> Any:
    """Writes every time step out, the input product of all steps hoisted into one.

    All of it becomes FULLY_CONNECTED, SPLIT, LOGISTIC, TANH, MUL and ADD, which XNNPACK and the
    GPU delegate take whole, in integers too, where the fused op's integer kernel is slow.

    Args:
        layer: A stock Keras LSTM.
        inputs: float32 `(sequence_length, features)`.

    Returns:
        float32 `(sequence_length, units)` in the order of Keras (the last position first when the
        layer goes backwards), or `(1, units)`, the final state.
    """
    kernel, recurrent_kernel, bias = weights_of(layer)
    projected = tf.matmul(inputs, tf.constant(kernel)) + tf.constant(bias)
    steps = tf.split(projected, inputs.shape[0])  # (1, 4 * units) each
    recurrent_kernel = tf.constant(recurrent_kernel)
    hidden: Any = None
    cell: Any = None
    states = []
    for step in reversed(steps) if layer.go_backwards else steps:
        gates = step if hidden is None else step + tf.matmul(hidden, recurrent_kernel)
        hidden, cell = cell_step(gates, cell)
        states.append(hidden)
    return tf.concat(states, 0) if layer.return_sequences else hidden


def cell_step(gates: Any, cell: Any) -> tuple[Any, Any]:
    """Returns the next (hidden, cell), `(1, units)` each, from `(1, 4 * units)` gate inputs in
    Keras' order: input, forget, candidate, output. `cell` None means zero."""
    input_gate, forget_gate, candidate, output_gate = tf.split(gates, 4, axis=1)
    update = tf.sigmoid(input_gate) * tf.tanh(candidate)
    cell = update if cell is None else tf.sigmoid(forget_gate) * cell + update
    return tf.sigmoid(output_gate) * tf.tanh(cell), cell


def loop(layer: keras.layers.LSTM, inputs: Any) -> Any:
    """Writes one step as the body of a WHILE: a small file at any length. Same arguments and
    results as `unrolled`."""
    kernel, recurrent_kernel, bias = weights_of(layer)
    length, units = inputs.shape[0], layer.units
    projected = tf.matmul(inputs, tf.constant(kernel)) + tf.constant(bias)
    if layer.go_backwards:
        projected = tf.reverse(projected, [0])
    recurrent_kernel = tf.constant(recurrent_kernel)
    states = tf.TensorArray(tf.float32, length, element_shape=(1, units))

    def body(index: Any, hidden: Any, cell: Any, states: Any) -> tuple[Any, ...]:
        step = tf.slice(projected, [index, 0], [1, 4 * units])
        hidden, cell = cell_step(step + tf.matmul(hidden, recurrent_kernel), cell)
        return index + 1, hidden, cell, states.write(index, hidden)

    zeros = tf.zeros((1, units))
    _, hidden, _, states = tf.while_loop(
        lambda index, *_: index < length, body, (0, zeros, zeros, states), maximum_iterations=length
    )
    if not layer.return_sequences:
        return hidden
    return tf.ensure_shape(states.concat(), (length, units))


def fused(layer: keras.layers.LSTM, inputs: Any) -> Any:
    """Leaves the layer to the converter, which makes one UNIDIRECTIONAL_SEQUENCE_LSTM of it: the
    smallest file at any length, but no delegate takes the op, and in integers it is slow. Same
    arguments and results as `unrolled`."""
    states = layer(inputs[None])
    return states[0] if layer.return_sequences else states


def weights_of(layer: keras.layers.Layer) -> list[Any]:
    """Returns a layer's weights as NumPy arrays, also while a graph is being traced."""
    with tf.init_scope():
        return list(layer.get_weights())


RECURRENCES: dict[str, Callable[[keras.layers.LSTM, Any], Any]] = {
    "unrolled": unrolled,
    "fused": fused,
    "loop": loop,
}
