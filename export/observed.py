"""A float model and real token ids → the same model with every value rounded to int8."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
import tf_keras as keras
from numpy.typing import NDArray

from tfpipe.models.quantized import RANGE_BATCH_SIZE, RANGE_BATCHES, QuantizedModel


def with_observed_ranges(
    model: keras.Model, token_ids: NDArray[np.int32], *, per_tensor: bool
) -> QuantizedModel:
    """Returns the model's quantization-aware form with ranges that were seen, not trained.

    The converter's own calibration gives every op of an unrolled recurrence a range of its own,
    crashes on loops, and leaves a variance or a sum over a text in int8, where it has too few
    values: a Transformer so converted predicts otherwise than it was trained to. Here a value has
    one range at all steps, and norms, softmax and pooling stay in float32.

    Args:
        model: A functional model of `tfpipe.models` with a quantization-aware form.
        token_ids: int32 `(n, sequence_length)` of real texts.
        per_tensor: See `QuantizedModel`.
    """
    quantized = QuantizedModel(model, per_tensor=per_tensor)
    observe = tf.function(quantized.observe, autograph=False)
    rng = np.random.default_rng(0)
    for _ in range(RANGE_BATCHES):
        rows = rng.integers(0, len(token_ids), RANGE_BATCH_SIZE)
        observe(tf.constant(token_ids[rows]))
    return quantized
