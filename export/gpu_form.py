"""Layers that LiteRT's GPU accelerator computes wrongly as they are → ops that it gets right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfpipe.export.recurrence import weights_of
from tfpipe.models.position import PositionEmbedding


def add_positions(layer: PositionEmbedding, states: Any) -> Any:
    """Adds the position vectors to `(sequence_length, embedding_dim)`, in four dimensions.

    The accelerator of LiteRT 2.3.0 takes a sum with a constant of two or three dimensions and,
    without a word, adds something else (tests/test_gpu.py shows it).
    """
    length, width = states.shape
    vectors = tf.constant(weights_of(layer)[0][:length, None, :])
    total = tf.reshape(states, [1, length, 1, width]) + vectors[None]
    return tf.reshape(total, [length, width])


GPU_LAYERS: dict[type, Callable[..., Any]] = {PositionEmbedding: add_positions}
