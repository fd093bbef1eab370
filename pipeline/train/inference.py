"""A model and encoded texts → its logits, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfpipe.train.corpus import EncodedSplit

EVALUATION_BATCH = 256


def make_infer(model: Any) -> Callable[[Any], Any]:
    """Returns the model without dropout as one function of int32 `(batch, length)`, any length."""
    infer: Callable[[Any], Any] = tf.function(
        lambda token_ids: model(token_ids, training=False),
        input_signature=[tf.TensorSpec((None, None), tf.int32)],
        autograph=False,
    )
    return infer


def compute_logits(
    infer: Callable[[Any], Any], split: EncodedSplit, num_classes: int
) -> NDArray[np.float32]:
    """Returns the logits of every text, float32 `(n, num_classes)`."""
    logits = np.zeros((len(split.lengths), num_classes), np.float32)
    add_logits(infer, split, logits, share=1)
    return logits


def add_logits(
    infer: Callable[[Any], Any], split: EncodedSplit, total: NDArray[np.float32], *, share: float
) -> None:
    """Adds a share of the logits of every text to `total`, `(n, num_classes)`, which may lie on
    disk."""
    for rows in split.in_order(EVALUATION_BATCH):
        total[rows] += share * infer(tf.constant(split.batch(rows))).numpy()
