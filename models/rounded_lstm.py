"""An LSTM layer and its inputs → its states, every value of every step rounded."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras as keras

from tfpipe.models.block_loop import last_block_of, loop_over_blocks, size_of_blocks, steps_of
from tfpipe.models.folded_states import FoldedStates
from tfpipe.models.rounding import ConstantForm, Form


def lstm_step(
    name: str, projected: Any, state: tuple[Any, Any] | None, kernel: Any, form: Form
) -> tuple[Any, Any]:
    """Returns the next (hidden, cell).

    All steps share their ranges, because a name has one range.

    Args:
        name: The layer's.
        projected: The input's part of the gates, `(..., 4 * units)` in Keras' order: input,
            forget, candidate, output.
        state: (hidden, cell), `(..., units)` each; None is zero.
        kernel: The recurrent kernel, rounded.
        form: How values are held.
    """
    gates = projected
    if state is not None:
        product = tf.tensordot(state[0], kernel, 1)
        gates = gates + form.hold(f"{name}/recurrent", product, "gate")
    gates = form.hold(f"{name}/gates", gates, "gate")
    input_gate, forget_gate, candidate, output_gate = tf.split(gates, 4, -1)
    squash = {
        "input": form.hold(f"{name}/input_gate", tf.sigmoid(input_gate), "sigmoid"),
        "output": form.hold(f"{name}/output_gate", tf.sigmoid(output_gate), "sigmoid"),
        "candidate": form.hold(f"{name}/candidate", tf.tanh(candidate), "tanh"),
    }
    cell = form.hold(f"{name}/update", squash["input"] * squash["candidate"], "value")
    if state is not None:
        forget = form.hold(f"{name}/forget_gate", tf.sigmoid(forget_gate), "sigmoid")
        cell = form.hold(f"{name}/kept", forget * state[1], "value") + cell
    cell = form.hold(f"{name}/cell", cell, "value")
    squashed = form.hold(f"{name}/squashed_cell", tf.tanh(cell), "tanh")
    return form.hold(f"{name}/hidden", squash["output"] * squashed, "value"), cell


def project(layer: keras.layers.LSTM, inputs: Any, form: Form) -> tuple[Any, Any]:
    """Returns the input's part of all gates, and the recurrent kernel, both rounded."""
    kernel, recurrent_kernel, bias = form.weights(layer)
    inputs = form.enter(layer.name, inputs)
    product = tf.tensordot(inputs, form.quantize(f"{layer.name}/kernel", kernel, "kernel"), 1)
    projected = form.hold(f"{layer.name}/projected", product + bias, "gate")
    return projected, form.quantize(f"{layer.name}/recurrent_kernel", recurrent_kernel, "kernel")


def unrolled_lstm(layer: keras.layers.LSTM, inputs: Any, form: Form) -> Any:
    """Writes every step out, for one text of a static length.

    Args:
        inputs: float32 `(sequence_length, features)`.

    Returns:
        float32 `(sequence_length, units)`, in the order of Keras, or `(1, units)`.
    """
    projected, kernel = project(layer, inputs, form)
    steps = tf.split(projected, inputs.shape[0])
    state = None
    states = []
    for step in reversed(steps) if layer.go_backwards else steps:
        state = lstm_step(layer.name, step, state, kernel, form)
        states.append(state[0])
    return form.passed(tf.concat(states, 0) if layer.return_sequences else states[-1])


def blocked_lstm(layer: keras.layers.LSTM, inputs: Any, form: ConstantForm) -> Any:
    """Like `unrolled_lstm`, as a loop over blocks that ends with the text where the layer reads the
    embedding itself."""
    kernel, recurrent_kernel, bias = form.weights(layer)
    name, length = layer.name, inputs.shape[0]
    inputs = form.enter(name, inputs)
    recurrent_kernel = form.quantize(f"{name}/recurrent_kernel", recurrent_kernel, "kernel")
    is_text = form.is_text(inputs) and (layer.go_backwards or layer.return_sequences)
    size = size_of_blocks(length, padded=is_text)
    read_rows = form.row_reader(inputs, size)

    def hold_state(hidden: Any, cell: Any) -> tuple[Any, Any]:
        """What comes into a loop's body is float32 to the converter."""
        return form.hold(f"{name}/hidden", hidden, "value"), form.hold(
            f"{name}/cell", cell, "value"
        )

    def run_block(block: Any, *state: Any) -> tuple[list[Any], Any]:
        kernel_on_grid = form.hold(f"{name}/kernel", kernel, "kernel")
        product = tf.matmul(read_rows(block), kernel_on_grid)
        state = hold_state(*state)
        made = []
        for step in steps_of(layer, form.hold(f"{name}/projected", product + bias, "gate")):
            state = lstm_step(name, step, state, recurrent_kernel, form)
            made.append(state[0])
        return made, state[1]

    zeros = tf.zeros((1, layer.units))
    states = loop_over_blocks(
        run_block,
        (zeros, zeros),
        layer,
        length=length,
        block_size=size,
        last_block=last_block_of(form.token_ids, size) if is_text else length // size - 1,
    )
    if isinstance(states, FoldedStates):
        return states
    return form.quantize(f"{name}/hidden", states)


def looped_lstm(layer: keras.layers.LSTM, inputs: Any, form: Form) -> Any:
    """Runs one step in a loop, for a batch of any length.

    Args:
        inputs: float32 `(batch, length, features)`.

    Returns:
        float32 `(batch, length, units)`, in the order of Keras, or `(batch, units)`.
    """
    projected, kernel = project(layer, inputs, form)
    hidden, _ = run_loop(layer, projected, kernel, form)
    return form.passed(hidden if layer.return_sequences else hidden[:, -1])


def observed_lstm(layer: keras.layers.LSTM, inputs: Any, form: Form) -> Any:
    """Like `looped_lstm`, and shows `form` each value of all steps at once.

    Nothing that a loop computes can be seen outside but its results; so the steps are computed a
    second time, together, from the states that the loop found.
    """
    projected, kernel = project(layer, inputs, form)
    states = run_loop(layer, projected, kernel, form.blind)
    before = [tf.pad(state[:, :-1], [[0, 0], [1, 0], [0, 0]]) for state in states]
    steps = tf.reverse(projected, [1]) if layer.go_backwards else projected
    lstm_step(layer.name, steps, (before[0], before[1]), kernel, form)
    return form.passed(states[0] if layer.return_sequences else states[0][:, -1])


def run_loop(layer: keras.layers.LSTM, projected: Any, kernel: Any, form: Form) -> tuple[Any, Any]:
    """Returns all hidden and all cell states, `(batch, length, units)` each."""
    batch, length = tf.shape(projected)[0], tf.shape(projected)[1]
    steps = tf.transpose(tf.reverse(projected, [1]) if layer.go_backwards else projected, [1, 0, 2])
    zeros = tf.zeros((batch, layer.units), projected.dtype)
    shape = (None, layer.units)
    arrays = [tf.TensorArray(projected.dtype, length, element_shape=shape) for _ in range(2)]
    inputs = tf.TensorArray(projected.dtype, length).unstack(steps)

    def body(index: Any, hidden: Any, cell: Any, hiddens: Any, cells: Any) -> tuple[Any, ...]:
        hidden, cell = lstm_step(layer.name, inputs.read(index), (hidden, cell), kernel, form)
        return index + 1, hidden, cell, hiddens.write(index, hidden), cells.write(index, cell)

    _, _, _, hiddens, cells = tf.while_loop(
        lambda index, *_: index < length, body, (0, zeros, zeros, *arrays)
    )
    hidden, cell = (tf.transpose(states.stack(), [1, 0, 2]) for states in (hiddens, cells))
    return hidden, cell


# How a file's LSTMs can be written, by the name of the lowering.
ROUNDED_RECURRENCES = {"loop": blocked_lstm, "unrolled": unrolled_lstm}
