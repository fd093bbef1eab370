"""An LSTM layer and its input sequence → its states, written as one of several recurrences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
import tf_keras as keras

from tfpipe.models.block_loop import (
    blocks_of,
    last_block_of,
    loop_over_blocks,
    size_of_blocks,
    steps_of,
)


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
    """Writes a few steps as the body of a WHILE: a small file at any length, with few copies of the
    weights in memory.

    Over `TokenRows` the loop ends with the text. The padding behind it leaves a layer that reads
    backwards in its zero state; what one that reads forwards makes of it, everybody masks.

    Args:
        layer: A stock Keras LSTM.
        inputs: float32 `(sequence_length, features)`, or `TokenRows`.

    Returns:
        As `unrolled`, but zeros for blocks that are padding and nothing else.
    """
    kernel, recurrent_kernel, bias = (tf.constant(weights) for weights in weights_of(layer))
    source = inputs.token_ids if isinstance(inputs, TokenRows) else inputs
    length = source.shape[0]
    # Not the final state of a layer that reads forwards: that one has the padding behind it.
    is_text = isinstance(inputs, TokenRows) and (layer.go_backwards or layer.return_sequences)
    size = size_of_blocks(length, padded=is_text)
    blocks = blocks_of(source, size)

    def run_block(block: Any, hidden: Any, cell: Any) -> tuple[list[Any], Any]:
        rows = tf.gather(blocks, block)
        rows = tf.gather(inputs.table, rows) if isinstance(inputs, TokenRows) else rows
        made = []
        for step in steps_of(layer, tf.matmul(rows, kernel) + bias):
            hidden, cell = cell_step(step + tf.matmul(hidden, recurrent_kernel), cell)
            made.append(hidden)
        return made, cell

    return loop_over_blocks(
        run_block,
        (tf.zeros((1, layer.units)), tf.zeros((1, layer.units))),
        layer,
        length=length,
        block_size=size,
        last_block=last_block_of(source, size) if is_text else length // size - 1,
    )


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
