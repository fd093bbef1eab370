"""Layers that ONNX has a node for → a TensorFlow op that stands for it → that node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from numpy.typing import NDArray

from tfpipe.export.cells import CELLS, write_out
from tfpipe.export.recurrence import weights_of
from tfpipe.export.target import MAX_ASKED_UNROLLED_STEPS
from tfpipe.models.recurrent import ReverseTime

# The name of an op that reads its input from the last step to the first begins with this.
BACKWARD = "backward_lstm"
FORWARD = "forward_lstm"


def fused_lstm(layer: keras.layers.LSTM, inputs: Any) -> Any:
    """Writes a whole LSTM as one op, which `make_lstm_node` turns into one ONNX LSTM node.

    A backward layer keeps the reading order and is named for its direction, as ONNX has it: no
    reversal is left in the graph.

    Args:
        layer: A stock Keras LSTM.
        inputs: float32 `(sequence_length, features)`.

    Returns:
        float32 `(sequence_length, units)` in the order of Keras, or `(1, units)`, the final state.
    """
    kernel, recurrent_kernel, bias = weights_of(layer)
    backward = layer.go_backwards
    if inputs.op.type == "ReverseV2":
        inputs, backward = inputs.op.inputs[0], not backward
    zero_state, no_peephole = tf.zeros((1, layer.units)), tf.zeros((layer.units,))
    # Its gates are in Keras' order: input, forget, candidate, output.
    states = tf.raw_ops.BlockLSTMV2(
        seq_len_max=tf.constant(inputs.shape[0], tf.int64),
        x=tf.expand_dims(inputs, 1),
        cs_prev=zero_state,
        h_prev=zero_state,
        w=tf.constant(np.concatenate([kernel, recurrent_kernel])),
        wci=no_peephole,
        wcf=no_peephole,
        wco=no_peephole,
        b=tf.constant(bias),
        name=BACKWARD if backward else FORWARD,
    ).h
    states = tf.squeeze(states, 1)
    if not layer.return_sequences:
        return states[:1] if backward else states[-1:]
    return tf.reverse(states, [0]) if backward else states


def reverse_time(_: ReverseTime, states: Any) -> Any:
    """Reverses `(sequence_length, units)` along time; twice is not at all."""
    return states.op.inputs[0] if states.op.type == "ReverseV2" else tf.reverse(states, [0])


def divided_norm(layer: keras.layers.LayerNormalization, states: Any) -> Any:
    """The formula of `lower_layer_norm` with a division, as ONNX Runtime knows a layer norm: it
    makes one LayerNormalization of it."""
    gamma, beta = weights_of(layer)
    centred = states - tf.reduce_mean(states, -1, keepdims=True)
    variance = tf.reduce_mean(tf.pow(centred, 2.0), -1, keepdims=True)
    return centred / tf.sqrt(variance + layer.epsilon) * gamma + beta


def written_out(layer: keras.layers.Layer, inputs: Any) -> Any:
    """A GRU or SimpleRNN step by step: plain products, which ONNX Runtime runs as they are.

    Raises:
        ValueError: There are too many steps.
    """
    if inputs.shape[0] > MAX_ASKED_UNROLLED_STEPS:
        raise ValueError(
            f"layer {layer.name}, a {type(layer).__name__}, has {inputs.shape[0]} steps, and "
            f"target onnx writes each of them out: over {MAX_ASKED_UNROLLED_STEPS} that takes many "
            "minutes. Use a shorter sequence length, or --target cpu."
        )
    return write_out(CELLS[type(layer)], layer, inputs)


ONNX_LAYERS: dict[type, Callable[..., Any]] = {
    **dict.fromkeys(CELLS, written_out),
    ReverseTime: reverse_time,
    keras.layers.LSTM: fused_lstm,
    keras.layers.LayerNormalization: divided_norm,
}


def make_lstm_node(context: Any, node: Any, name: str, args: Any) -> None:
    """Replaces the op of `fused_lstm` in a tf2onnx graph by an ONNX LSTM node.

    The node's operands are those of https://onnx.ai/onnx/operators/onnx__LSTM.html: gates in the
    order input, output, forget, candidate, one direction, no sequence lengths, zero first states.
    """
    weights = node.inputs[4].get_tensor_value(as_list=False)  # (features + units, 4 * units)
    bias = node.inputs[8].get_tensor_value(as_list=False)
    units = weights.shape[1] // 4
    features = weights.shape[0] - units
    ordered = to_onnx_gates(weights).T
    operands = {
        "weights": ordered[None, :, :features],
        "recurrent_weights": ordered[None, :, features:],
        # The second half belongs to the recurrent product.
        "bias": np.concatenate([to_onnx_gates(bias), np.zeros_like(bias)])[None],
    }
    constants = [
        context.make_const(f"{node.name}_{key}", np.ascontiguousarray(value)).output[0]
        for key, value in operands.items()
    ]
    backward = node.name.split("/")[-1].startswith(BACKWARD)
    attributes = {"hidden_size": units, "direction": "reverse" if backward else "forward"}
    inputs, states = node.input[1], node.output[6]
    length = context.get_shape(inputs)[0]
    context.remove_node(node.name)
    lstm = context.make_node(
        "LSTM",
        [inputs, *constants],
        attr=attributes,
        name=node.name,
        shapes=[[length, 1, 1, units]],
        dtypes=[ONNX_FLOAT],
    )
    axes = context.make_const(f"{node.name}_axes", np.array([1], np.int64)).output[0]
    context.make_node(
        "Squeeze", [lstm.output[0], axes], outputs=[states], shapes=[[length, 1, units]],
        dtypes=[ONNX_FLOAT],
    )  # fmt: skip


ONNX_FLOAT = 1  # TensorProto.FLOAT of onnx.proto


def to_onnx_gates(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Reorders `(…, 4 * units)` from Keras' input, forget, candidate, output to input, output,
    forget, candidate."""
    input_gate, forget_gate, candidate, output_gate = np.split(values, 4, axis=-1)
    return np.concatenate([input_gate, output_gate, forget_gate, candidate], axis=-1)


HANDLERS: dict[str, tuple[Callable[..., None], list[Any]]] = {"BlockLSTMV2": (make_lstm_node, [])}
