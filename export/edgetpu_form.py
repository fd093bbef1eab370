"""A trained classifier → its tail behind the embedding lookup, in ops that an Edge TPU maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import tensorflow as tf
import tf_keras as keras

from tfpipe.export.cells import CELLS, write_out
from tfpipe.export.lowering import LOWERED, OUTPUT_NAME, convolve_row, lower_layer
from tfpipe.export.recurrence import weights_of
from tfpipe.export.stock_layers import STOCK_LAYERS
from tfpipe.models.attention import SelfAttention
from tfpipe.models.embedding import EmbeddingProjection, ScaledEmbedding
from tfpipe.models.padding import MaskedPooling, PaddingMask
from tfpipe.models.position import PositionEmbedding
from tfpipe.models.recurrent import ReverseTime

# Every state is (1, 1, sequence_length, features): one row of an image, so that a product over
# time is a 1x1 convolution. A fully-connected op maps with a one-dimensional output alone.
TIME = 2


@dataclass(frozen=True)
class HostInputs:
    """What the host hands to the tail, float here and int8 in the file; see `device_runner.lookup`.

    Attributes:
        vectors: `(1, 1, sequence_length, columns)`, rows of the embedding table.
        mask: `(1, 1, sequence_length, 1)`, 1.0 at real tokens.
        mean_weights: `(1, 1, sequence_length, 1)`, at real tokens the first of two factors whose
            product is 1 / their number: a division has no place on an Edge TPU.
        mean_scale: `(1, 1, 1, 1)`, the second factor.
    """

    vectors: Any
    mask: Any
    mean_weights: Any
    mean_scale: Any


def input_signature(sequence_length: int, columns: int) -> list[tf.TensorSpec]:
    """Returns the tail's inputs, by the names of `HostInputs`."""
    row = (1, 1, sequence_length)
    shapes = {
        "vectors": (*row, columns),
        "mask": (*row, 1),
        "mean_weights": (*row, 1),
        "mean_scale": (1, 1, 1, 1),
    }
    return [tf.TensorSpec(shape, tf.float32, name=name) for name, shape in shapes.items()]


def tail_form(model: keras.Model, *, sequence_length: int, multi_label: bool) -> Any:
    """Returns the concrete function of everything behind the embedding lookup.

    Args:
        model: A functional model of `tfpipe.models`.
        sequence_length: Tokens of one text.
        multi_label: Whether the logits pass a sigmoid each instead of one softmax.

    Returns:
        A concrete function of those of `input_signature` that the model needs → {"probabilities":
        float32 `(1, num_classes)`}.

    Raises:
        ValueError: A layer that has no inference form, or a model that does not begin with one
            embedding.
    """
    signature = input_signature(sequence_length, find_embedding(model).output_dim)
    every = trace(model, signature, multi_label)
    # The converter leaves an input that nothing reads in float32.
    read = [spec for spec, given in zip(signature, every.inputs, strict=True) if given.consumers()]
    return trace(model, read, multi_label)


def trace(model: keras.Model, signature: list[tf.TensorSpec], multi_label: bool) -> Any:
    """Returns the concrete function of a model's tail with the inputs of `signature` alone."""

    def run(*given: Any) -> dict[str, Any]:
        inputs = dict(zip((spec.name for spec in signature), given, strict=True))
        host = HostInputs(*(inputs.get(field.name) for field in fields(HostInputs)))
        layers = edgetpu_layers(host)
        tensors: dict[int, Any] = {id(model.input): None}
        for layer in model.layers:
            if isinstance(layer, keras.layers.InputLayer):
                continue
            operands = [tensors[id(tensor)] for tensor in tf.nest.flatten(layer.input)]
            tensors[id(layer.output)] = lower_layer(layer, operands, "unrolled", layers)
        logits = tensors[id(model.output)]
        logits = tf.reshape(logits, [1, logits.shape[-1]])
        scores = tf.sigmoid(logits) if multi_label else tf.nn.softmax(logits)
        return {OUTPUT_NAME: tf.identity(scores, OUTPUT_NAME)}

    return tf.function(run, input_signature=signature, autograph=False).get_concrete_function()


def find_embedding(model: keras.Model) -> keras.layers.Embedding:
    """Returns the model's one embedding layer.

    Raises:
        ValueError: There is none, or several.
    """
    found = [layer for layer in model.layers if isinstance(layer, keras.layers.Embedding)]
    if len(found) != 1:
        raise ValueError(
            f"the model has {len(found)} embedding layers, expected 1, whose lookup stays on the "
            "host. Use --target cpu."
        )
    return found[0]


def edgetpu_layers(host: HostInputs) -> dict[type, Callable[..., Any]]:
    """Returns how each layer is written on `(1, 1, length, features)` states."""

    def on_matrix(lower: Callable[..., Any]) -> Callable[..., Any]:
        """What no Edge TPU maps keeps the form that it has elsewhere."""

        def lowered(layer: Any, *tensors: Any) -> Any:
            result = lower(layer, *(tf.reshape(item, item.shape[2:]) for item in tensors))
            return tf.reshape(result, [1, 1, *result.shape])

        return lowered

    def on_row(layer: Any, states: Any) -> Any:
        """A GRU or SimpleRNN, which has no form of its own here."""
        return on_matrix(lambda each, matrix: write_out(CELLS[type(each)], each, matrix))(
            layer, states
        )

    return {
        **{kind: on_matrix(lower) for kind, lower in STOCK_LAYERS.items()},
        **dict.fromkeys(CELLS, on_row),
        ScaledEmbedding: lambda *_: host.vectors,
        keras.layers.Embedding: lambda *_: host.vectors,
        EmbeddingProjection: lambda layer, vectors: product_row(vectors, weights_of(layer)[0]),
        PaddingMask: lambda *_: host.mask,
        MaskedPooling: lambda layer, states, _: pool_row(layer.pooling, states, host),
        PositionEmbedding: lambda layer, states: (
            states + tf.constant(weights_of(layer)[0][: states.shape[TIME]])[None, None]
        ),
        ReverseTime: reverse_row,
        SelfAttention: on_matrix(LOWERED[SelfAttention]),
        keras.layers.Conv1D: convolve_row,
        keras.layers.Dense: dense_row,
        keras.layers.LSTM: unrolled_row,
    }


def product_row(inputs: Any, kernel: Any, bias: Any = None) -> Any:
    """(1, 1, n, features) → (1, 1, n, units) by a 1x1 convolution."""
    product = tf.nn.conv2d(inputs, tf.constant(kernel[None, None]), 1, "VALID")
    return product if bias is None else product + tf.constant(bias)


def dense_row(layer: keras.layers.Dense, inputs: Any) -> Any:
    """A product over time as a convolution, one of a single vector as a fully-connected op."""
    kernel, bias = weights_of(layer)
    if inputs.shape[TIME] > 1:
        return layer.activation(product_row(inputs, kernel, bias))
    vector = tf.reshape(inputs, [1, inputs.shape[-1]])
    result = layer.activation(tf.matmul(vector, tf.constant(kernel)) + tf.constant(bias))
    return tf.reshape(result, [1, 1, 1, result.shape[-1]])


def unrolled_row(layer: keras.layers.LSTM, inputs: Any) -> Any:
    """Every time step written out, without UNPACK; states in the order of Keras."""
    kernel, recurrent_kernel, bias = weights_of(layer)
    backward = layer.go_backwards
    if inputs.op.type == "ReverseV2":
        inputs, backward = inputs.op.inputs[0], not backward
    steps = tf.split(product_row(inputs, kernel, bias), inputs.shape[TIME], axis=TIME)
    hidden: Any = None
    cell: Any = None
    states = []
    for step in reversed(steps) if backward else steps:
        if hidden is None:
            hidden, cell = first_step(step, layer.units)
        else:
            gates = step + product_row(hidden, recurrent_kernel)
            input_gate, forget_gate, candidate, output_gate = tf.split(gates, 4, axis=-1)
            update = tf.sigmoid(input_gate) * tf.tanh(candidate)
            cell = tf.sigmoid(forget_gate) * cell + update
            hidden = tf.sigmoid(output_gate) * tf.tanh(cell)
        states.append(hidden)
    if not layer.return_sequences:
        return hidden
    row = tf.concat(states[::-1] if backward else states, TIME)
    return tf.reverse(row, [TIME]) if backward else row


def first_step(gates: Any, units: int) -> tuple[Any, Any]:
    """Returns (hidden, cell) from gate inputs `(1, 1, 1, 4 * units)` and a zero state.

    By slices: of a SPLIT with an output that nothing reads, here the forget gate, the converter of
    TensorFlow 2.21 makes a float op between DEQUANTIZE and QUANTIZE, where the compiler would stop.
    """
    input_gate = tf.sigmoid(gates[..., :units])
    cell = input_gate * tf.tanh(gates[..., 2 * units : 3 * units])
    return tf.sigmoid(gates[..., 3 * units :]) * tf.tanh(cell), cell


def reverse_row(_: ReverseTime, states: Any) -> Any:
    """Reverses the states along time; twice is not at all."""
    return states.op.inputs[0] if states.op.type == "ReverseV2" else tf.reverse(states, [TIME])


def pool_row(pooling: str, states: Any, host: HostInputs) -> Any:
    """(1, 1, length, units) → (1, 1, 1, units): `tfpipe.models.padding.pool` without a division."""
    if pooling == "last":
        following = tf.concat([host.mask[:, :, 1:], tf.zeros((1, 1, 1, 1))], TIME)
        return tf.reduce_sum(states * (host.mask - following), TIME, keepdims=True)
    parts = []
    if pooling != "max":
        total = tf.reduce_sum(states * host.mean_weights, TIME, keepdims=True)
        parts.append(total * host.mean_scale)
    if pooling != "mean":
        # The ReLU becomes part of the product; an op of its own is refused by old compilers.
        parts.append(tf.reduce_max(tf.nn.relu(states * host.mask), TIME, keepdims=True))
    return parts[0] if len(parts) == 1 else tf.concat(parts, -1)
