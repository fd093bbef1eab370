"""A value's name and kind → the value as the integer kernels will hold it: four ways to see it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from tfpipe.models.block_loop import blocks_of

NUM_BITS = 8
LEVELS = 2**NUM_BITS - 1  # steps between the 256 values
# TFLite's integer kernels have these output ranges and no other: scale 1/256 from 0 for LOGISTIC,
# scale 1/128 around 0 for TANH (tensorflow/lite/kernels/activations.cc).
FIXED_RANGES = {
    "sigmoid": (0.0, 255 / 256),
    "tanh": (-1.0, 127 / 128),
}
# Beyond ±8 sigmoid and tanh are at an end of their 256 values: wider ranges only coarsen the rest.
GATE_LIMIT = 8.0
# What a range is at least: XNNPACK refuses scales near zero.
MIN_WIDTH = 1e-3
# A quantizer of 16 bits whose step is that of the 8-bit one: it rounds alike and never clips.
WIDE_BITS = 16


class Form:
    """What a walk over a model's layers asks: how to take weights, and how to hold each value.

    Every op output that an integer kernel rounds passes `quantize` once, under one name, in every
    form of the model. Kinds of values: "value" and "gate" (learned range, a gate's at most ±8),
    "logits" (learned; leaves int8 afterwards), "sigmoid", "tanh" (fixed), "kernel"
    (weights, symmetric, a scale for each output) and "table" (weights, symmetric, one scale).

    Args:
        training: Whether dropout drops.
    """

    recurrence: Callable[..., Any]
    blind: Form  # holds values alike and notes nothing: for what runs in a loop
    batched = True
    per_tensor = False

    def __init__(self, *, training: bool = False) -> None:
        self.training = training
        self._rounded: list[Any] = []
        self._entered: list[tuple[Any, Any]] = []

    def weights(self, layer: keras.layers.Layer) -> list[Any]:
        """Returns the layer's trainable weights in Keras' order."""
        return list(layer.trainable_weights)

    def quantize(self, name: str, value: Any, kind: str = "value") -> Any:
        """Returns `value`, rounded or not, and remembers that it passed here."""
        return self.passed(self.hold(name, value, kind))

    def hold(self, name: str, value: Any, kind: str) -> Any:
        """Returns `value` as this form holds it."""
        raise NotImplementedError

    def passed(self, value: Any) -> Any:
        """Returns `value`, remembered as one that integer kernels read as it is."""
        self._rounded.append(value)
        return value

    def enter(self, name: str, value: Any) -> Any:
        """Returns what an integer kernel reads: `value`, passed through `quantize` unless its
        producer or another reader of it did that."""
        if self.is_rounded(value):
            return value
        for other, rounded in self._entered:
            if value is other:
                return rounded
        rounded = self.quantize(f"{name}/input", value)
        self._entered.append((value, rounded))
        return rounded

    def is_rounded(self, value: Any) -> bool:
        """Returns whether this very value passed through `quantize`."""
        return any(value is other for other in self._rounded)

    def dropout(self, layer: Any, inputs: Any) -> Any:
        """Drops in training; what was rounded before counts as rounded after."""
        outputs = layer(inputs, training=self.training)
        return self.passed(outputs) if self.is_rounded(inputs) else outputs

    def lookup(self, name: str, table: Any, scale: float, token_ids: Any) -> Any:
        """Returns rows of `table` times `scale`, rounded with the range of the whole table."""
        rows = tf.gather(table, token_ids) * scale
        return self.quantize(name, (rows, scale * tf.reduce_max(tf.abs(table))), "table")

    def mean(self, value: Any) -> Any:
        """Returns the mean over the last axis, which stays, in float32."""
        return tf.reduce_mean(value, -1, keepdims=True)


class RoundingForm(Form):
    """Values rounded as the integer kernels round them, from variables, for whole batches.

    In training a learned range does not clip: dropout's larger values would all be cut off, and at
    inference, where there is none, next to nothing is. The gradient passes straight through.

    Args:
        ranges: float32 `(names, 2)`, the smallest and largest value of each.
        names: The rows of `ranges`.
        training: Whether dropout drops, and learned ranges do not clip.
    """

    def __init__(self, ranges: Any, names: Sequence[str], *, training: bool) -> None:
        super().__init__(training=training)
        low, high = tf.unstack(ranges, axis=1)
        if training:
            step = (high - low) / LEVELS
            low, high = -step * 2 ** (WIDE_BITS - 1), step * (2 ** (WIDE_BITS - 1) - 1)
        self._bits = WIDE_BITS if training else NUM_BITS
        self._low = dict(zip(names, tf.unstack(low, len(names)), strict=True))
        self._high = dict(zip(names, tf.unstack(high, len(names)), strict=True))

    def hold(self, name: str, value: Any, kind: str) -> Any:
        if kind in FIXED_RANGES:
            return tf.quantization.fake_quant_with_min_max_args(value, *FIXED_RANGES[kind])
        if kind == "table":
            value, limit = value if isinstance(value, tuple) else (value, largest(value, None))
            return round_weights(value, tf.stop_gradient(limit))
        if kind == "kernel" and self.per_tensor:
            return round_weights(value, tf.stop_gradient(largest(value, None)))
        if kind == "kernel":
            return round_kernel(value)
        return tf.quantization.fake_quant_with_min_max_vars(
            value, self._low[name], self._high[name], self._bits
        )


class ConstantForm(Form):
    """One text without a batch axis, weights and ranges as constants: what the converter reads.

    Weights are constants on their grid, not fake-quant ops: from those the converter of TensorFlow
    2.21 makes int8 with a scale for each output, where `fake_quant_with_min_max_vars_per_channel`
    ends in "'tfl.transpose' op has mismatched quantized axes".

    Args:
        ranges: {name: (smallest, largest)}.
    """

    batched = False

    def __init__(self, ranges: dict[str, tuple[float, float]]) -> None:
        super().__init__()
        self._ranges = ranges
        self._vectors: Any = None

    def weights(self, layer: keras.layers.Layer) -> list[Any]:
        with tf.init_scope():
            return [weight.numpy() for weight in layer.trainable_weights]

    def hold(self, name: str, value: Any, kind: str) -> Any:
        if kind == "kernel":
            return tf.constant(on_grid(value, one_scale=self.per_tensor))
        if kind == "table":
            limit = max(float(np.abs(value).max()), MIN_WIDTH)
            return tf.quantization.fake_quant_with_min_max_vars(
                tf.constant(value), -limit, limit, NUM_BITS, narrow_range=True
            )
        low, high = FIXED_RANGES[kind] if kind in FIXED_RANGES else self._ranges[name]
        if kind != "logits":
            return tf.quantization.fake_quant_with_min_max_vars(value, low, high, NUM_BITS)
        # Half of it in int8, the double of that in float32: an op between the two that the
        # converter neither removes nor computes in int8 keeps the softmax in float32.
        half = tf.quantization.fake_quant_with_min_max_vars(value * 0.5, low / 2, high / 2)
        return half * 2.0

    def dropout(self, layer: Any, inputs: Any) -> Any:
        return inputs

    def lookup(self, name: str, table: Any, scale: float, token_ids: Any) -> Any:
        def find(ids: Any) -> Any:
            return tf.gather(self.hold(name, table * np.float32(scale), "table"), ids)

        self._find, self.token_ids = find, token_ids
        self._vectors = self.passed(find(token_ids))
        return self._vectors

    def is_text(self, value: Any) -> bool:
        """Returns whether a value is the vectors of the text's tokens, as they were looked up."""
        return value is self._vectors

    def row_reader(self, value: Any, block_size: int) -> Callable[[Any], Any]:
        """Returns what finds the rows of a block of a value `(length, features)` in the body of a
        loop: looking vectors up again costs less there than bringing all of them in."""
        if not self.is_text(value):
            return functools.partial(tf.gather, blocks_of(value, block_size))
        blocks, find = blocks_of(self.token_ids, block_size), self._find
        return lambda block: find(tf.gather(blocks, block))

    def mean(self, value: Any) -> Any:
        # MEAN of an int8 value the converter computes in int8, in the value's own coarse scale.
        return tf.reduce_sum(value, -1, keepdims=True) * (1 / value.shape[-1])


def largest(weights: Any, axis: int | None) -> Any:
    """Returns the largest magnitude along an axis, at least a hair above zero."""
    return tf.maximum(tf.reduce_max(tf.abs(weights), axis), MIN_WIDTH)


def largest_level(bits: int) -> int:
    """Returns the largest of the integers that a symmetric grid has on both sides of zero."""
    return int(2 ** (bits - 1) - 1)


def round_weights(value: Any, limit: Any, bits: int = NUM_BITS) -> Any:
    """Rounds to the values of a symmetric grid in [-limit, limit]; the gradient passes."""
    return tf.quantization.fake_quant_with_min_max_vars(
        value, -limit, limit, bits, narrow_range=True
    )


def round_kernel(kernel: Any, bits: int = NUM_BITS) -> Any:
    """Rounds the weights of each output, the last axis, in a range of their own; the gradient
    passes."""
    columns = tf.reshape(kernel, [-1, kernel.shape[-1]])
    limits = tf.stop_gradient(largest(columns, 0))
    rounded = tf.quantization.fake_quant_with_min_max_vars_per_channel(
        columns, -limits, limits, bits, narrow_range=True
    )
    return tf.reshape(rounded, kernel.shape)


def on_grid(kernel: Any, *, one_scale: bool, bits: int = NUM_BITS) -> Any:
    """Returns a float32 NumPy kernel on its symmetric grid, 255 values of 8 bits.

    Args:
        kernel: `(…, units)`.
        one_scale: Whether the whole kernel has one grid instead of one for each output.
        bits: Of one value.
    """
    steps = grid_steps(kernel, one_scale=one_scale, bits=bits)
    return (np.round(kernel / steps) * steps).astype(np.float32)


def grid_steps(kernel: Any, *, one_scale: bool, bits: int = NUM_BITS) -> Any:
    """Returns the scale of such a grid, `(units,)` or a number: max |w| / 127 of 8 bits, the
    symmetric weights of TFLite's 8-bit quantization specification."""
    axes = None if one_scale else tuple(range(kernel.ndim - 1))
    return np.maximum(np.abs(kernel).max(axes), MIN_WIDTH) / largest_level(bits)
