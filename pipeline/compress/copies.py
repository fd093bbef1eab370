"""A model → another of the same layers, or of their rounded forms, with weights of its own."""

from __future__ import annotations

import tensorflow as tf
import tf_keras as keras

from tfpipe.models.quantized import QuantizedModel
from tfpipe.models.weight_rounding import WeightRoundedModel


def copy_of(model: keras.Model) -> keras.Model:
    """Returns a model of the same layers with weights of its own."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


def quantized_copy_of(model: keras.Model, ranges: tf.Variable, per_tensor: bool) -> QuantizedModel:
    """Returns the quantization-aware form of a copy; all copies share the ranges."""
    return QuantizedModel(copy_of(model), ranges, per_tensor=per_tensor)


def weight_rounded_copy_of(model: keras.Model, bits: int) -> WeightRoundedModel:
    """Returns a copy that computes with rounded weights."""
    return WeightRoundedModel(copy_of(model), bits)
