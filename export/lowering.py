"""A trained classifier → the same function in static, builtin-only ops: the inference form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from device_runner.manifest import classification_signature
from tfpipe.export.branches import run_shortest
from tfpipe.export.cells import CELLS, lower_cell
from tfpipe.export.recurrence import RECURRENCES, TokenRows, weights_of
from tfpipe.export.stock_layers import STOCK_LAYERS
from tfpipe.models.attention import PADDING_SCORE, SelfAttention
from tfpipe.models.dropout import ResumableDropout
from tfpipe.models.embedding import EmbeddingProjection, ScaledEmbedding, embedding_behind
from tfpipe.models.folded_states import pool_text, reverse_text
from tfpipe.models.padding import MaskedPooling, PaddingMask
from tfpipe.models.position import PositionEmbedding
from tfpipe.models.quantized import QuantizedModel
from tfpipe.models.recurrent import Masked, ReverseTime

SIGNATURE = classification_signature(sequence_length=1, num_classes=1)
SIGNATURE_NAME: str = SIGNATURE["name"]
INPUT_NAME: str = SIGNATURE["inputs"][0]["name"]
OUTPUT_NAME: str = SIGNATURE["outputs"][0]["name"]


def inference_form(
    model: keras.Model,
    *,
    sequence_length: int,
    lowering: str,
    multi_label: bool,
    layers: Mapping[type, Callable[..., Any]] | None = None,
    branch_lengths: Sequence[int] = (),
) -> Any:
    """Returns the concrete function that ships: one text, static shapes, weights as constants.

    Every layer of the model's graph is replaced by plain ops on `(sequence_length, features)`
    matrices: the batch is always 1, so no op carries it, and the embedding is a 1-D gather, which
    the GPU delegate takes.

    Args:
        model: A functional model of `tfpipe.models` (or the same layers in another order), or the
            quantization-aware form of one, which is written with its roundings.
        sequence_length: Tokens in, padded on the right with id 0.
        lowering: How recurrences are written, a key of `RECURRENCES`; other layers ignore it.
        multi_label: Whether the logits pass a sigmoid each instead of one softmax.
        layers: How a target writes layers that it runs better otherwise than `LOWERED` does.
        branch_lengths: Lengths below `sequence_length`, shortest first, that have a copy of the ops
            of their own: a text runs in the shortest that holds its last token.

    Returns:
        A concrete function, int32 `(1, sequence_length)` named "token_ids" → {"probabilities":
        float32 `(1, num_classes)`}.

    Raises:
        ValueError: A layer that has no inference form; the message names it.
    """

    float_model = model.float_model if isinstance(model, QuantizedModel) else model

    def logits_of(token_ids: Any) -> Any:
        if isinstance(model, QuantizedModel):
            return model.constant_logits(token_ids, lowering=lowering)
        return lower_layers(model, token_ids, lowering, layers or {})

    def run(token_ids: Any) -> dict[str, Any]:
        token_ids = tf.reshape(token_ids, [sequence_length])
        logits = run_shortest(
            logits_of,
            token_ids,
            branch_lengths=branch_lengths,
            num_classes=float_model.output_shape[-1],
        )
        scores = tf.sigmoid(logits) if multi_label else tf.nn.softmax(logits)
        return {OUTPUT_NAME: tf.identity(scores, OUTPUT_NAME)}

    signature = tf.TensorSpec((1, sequence_length), tf.int32, name=INPUT_NAME)
    return tf.function(run, input_signature=[signature], autograph=False).get_concrete_function()


def lower_layers(
    model: keras.Model, token_ids: Any, lowering: str, layers: Mapping[type, Callable[..., Any]]
) -> Any:
    """Returns the logits `(1, num_classes)` of one text's ids `(sequence_length,)`."""
    tensors = {id(model.input): token_ids}
    for layer in model.layers:
        if not isinstance(layer, keras.layers.InputLayer):
            inputs = [tensors[id(tensor)] for tensor in tf.nest.flatten(layer.input)]
            embedding = embedding_behind(layer) if isinstance(layer, keras.layers.LSTM) else None
            if lowering == "loop" and embedding is not None:
                inputs = [TokenRows(embedding_table(embedding), token_ids)]
            tensors[id(layer.output)] = lower_layer(layer, inputs, lowering, layers)
    return tensors[id(model.output)]


def lower_layer(
    layer: keras.layers.Layer,
    inputs: list[Any],
    lowering: str,
    layers: Mapping[type, Callable[..., Any]],
) -> Any:
    """Returns one layer's output from its inputs, both without the batch axis."""
    lower = layers.get(type(layer)) or LOWERED.get(type(layer))
    if lower is None and isinstance(layer, keras.layers.LSTM):
        return RECURRENCES[lowering](layer, inputs[0])
    if lower is None and type(layer) in CELLS:
        return lower_cell(CELLS[type(layer)], layer, inputs[0], lowering)
    if lower is None:
        known = sorted(kind.__name__ for kind in (*LOWERED, *CELLS, keras.layers.LSTM))
        raise ValueError(
            f"layer {layer.name!r} of type {type(layer).__name__} has no inference form. "
            f"Layers that have one: {', '.join(known)}."
        )
    return lower(layer, *inputs)


def embedding_table(layer: keras.layers.Embedding) -> Any:
    """Returns float32 (vocabulary, columns), the scale of ours inside the table."""
    return weights_of(layer)[0] * np.float32(getattr(layer, "scale", 1.0))


def lower_embedding(layer: keras.layers.Embedding, token_ids: Any) -> Any:
    """(sequence_length,) ids → (sequence_length, columns)."""
    return tf.gather(tf.constant(embedding_table(layer)), token_ids)


def lower_projection(layer: EmbeddingProjection, vectors: Any) -> Any:
    """(sequence_length, rank) → (sequence_length, embedding_dim)."""
    return tf.matmul(vectors, tf.constant(weights_of(layer)[0]))


def lower_mask(_: PaddingMask, token_ids: Any) -> Any:
    """(sequence_length,) ids → (sequence_length, 1), 1.0 at real tokens."""
    return tf.expand_dims(tf.cast(tf.minimum(token_ids, 1), tf.float32), 1)


def lower_positions(layer: PositionEmbedding, states: Any) -> Any:
    """Adds the position vectors, which are a constant of the file."""
    return states + tf.constant(weights_of(layer)[0][: states.shape[0]])


def lower_dense(layer: keras.layers.Dense, inputs: Any) -> Any:
    """(rows, features) → (rows, units), with the layer's activation."""
    kernel, bias = weights_of(layer)
    return layer.activation(tf.matmul(inputs, tf.constant(kernel)) + tf.constant(bias))


def lower_convolution(layer: keras.layers.Conv1D, states: Any) -> Any:
    """(sequence_length, features) → (positions, filters); the matrix is one row of an image."""
    result = convolve_row(layer, tf.reshape(states, [1, 1, *states.shape]))
    return tf.reshape(result, result.shape[2:])


def convolve_row(layer: keras.layers.Conv1D, row: Any) -> Any:
    """(1, 1, sequence_length, features) → (1, 1, positions, filters), zero beyond the ends."""
    kernel, bias = weights_of(layer)
    padding, dilation = layer.padding.upper(), layer.dilation_rate[0]
    if padding == "CAUSAL":
        before = (layer.kernel_size[0] - 1) * dilation
        row, padding = tf.pad(row, [[0, 0], [0, 0], [before, 0], [0, 0]]), "VALID"
    strides, dilations = (1, layer.strides[0]), (1, dilation)
    result = tf.nn.conv2d(row, tf.constant(kernel[None]), strides, padding, dilations=dilations)
    return layer.activation(result + tf.constant(bias))


def lower_attention(layer: SelfAttention, states: Any, mask: Any, *, folded: bool = True) -> Any:
    """(sequence_length, embedding_dim) → the same; one product makes query, key and value.

    Where the scale 1/sqrt(head_dim) is `folded` into the query's weights, it costs no op, but takes
    them off the grid that they share with those of key and value.
    """
    qkv_kernel, qkv_bias, output_kernel, output_bias = weights_of(layer)
    length, width = states.shape[0], output_kernel.shape[0]
    head_dim = width // layer.num_heads
    factor = head_dim**-0.5
    scale = np.repeat(np.array([factor if folded else 1, 1, 1], np.float32), width)
    qkv = tf.matmul(states, tf.constant(qkv_kernel * scale)) + qkv_bias * scale
    heads = tf.transpose(tf.reshape(qkv, [length, 3 * layer.num_heads, head_dim]), [1, 0, 2])
    query, key, value = tf.split(heads, 3)  # (num_heads, sequence_length, head_dim) each
    query = query if folded else query * factor
    # Not (1 - mask) * PADDING_SCORE: moving the transpose past the subtraction, the converter of
    # TensorFlow 2.21 turns 1 - mask into mask - 1 (tests/test_converter_traps.py).
    padding = tf.transpose(mask) * -PADDING_SCORE + PADDING_SCORE  # (1, sequence_length)
    scores = tf.matmul(query, key, transpose_b=True) + padding
    context = tf.transpose(tf.matmul(tf.nn.softmax(scores), value), [1, 0, 2])
    return tf.matmul(tf.reshape(context, [length, width]), output_kernel) + output_bias


def lower_layer_norm(layer: keras.layers.LayerNormalization, states: Any) -> Any:
    """(sequence_length, embedding_dim) → the same, each row with the learned scale and shift."""
    gamma, beta = weights_of(layer)
    mean = tf.reduce_mean(states, -1, keepdims=True)
    centred = states - mean
    variance = tf.reduce_mean(tf.square(centred), -1, keepdims=True)
    return centred * tf.math.rsqrt(variance + layer.epsilon) * gamma + beta


def lower_pooling(layer: MaskedPooling, states: Any, mask: Any) -> Any:
    """(sequence_length, units), or those folded → (1, units)."""
    return pool_text(states, mask, layer.pooling)


LOWERED: dict[type, Callable[..., Any]] = {
    **STOCK_LAYERS,
    PaddingMask: lower_mask,
    MaskedPooling: lower_pooling,
    Masked: lambda _, states, mask: states * mask,
    PositionEmbedding: lower_positions,
    ResumableDropout: lambda _, inputs: inputs,
    EmbeddingProjection: lower_projection,
    ScaledEmbedding: lower_embedding,
    ReverseTime: lambda _, states: reverse_text(states),
    SelfAttention: lower_attention,
    keras.layers.Add: lambda _, *parts: sum(parts[1:], parts[0]),
    keras.layers.Concatenate: lambda _, *parts: tf.concat(parts, -1),
    keras.layers.Conv1D: lower_convolution,
    keras.layers.Dense: lower_dense,
    keras.layers.Embedding: lower_embedding,
    keras.layers.LayerNormalization: lower_layer_norm,
}
