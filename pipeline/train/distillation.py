"""What teachers say about texts → the loss of a student that learns from them and from labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

# Of a run whose recipe is older than these keys; packaged recipes have the same.
TEMPERATURE, WEIGHT = 1.0, 0.7


class Lessons:
    """What teachers say about the training texts.

    Args:
        scores: float32 `(n, num_classes)`, their mean logits; may lie on disk. The labelled texts
            come first.
        num_labelled: How many texts have a label; from the others only the teachers teach.
        settings: The recipe's [train] section.

    Attributes:
        temperature: What logits are divided by before the softmax.
        weight: Share of the teachers in the loss of a labelled text.
    """

    def __init__(
        self, scores: NDArray[np.float32], num_labelled: int, settings: Mapping[str, Any]
    ) -> None:
        self.scores, self.num_labelled = scores, num_labelled
        self.temperature: float = settings.get("teacher_temperature", TEMPERATURE)
        self.weight: float = settings.get("teacher_weight", WEIGHT)

    def signature(self) -> tuple[tf.TensorSpec, tf.TensorSpec]:
        """Returns the types of what `batch` gives."""
        return (
            tf.TensorSpec((None, self.scores.shape[1]), tf.float32),
            tf.TensorSpec((None,), tf.float32),
        )

    def batch(self, rows: NDArray[np.int64]) -> tuple[Any, Any]:
        """Returns the teachers' logits of some texts, `(batch, num_classes)`, and the share of the
        teachers in each text's loss, `(batch,)`: 1 where there is no label."""
        shares = np.where(rows < self.num_labelled, self.weight, 1.0)
        return tf.constant(self.scores[rows]), tf.constant(shares, tf.float32)

    def mix(self, losses: Any, logits: Any, lesson: tuple[Any, Any], *, multi_label: bool) -> Any:
        """Returns the loss of each text, float32 `(batch,)`: (1 - share) * loss of the label +
        share * T² * cross entropy of student and teachers at temperature T (Hinton, Vinyals and
        Dean 2015, "Distilling the Knowledge in a Neural Network", section 2; T² keeps the
        gradients of both in proportion).

        Args:
            losses: `(batch,)`, those of the labels.
            logits: The student's, `(batch, num_classes)`.
            lesson: What `batch` gave.
            multi_label: Whether each class is a yes or no of its own: then a sigmoid takes the
                place of the softmax, and the mean over the classes is the loss.
        """
        scores, shares = lesson
        wanted, found = scores / self.temperature, logits / self.temperature
        if multi_label:
            soft = tf.nn.sigmoid_cross_entropy_with_logits(tf.sigmoid(wanted), found)
            soft = tf.reduce_mean(soft, 1)
        else:
            soft = tf.nn.softmax_cross_entropy_with_logits(tf.nn.softmax(wanted), found)
        return (1 - shares) * losses + shares * self.temperature**2 * soft
