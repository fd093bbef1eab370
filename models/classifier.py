"""One or more vectors a text → one score a class: the head that every classifier ends with."""

from __future__ import annotations

from typing import Any

import tf_keras as keras

from tfpipe.models.dropout import ResumableDropout


def classify(features: list[Any], *, num_classes: int, dropout: float, seed: int) -> Any:
    """Returns float32 logits `(batch, num_classes)`; softmax or sigmoid belongs to the loss and to
    the inference form."""
    joined = features[0]
    if len(features) > 1:
        joined = keras.layers.Concatenate(name="features")(features)
    joined = ResumableDropout(dropout, seed + 2, name="dropout")(joined)
    # float32 even under mixed precision: a softmax over float16 logits loses what decides.
    return keras.layers.Dense(num_classes, dtype="float32", name="logits")(joined)
