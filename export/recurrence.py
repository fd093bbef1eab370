"""An LSTM layer and its input sequence → its states, written as one of several recurrences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
import tf_keras as keras
from tensorflow.compiler.tf2xla.python import xla

# Steps that a loop's body writes out. XNNPACK packs the recurrent kernel anew for every product in
# the graph: 64 unrolled steps of 128 units read 16 MB of float32 copies, more than a core's cache
# holds; four read 1 MB, and pay for an iteration once in four steps.
BLOCK_STEPS = 4


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


@dataclass(frozen=True)
class TokenRows:
    """The rows of an embedding's table that a padded text's ids `(sequence_length,)` name."""

    table: Any
    token_ids: Any


def loop(layer: keras.layers.LSTM, inputs: Any) -> Any:
    """Writes `BLOCK_STEPS` steps as the body of a WHILE: a small file at any length, with one
    block's copies of the weights in memory.

    Over `TokenRows` the loop ends with the text. The padding behind it leaves a layer that reads
    backwards in its zero state; what one that reads forwards makes of it, everybody masks.

    Args:
        layer: A stock Keras LSTM.
        inputs: float32 `(sequence_length, features)`, or `TokenRows`.

    Returns:
        As `unrolled`, but zeros for blocks that are padding and nothing else.
    """
    kernel, recurrent_kernel, bias = (tf.constant(weights) for weights in weights_of(layer))
    read, length, num_blocks = block_reader(inputs)
    if not (layer.go_backwards or layer.return_sequences):
        num_blocks = -(-length // BLOCK_STEPS)  # this final state has the padding behind it
    num_rows = length + -length % BLOCK_STEPS

    def body(done: Any, hidden: Any, cell: Any, *states: Any) -> tuple[Any, ...]:
        block = num_blocks - 1 - done if layer.go_backwards else done
        steps = tf.split(tf.matmul(read(block), kernel) + bias, BLOCK_STEPS)
        made = []
        for step in reversed(steps) if layer.go_backwards else steps:
            hidden, cell = cell_step(step + tf.matmul(hidden, recurrent_kernel), cell)
            made.append(hidden)
        if states:
            row = (
                num_rows - (block + 1) * BLOCK_STEPS if layer.go_backwards else block * BLOCK_STEPS
            )
            states = (write_rows(states[0], made, row),)
        return (done + 1, hidden, cell, *states)

    zeros = tf.zeros((1, layer.units))
    states = [tf.zeros((num_rows, layer.units))] if layer.return_sequences else []
    _, hidden, _, *states = tf.while_loop(
        lambda done, *_: done < num_blocks, body, (0, zeros, zeros, *states)
    )
    if not layer.return_sequences:
        return hidden
    first = num_rows - length if layer.go_backwards else 0
    return states[0][first : first + length]


def block_reader(inputs: Any) -> tuple[Callable[[Any], Any], int, Any]:
    """Returns a function from a block's number to its rows `(BLOCK_STEPS, features)`, the number of
    rows, and how many blocks are worth reading."""
    source = inputs.token_ids if isinstance(inputs, TokenRows) else inputs
    length = source.shape[0]
    padded = tf.pad(source, [[0, -length % BLOCK_STEPS]] + [[0, 0]] * (len(source.shape) - 1))

    def read(block: Any) -> Any:
        start = [block * BLOCK_STEPS] + [0] * (len(source.shape) - 1)
        rows = tf.slice(padded, start, [BLOCK_STEPS, *source.shape[1:]])
        return tf.gather(inputs.table, rows) if isinstance(inputs, TokenRows) else rows

    if isinstance(inputs, TokenRows):
        num_tokens = tf.reduce_sum(tf.minimum(source, 1))
        return read, length, (num_tokens + BLOCK_STEPS - 1) // BLOCK_STEPS
    return read, length, -(-length // BLOCK_STEPS)


def write_rows(states: Any, rows: list[Any], first: Any) -> Any:
    """Returns the matrix with some of its rows replaced, from `first` on."""
    # tf.TensorArray and tf.tensor_scatter_nd_update cost half as much again as the whole loop.
    return xla.dynamic_update_slice(states, tf.concat(rows, 0), tf.stack([first, 0]))


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
    "loop": loop,
    "unrolled": unrolled,
    "fused": fused,
}
