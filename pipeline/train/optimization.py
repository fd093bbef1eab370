"""A recipe's [train] section → the loss, the optimizer and the learning rate of each update."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from numpy.typing import NDArray


def learning_rate(settings: Mapping[str, Any], *, done: int, total: int) -> float:
    """Returns the rate of the next update: linear warm-up, then half a cosine down to 1 %
    (Loshchilov and Hutter 2017).

    Args:
        settings: The recipe's [train] section.
        done: Updates before this one.
        total: Updates of the whole training, if it does not stop early.
    """
    warmup: int = max(1, round(total * settings["warmup_fraction"]))
    highest: float = settings["learning_rate"]
    if done < warmup:
        return highest * (done + 1) / warmup
    share = min(1.0, (done - warmup) / max(1, total - warmup))
    cosine = 0.5 * (1 + math.cos(math.pi * share))
    rate: float = highest * (0.01 + 0.99 * cosine)
    return rate


def cross_entropy(targets: Any, logits: Any, class_weights: Any, *, smoothing: float) -> Any:
    """Returns the loss of each text, float32 `(batch,)`, weighted by its class.

    Args:
        targets: int32 `(batch,)`, or for multi-label `(batch, num_classes)` of 0 and 1, where the
            loss is the mean over the labels.
        logits: float32 `(batch, num_classes)`.
        class_weights: float32 `(num_classes,)`.
        smoothing: Probability mass taken from the truth and spread over all, in [0, 0.5].
    """
    if len(targets.shape) == 2:
        wanted = tf.cast(targets, tf.float32) * (1 - smoothing) + smoothing / 2
        losses = tf.nn.sigmoid_cross_entropy_with_logits(wanted, logits)
        return tf.reduce_mean(losses * class_weights, 1)
    num_classes = logits.shape[1]
    wanted = tf.one_hot(targets, num_classes) * (1 - smoothing) + smoothing / num_classes
    losses = tf.nn.softmax_cross_entropy_with_logits(wanted, logits)
    return losses * tf.gather(class_weights, targets)


def weigh_classes(
    targets: NDArray[Any], num_classes: int, settings: Mapping[str, Any]
) -> NDArray[np.float32]:
    """Returns the weight of each class's loss, float32 `(num_classes,)`: 1, or for "balanced"
    n / (classes that occur * count), scikit-learn's formula. A class without texts weighs 1."""
    if settings["class_weights"] == "none":
        return np.ones(num_classes, np.float32)
    if targets.ndim == 2:
        counts = targets.sum(0, dtype=np.int64)
    else:
        counts = np.bincount(targets, minlength=num_classes)
    weights = counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return np.where(counts > 0, weights, 1).astype(np.float32)


def make_optimizer(
    settings: Mapping[str, Any], model: keras.Model, *, loss_scaling: bool
) -> keras.optimizers.Optimizer:
    """Returns AdamW (Loshchilov and Hutter 2019) with all its variables made; biases and norms are
    not decayed. Loss scaling keeps float16 gradients from vanishing."""
    optimizer = keras.optimizers.AdamW(
        settings["learning_rate"],
        weight_decay=settings["weight_decay"],
        global_clipnorm=settings["gradient_clip_norm"] or None,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta", "positions"])
    if loss_scaling:
        optimizer = keras.mixed_precision.LossScaleOptimizer(optimizer)
    optimizer.build(model.trainable_variables)
    return optimizer


def optimizer_variables(optimizer: keras.optimizers.Optimizer) -> list[tf.Variable]:
    """Returns all that an optimizer remembers between updates."""
    variables = list(optimizer.variables)
    if hasattr(optimizer, "dynamic_counter"):
        # Keras leaves out the loss scale, and has no public way to its variable.
        variables += [optimizer.dynamic_counter, optimizer._loss_scale.current_loss_scale]
    return variables


def wants_mixed_precision(setting: str) -> bool:
    """Returns what "on", "off" or "auto" means here; "auto" asks whether there is a GPU."""
    return setting == "on" or (setting == "auto" and bool(tf.config.list_physical_devices("GPU")))


@contextlib.contextmanager
def precision(mixed: bool) -> Iterator[None]:
    """Decides the precision of the layers that are made within; the global policy comes back."""
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy("mixed_float16" if mixed else "float32")
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)


def averaging_decay(share: float, total: int) -> float:
    """Returns the decay of a running mean that looks back on a share of all updates: its weights
    sum to 1 - 1/e over the last share * total of them.

    Args:
        share: In [0, 1]; 0 keeps no mean.
        total: Updates of the whole training.
    """
    return 1 - 1 / max(1.0, share * total)


def average_weights(
    means: Iterable[tf.Variable], variables: Iterable[tf.Variable], *, decay: float, updates: Any
) -> None:
    """Moves each running mean of a weight towards its value.

    Args:
        means: Changed in place.
        variables: The weights, in the same order.
        decay: Share of the mean that stays, in [0, 1); 0 copies the weights.
        updates: Updates of the weights so far. Early on the mean is over few of them, so that it
            forgets the initial weights.
    """
    done = tf.cast(updates, tf.float32)
    kept = tf.minimum(decay, (1 + done) / (10 + done)) if decay else 0.0
    for mean, variable in zip(means, variables, strict=True):
        mean.assign(variable + kept * (mean - variable))
