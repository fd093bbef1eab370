"""Vectors of a text → one score a class: what every classifier ends with."""

from __future__ import annotations

from typing import Any

import tf_keras as keras

from tfpipe.models.dropout import ResumableDropout
from tfpipe.models.padding import MaskedPooling

LOGITS = "logits"  # the name of every classifier's last layer


def pool_embeddings(vectors: Any, mask: Any, pooling: str) -> Any:
    """Returns the pooled embeddings; a last embedding says nothing, so "last" takes the mean."""
    kind = "mean" if pooling == "last" else pooling
    return MaskedPooling(kind, name="embedding_pooling")([vectors, mask])


def join_branches(states: Any, bag: Any, *, branch_dropout: float, seed: int) -> Any:
    """Returns a text's pooled states, beside its bag of embeddings if there is one.

    In training, all states of a fraction `branch_dropout` of the texts are dropped: the embeddings
    learn to do alone what they can, the states what they cannot. Small training sets gain most.
    """
    if bag is None:
        return states
    states = ResumableDropout(branch_dropout, seed + 3, (0,), name="branch_dropout")(states)
    return keras.layers.Concatenate(name="features")([states, bag])


def classify(features: Any, *, num_classes: int, dropout: float, seed: int) -> Any:
    """Returns float32 logits `(batch, num_classes)`; softmax or sigmoid belongs to the loss and to
    the inference form."""
    features = ResumableDropout(dropout, seed + 2, name="dropout")(features)
    # float32 even under mixed precision: a softmax over float16 logits loses what decides.
    return keras.layers.Dense(num_classes, dtype="float32", name=LOGITS)(features)
