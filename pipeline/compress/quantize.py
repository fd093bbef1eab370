"""A model that rounds and training texts → ranges that follow its values, then stand still."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from tfpipe.compress.fine_tune import FineTuner, Method
from tfpipe.models.quantized import RANGE_BATCH_SIZE, RANGE_BATCHES

# Share of the epochs in which ranges still move.
MOVING_SHARE = 0.5


class LearnRanges(Method):
    """TF-MOT's MovingAverageQuantizer, fed with inference instead of training: what dropout
    multiplies in training never reaches a device, and would widen every range.

    At the beginning of each epoch of the first half the averaged weights see training texts as
    they will at inference, and the ranges move; from then on they are frozen, and the weights get
    used to them.

    Args:
        epochs: Passes over the training rows.
        seed: Decides which texts are shown.
    """

    def __init__(self, *, epochs: int, seed: int) -> None:
        self._moving = math.ceil(MOVING_SHARE * epochs)
        self._seed = seed

    def begin(self, trainer: FineTuner) -> None:
        signature = [tf.TensorSpec((None, None), tf.int32)]
        self._observe = tf.function(
            trainer.averaged.observe, input_signature=signature, autograph=False
        )

    def begin_epoch(self, trainer: FineTuner) -> None:
        if trainer.state.epoch >= self._moving:
            return
        rng = np.random.default_rng([self._seed, trainer.state.epoch])
        rows = rng.permutation(len(trainer.train.lengths))[: RANGE_BATCHES * RANGE_BATCH_SIZE]
        for start in range(0, len(rows), RANGE_BATCH_SIZE):
            chosen = rows[start : start + RANGE_BATCH_SIZE]
            self._observe(tf.constant(trainer.train.batch(chosen)))
