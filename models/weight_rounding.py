"""A float classifier → the same with its weights on the grid that a dynamic-range file holds."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras as keras

from tfpipe.models.embedding import ScaledEmbedding
from tfpipe.models.observing import ExactForm
from tfpipe.models.rounded_layers import check_layers, rounded_logits
from tfpipe.models.rounded_lstm import looped_lstm
from tfpipe.models.rounding import largest, round_kernel, round_weights


class WeightForm(ExactForm):
    """Values as in float32, weights as the file holds them: kernels with a scale for each output,
    the embedding's table with one. Position vectors and biases, which are added, stay in float32.

    Args:
        bits: Of one weight.
        training: Whether dropout drops.
    """

    def __init__(self, bits: int, *, training: bool) -> None:
        super().__init__(training=training)
        self._bits = bits

    def hold(self, name: str, value: Any, kind: str) -> Any:
        if kind == "kernel":
            return round_kernel(value, self._bits)
        if isinstance(value, tuple):  # rows of the embedding's table, and its limit
            return round_weights(value[0], tf.stop_gradient(value[1]), self._bits)
        return value


class WeightRoundedModel(keras.Model):  # type: ignore[misc]
    """A classifier that computes in float32 with weights of few bits.

    Its trainable weights are the float model's, which are rounded at every call; the gradient
    passes straight through.

    Args:
        model: A functional model of `tfpipe.models`, float32.
        bits: Of one weight, 8 or 4.

    Raises:
        ValueError: A layer has no quantization-aware form.
    """

    def __init__(self, model: keras.Model, bits: int) -> None:
        check_layers(model)
        super().__init__(name=model.name)
        self.float_model = model
        self._bits = bits

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        form = WeightForm(self._bits, training=bool(training))
        form.recurrence = looped_lstm
        return rounded_logits(self.float_model, inputs, form)

    def rounded(self) -> keras.Model:
        """Returns a copy of the float model whose weights are on the grid, with the attribute
        `weight_bits`."""
        copy = keras.models.clone_model(self.float_model)
        copy.set_weights(self.float_model.get_weights())
        for layer in copy.layers:
            for variable in filter(is_kernel, layer.trainable_variables):
                variable.assign(self._round(layer, variable))
        copy.weight_bits = self._bits
        return copy

    def _round(self, layer: keras.layers.Layer, weights: Any) -> Any:
        """Returns weights of a layer as the form has them, to the last bit."""
        if not isinstance(layer, ScaledEmbedding):
            return round_kernel(weights, self._bits)
        scaled = weights * layer.scale
        return round_weights(scaled, largest(scaled, None), self._bits) / layer.scale


def is_kernel(variable: tf.Variable) -> bool:
    """Returns whether a weight is a kernel or the embedding's table, which files hold in int8."""
    return variable.shape.rank > 1 and "positions" not in variable.name
