"""Blocks of inputs and one step of a recurrence → its states, in a loop that ends with the text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tf_keras as keras
from tensorflow.compiler.tf2xla.python import xla

from tfpipe.models.folded_states import FoldedStates, fold, folds_of

# Steps that a loop's body writes out at most. XNNPACK packs the recurrent kernel anew for every
# product in the graph: 64 unrolled steps of 128 units read 16 MB of float32 copies, more than a
# core's cache holds; four read 1 MB, and pay for an iteration once in four steps.
BLOCK_STEPS = 4


def loop_over_blocks(
    run_block: Callable[[Any, Any, Any], tuple[list[Any], Any]],
    zeros: tuple[Any, Any],
    layer: keras.layers.LSTM,
    *,
    length: int,
    block_size: int,
    last_block: Any,
) -> Any:
    """Runs a recurrence as a WHILE whose body is one block: one text, no batch axis.

    Args:
        run_block: From the number of a block, int32 scalar, the hidden and the cell state before
            it, to the hidden state after each of its steps, in the order of `steps_of`, and the
            last cell state.
        zeros: Hidden and cell state before the first step, `(1, units)` each.
        layer: Says whether the last block, and the last step of each, comes first, and whether all
            hidden states are wanted or the final one.
        length: Steps of the whole sequence.
        block_size: What `size_of_blocks` returns.
        last_block: Number of the last block to run, counted from the sequence's beginning: an int
            or an int32 tensor, -1 for none.

    Returns:
        float32 `(length, units)` in the order of Keras (the last position first when it goes
        backwards), zero where no block was run; or `(1, units)`, the final state; or
        `FoldedStates` where those suffice.
    """
    num_rows = length + -length % block_size
    # A WHILE copies what it carries in every iteration: the states of a whole text, 64 kB of 256
    # tokens and 64 units, took a quarter of the time.
    folds = folds_of(layer)

    # Where to read and where to write are carried along: each op that an iteration does not have
    # saves most of a microsecond of the eight to ten that a block of 64 units takes. The first is a
    # scalar: of a (1,) the condition would be a RESHAPE to a scalar, whose empty shape
    # tflite-runtime 2.14 takes for unknown, so that it allocates body and condition anew in every
    # iteration, which takes more than twice the time.
    last = tf.convert_to_tensor(last_block)
    first = last if layer.go_backwards else tf.zeros_like(last)

    def body(block: Any, hidden: Any, cell: Any, *kept: Any) -> tuple[Any, ...]:
        made, cell = run_block(block, hidden, cell)
        if folds:
            kept = tuple(fold(made, dict(zip(folds, kept, strict=True))).values())
        elif kept:
            # tf.TensorArray and tf.tensor_scatter_nd_update take half as long again, all in all.
            states = xla.dynamic_update_slice(kept[0], tf.concat(made, 0), kept[1])
            kept = (states, kept[1] + [block_size, 0])
        return (block + (-1 if layer.go_backwards else 1), made[-1], cell, *kept)

    kept = [tf.zeros_like(zeros[0]) for _ in folds]
    if layer.return_sequences and not folds:
        write_first = num_rows - (last + 1) * block_size if layer.go_backwards else first
        kept = [tf.zeros((num_rows, zeros[0].shape[1])), tf.stack([write_first, 0])]
    _, hidden, _, *kept = tf.while_loop(
        lambda block, *_: block >= 0 if layer.go_backwards else block <= last,
        body,
        (first, *zeros, *kept),
    )
    if not layer.return_sequences:
        return hidden
    if folds:
        return FoldedStates(dict(zip(folds, kept, strict=True)))
    begin = num_rows - length if layer.go_backwards else 0
    return kept[0][begin : begin + length]


def steps_of(layer: keras.layers.LSTM, rows: Any) -> list[Any]:
    """Returns the rows `(block_size, …)` of a block one by one, in the order of the layer."""
    steps: list[Any] = tf.split(rows, rows.shape[0])
    return steps[::-1] if layer.go_backwards else steps


def size_of_blocks(length: int, *, padded: bool) -> int:
    """Returns how many steps a block has.

    Args:
        length: Steps of the whole sequence.
        padded: Whether steps of padding may follow the last one: then the length need not be a
            multiple of the size.
    """
    if padded:
        return BLOCK_STEPS
    return next(size for size in range(BLOCK_STEPS, 0, -1) if length % size == 0)


def last_block_of(token_ids: Any, block_size: int) -> Any:
    """Returns the number of the last block of ids `(sequence_length,)` that holds a token, all
    padding behind the last one, int32 scalar; -1 of no token."""
    # Of the blocks, because the loop has them anyway.
    ones = tf.minimum(blocks_of(token_ids, block_size), 1)
    return (tf.reduce_sum(ones) - 1) // block_size


def blocks_of(sequence: Any, block_size: int) -> Any:
    """Returns the blocks `(blocks, block_size, …)` of a sequence `(length, …)`; beyond its end are
    zeros. To be made outside of the loop, so that a block is one GATHER there."""
    length, *rest = sequence.shape
    padded = tf.pad(sequence, [[0, -length % block_size], *([[0, 0]] * len(rest))])
    return tf.reshape(padded, [padded.shape[0] // block_size, block_size, *rest])
