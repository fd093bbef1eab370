"""A model's units and training texts → how much each matters, and how many weights it has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from numpy.typing import NDArray

from tfpipe.compress.source import Source
from tfpipe.models.widths import FIXED, Widths
from tfpipe.train.optimization import cross_entropy

# Training texts that the importance of units is measured on.
TAYLOR_BATCHES, TAYLOR_BATCH_SIZE = 128, 32


def measure_importance(model: keras.Model, widths: Widths, source: Source) -> NDArray[np.float64]:
    """Returns the first-order Taylor importance of each unit, `(num_units,)`: the mean over batches
    of training texts of (sum over the unit's weights w of w * dL/dw) squared, by how much the loss
    would change without the unit (Molchanov et al. 2019, "Importance Estimation for Neural Network
    Pruning")."""
    split, smoothing = source.splits["train"], source.recipe["train"]["label_smoothing"]
    ones = tf.ones(len(source.dataset.labels))

    def contributions(token_ids: Any, targets: Any) -> Any:
        weights = [variable for variable, _ in widths.axes]
        with tf.GradientTape() as tape:
            logits = model(token_ids, training=False)
            loss = tf.reduce_mean(cross_entropy(targets, logits, ones, smoothing=smoothing))
        gradients = tape.gradient(loss, weights)
        parts = [
            sum_units(tf.convert_to_tensor(gradient) * weight, axes, widths.num_units)
            for gradient, (weight, axes) in zip(gradients, widths.axes, strict=True)
        ]
        return tf.add_n(parts)

    targets = tf.TensorSpec((None, *split.targets.shape[1:]), tf.int32)
    step = tf.function(
        contributions,
        input_signature=[tf.TensorSpec((None, None), tf.int32), targets],
        autograph=False,
    )
    batches = split.epoch_order(source.content["seed"], TAYLOR_BATCH_SIZE)[:TAYLOR_BATCHES]
    total = np.zeros(widths.num_units)
    for rows in batches:
        found = step(tf.constant(split.batch(rows)), tf.constant(split.targets[rows], tf.int32))
        total += found.numpy().astype(np.float64) ** 2
    return total / len(batches)


def count_weights(widths: Widths) -> NDArray[np.float64]:
    """Returns how many weights of each unit are not zero, `(num_units,)`."""
    parts = [
        sum_units(tf.cast(weight != 0, tf.float32), axes, widths.num_units)
        for weight, axes in widths.axes
    ]
    return np.asarray(tf.add_n(parts), np.float64)


def sum_units(products: Any, axes: Sequence[NDArray[np.int64]], num_units: int) -> Any:
    """Returns the sum of those entries of `products` that belong to each unit, `(num_units,)`; an
    entry whose row and column are the same unit's counts once."""
    total = tf.zeros(num_units)
    for axis, labels in enumerate(axes):
        others = [other for other in range(len(axes)) if other != axis]
        sums = tf.reduce_sum(products, others)
        # Entries labelled FIXED are dropped, as all negative ones are.
        total += tf.math.unsorted_segment_sum(sums, labels, num_units)
    if len(axes) == 2:
        twice = (axes[0][:, None] == axes[1][None, :]) & (axes[0] != FIXED)[:, None]
        if twice.any():
            sums = tf.reduce_sum(tf.where(twice, products, 0.0), 1)
            total -= tf.math.unsorted_segment_sum(sums, axes[0], num_units)
    return total
