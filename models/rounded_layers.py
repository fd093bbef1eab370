"""A model's layers and token ids → its logits, computed op by op as the integer kernels will.

This is the one description of where values are rounded. Batches of texts run through it in
training, one text without a batch axis is traced through it for the converter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tf_keras as keras

from tfpipe.models.attention import PADDING_SCORE, SelfAttention
from tfpipe.models.classifier import LOGITS
from tfpipe.models.dropout import ResumableDropout
from tfpipe.models.embedding import EmbeddingProjection, ScaledEmbedding
from tfpipe.models.folded_states import pool_text, reverse_text
from tfpipe.models.padding import MaskedPooling, PaddingMask, pool
from tfpipe.models.position import PositionEmbedding
from tfpipe.models.recurrent import Masked, ReverseTime
from tfpipe.models.rounding import ConstantForm, Form


def rounded_logits(model: keras.Model, token_ids: Any, form: Form) -> Any:
    """Returns the model's logits, its values held as `form` says.

    Args:
        model: A functional model of `tfpipe.models`, float32.
        token_ids: int32 `(batch, length)`, or `(length,)` for a form without a batch axis.

    Returns:
        float32 `(batch, num_classes)`, or `(1, num_classes)`.
    """
    tensors = {id(model.input): token_ids}
    for layer in model.layers:
        if not isinstance(layer, keras.layers.InputLayer):
            inputs = [tensors[id(tensor)] for tensor in tf.nest.flatten(layer.input)]
            tensors[id(layer.output)] = ROUNDED[type(layer)](layer, form, *inputs)
    return tensors[id(model.output)]


def check_layers(model: keras.Model) -> None:
    """Refuses a model that has no quantization-aware form.

    Raises:
        ValueError: It has a layer that is not in `ROUNDED`, or a dense layer whose activation no
            integer kernel has.
    """
    refusal = find_unknown(model)
    if refusal is not None:
        raise ValueError(refusal)


def find_unknown(model: keras.Model) -> str | None:
    """Returns why a model has no quantization-aware form; None where it has one."""
    for layer in model.layers:
        if not isinstance(layer, keras.layers.InputLayer) and type(layer) not in ROUNDED:
            return (
                f"layer {layer.name!r} of type {type(layer).__name__} has no quantization-aware "
                f"form. Layers that have one: {', '.join(sorted(t.__name__ for t in ROUNDED))}. "
                "To add one, give tfpipe.models.rounded_layers.ROUNDED a function that passes each "
                "of its op outputs to form.quantize."
            )
        activation = getattr(layer, "activation", keras.activations.linear)
        if isinstance(layer, WITH_ACTIVATION) and activation not in FUSED_ACTIVATIONS:
            return (
                f"layer {layer.name!r} has activation={activation.__name__!r}, which the integer "
                f"kernel of {type(layer).__name__} does not compute. Use relu or linear."
            )
        if isinstance(layer, keras.layers.Conv1D) and (
            layer.padding == "causal" or layer.groups > 1
        ):
            return (
                f"layer {layer.name!r} has padding={layer.padding!r} groups={layer.groups} and so "
                "no quantization-aware form. Use padding same or valid, and one group."
            )
    return None


def round_lstm(layer: keras.layers.LSTM, form: Form, inputs: Any) -> Any:
    """Runs the layer with the recurrence of the form."""
    return form.recurrence(layer, inputs, form)


def round_embedding(layer: ScaledEmbedding, form: Form, token_ids: Any) -> Any:
    """Ids → vectors in int8, the embedding's scale inside the table."""
    return form.lookup(f"{layer.name}/table", form.weights(layer)[0], layer.scale, token_ids)


def round_projection(layer: EmbeddingProjection, form: Form, vectors: Any) -> Any:
    """`(..., rank)` → `(..., embedding_dim)`."""
    (kernel,) = form.weights(layer)
    vectors = form.enter(layer.name, vectors)
    product = tf.tensordot(vectors, form.quantize(f"{layer.name}/kernel", kernel, "kernel"), 1)
    return form.quantize(f"{layer.name}/output", product)


def round_mask(_: PaddingMask, __: Form, token_ids: Any) -> Any:
    """Ids → `(..., length, 1)`, 1.0 at real tokens."""
    return tf.cast(tf.minimum(token_ids, 1), tf.float32)[..., None]


def round_positions(layer: PositionEmbedding, form: Form, states: Any) -> Any:
    """Adds the position vectors, int8 of their own scale."""
    (positions,) = form.weights(layer)
    # The last axes of `states` are (length, embedding_dim) in every form.
    length = tf.shape(states)[-2] if form.batched else states.shape[0]
    positions = form.quantize(f"{layer.name}/table", positions, "table")[:length]
    return form.quantize(f"{layer.name}/sum", states + positions)


def round_dense(layer: keras.layers.Dense, form: Form, inputs: Any) -> Any:
    """`(..., features)` → `(..., units)`; the activation is part of the integer kernel."""
    kernel, bias = form.weights(layer)
    inputs = form.enter(layer.name, inputs)
    product = tf.tensordot(inputs, form.quantize(f"{layer.name}/kernel", kernel, "kernel"), 1)
    kind = "logits" if layer.name == LOGITS else "value"
    return form.quantize(f"{layer.name}/output", layer.activation(product + bias), kind)


def round_convolution(layer: keras.layers.Conv1D, form: Form, states: Any) -> Any:
    """`(..., length, features)` → `(..., positions, filters)`, as one row of an image."""
    kernel, bias = form.weights(layer)
    states = form.enter(layer.name, states)
    kernel = form.quantize(f"{layer.name}/kernel", kernel, "kernel")[None]
    row = states[:, None] if form.batched else states[None, None]
    result = tf.nn.conv2d(
        row,
        kernel,
        (1, layer.strides[0]),
        layer.padding.upper(),
        dilations=(1, layer.dilation_rate[0]),
    )
    result = layer.activation(result + bias)
    result = result[:, 0] if form.batched else tf.reshape(result, result.shape[2:])
    return form.quantize(f"{layer.name}/output", result)


def round_attention(layer: SelfAttention, form: Form, states: Any, mask: Any) -> Any:
    """Multi-head attention: projections in int8, each text's own products and softmax in float32.

    XNNPACK has no BATCH_MATMUL of two int8 activations; TFLite's own kernel of it took five sixths
    of an int8 Transformer's time on x86.
    """
    qkv_kernel, qkv_bias, output_kernel, output_bias = form.weights(layer)
    width = output_kernel.shape[0]
    head_dim = width // layer.num_heads
    kernel = form.quantize(f"{layer.name}/qkv_kernel", qkv_kernel, "kernel")
    product = tf.tensordot(form.enter(layer.name, states), kernel, 1)
    qkv = form.quantize(f"{layer.name}/qkv", product + qkv_bias)
    leading = tf.unstack(tf.shape(qkv)[:-1]) if form.batched else qkv.shape[:-1]
    heads = swap_axes(tf.reshape(qkv, [*leading, 3 * layer.num_heads, head_dim]))
    query, key, value = tf.split(heads, 3, -3)  # (..., num_heads, length, head_dim) each
    mask = mask[:, None] if form.batched else mask
    padding = tf.linalg.matrix_transpose(mask) * -PADDING_SCORE + PADDING_SCORE  # (..., 1, length)
    scores = tf.matmul(query * head_dim**-0.5, key, transpose_b=True) + padding
    # Values of padding count for nothing; that product in float32 is what keeps the next one so.
    context = tf.matmul(tf.nn.softmax(scores), value * mask)
    context = form.quantize(f"{layer.name}/context", context)
    context = tf.reshape(swap_axes(context), [*leading, width])
    kernel = form.quantize(f"{layer.name}/output_kernel", output_kernel, "kernel")
    product = tf.tensordot(context, kernel, 1) + output_bias
    return form.quantize(f"{layer.name}/output", product)


def swap_axes(heads: Any) -> Any:
    """Swaps the last axis but one and the last but two: tokens and heads."""
    rank = len(heads.shape)
    return tf.transpose(heads, [*range(rank - 3), rank - 2, rank - 3, rank - 1])


def round_layer_norm(layer: keras.layers.LayerNormalization, form: Form, states: Any) -> Any:
    """Normalises in float32: in int8 a variance has too few values, and RSQRT no kernel."""
    gamma, beta = form.weights(layer)
    centred = states - form.mean(states)
    variance = form.mean(tf.square(centred))
    normalised = centred * tf.math.rsqrt(variance + layer.epsilon)
    return form.quantize(f"{layer.name}/output", normalised * gamma + beta)


def round_pooling(layer: MaskedPooling, form: Form, states: Any, mask: Any) -> Any:
    """Pools in float32: a sum over a text of any length has no one int8 range."""
    if form.batched:
        return pool(states, mask, layer.pooling)
    return pool_text(states, mask, layer.pooling)


def round_sum(layer: keras.layers.Add, form: Form, first: Any, second: Any) -> Any:
    """A residual connection."""
    return form.quantize(f"{layer.name}/output", first + second)


def round_concat(layer: keras.layers.Concatenate, form: Form, *parts: Any) -> Any:
    """Gives all parts one range."""
    name = f"{layer.name}/output"
    if isinstance(form, ConstantForm):
        # Where a loop's state is a part, int8 in a range of its own, the converter of TensorFlow
        # 2.21 ends in "'tfl.concatenation' op quantization parameters violate the same scale
        # constraint". What is held like logits comes out as float32.
        parts = tuple(
            ConstantForm.hold(form, name, part, "logits") if form.is_rounded(part) else part
            for part in parts
        )
    return form.quantize(name, tf.concat(parts, -1))


def round_reverse(_: ReverseTime, form: Form, states: Any) -> Any:
    """Turns the tokens round, the last axis but one."""
    return tf.reverse(states, [1]) if form.batched else reverse_text(states)


WITH_ACTIVATION = (keras.layers.Dense, keras.layers.Conv1D)
FUSED_ACTIVATIONS = (keras.activations.linear, keras.activations.relu)
ROUNDED: dict[type, Callable[..., Any]] = {
    PaddingMask: round_mask,
    MaskedPooling: round_pooling,
    Masked: lambda _, __, states, mask: states * mask,
    PositionEmbedding: round_positions,
    ResumableDropout: lambda layer, form, inputs: form.dropout(layer, inputs),
    EmbeddingProjection: round_projection,
    ScaledEmbedding: round_embedding,
    ReverseTime: round_reverse,
    SelfAttention: round_attention,
    keras.layers.Add: round_sum,
    keras.layers.Concatenate: round_concat,
    keras.layers.Conv1D: round_convolution,
    keras.layers.Dense: round_dense,
    keras.layers.LayerNormalization: round_layer_norm,
    keras.layers.LSTM: round_lstm,
}
