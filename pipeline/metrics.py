"""True targets and scores → the figures that say how good a classifier is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

# A label of a multi-label text is predicted from this probability on.
THRESHOLD = 0.5


def predict_labels(scores: NDArray[Any], *, multi_label: bool) -> NDArray[Any]:
    """Returns the predicted class int64 `(n,)`, or for multi-label uint8 `(n, num_classes)`, from
    probabilities `(n, num_classes)`. Of equal scores the first class wins."""
    if multi_label:
        return (scores >= THRESHOLD).astype(np.uint8)
    classes: NDArray[np.int64] = scores.argmax(1)
    return classes


def score_predictions(
    targets: NDArray[Any], predictions: NDArray[Any], num_classes: int
) -> dict[str, float]:
    """Returns every metric of a split.

    Args:
        targets: int `(n,)`, or for multi-label uint8 `(n, num_classes)`.
        predictions: Of the same shape.

    Returns:
        "accuracy": fraction of texts predicted exactly. "macro_f1": mean over the classes that
        occur in targets or predictions of F1 = 2 tp / (2 tp + fp + fn). Multi-label adds
        "micro_f1": the same formula over the summed counts.
    """
    counts = f1_counts(targets, predictions, num_classes)
    exact = targets == predictions
    figures = {
        "accuracy": float(exact.all(1).mean() if targets.ndim == 2 else exact.mean()),
        "macro_f1": macro_f1(counts),
    }
    if targets.ndim == 2:
        hits, others = counts.sum(0)
        figures["micro_f1"] = float(2 * hits / max(2 * hits + others, 1))
    return figures


def f1_counts(
    targets: NDArray[Any], predictions: NDArray[Any], num_classes: int
) -> NDArray[np.int64]:
    """Returns per class (true positives, false positives + false negatives), `(num_classes, 2)`."""
    if targets.ndim == 1:
        right = np.bincount(targets[targets == predictions], minlength=num_classes)
        both = np.bincount(targets, minlength=num_classes)
        both += np.bincount(predictions, minlength=num_classes)
        return np.stack([right, both - 2 * right], 1)
    hits = (targets & predictions).sum(0, dtype=np.int64)
    others = (targets ^ predictions).sum(0, dtype=np.int64)
    return np.stack([hits, others], 1)


def macro_f1(counts: NDArray[np.int64]) -> float:
    """Returns the mean F1 of the classes that occur, from `f1_counts`."""
    present = counts[counts.sum(1) > 0]
    if not len(present):
        return 0.0
    return float(np.mean(2 * present[:, 0] / (2 * present[:, 0] + present[:, 1])))


def confusion_matrix(
    targets: NDArray[Any], predictions: NDArray[Any], labels: list[str]
) -> dict[str, Any] | None:
    """Returns {"labels", "counts"} with a row a true class and a column a predicted one; None for
    multi-label targets, which have no such table."""
    if targets.ndim == 2:
        return None
    size = len(labels)
    cells = targets.astype(np.int64) * size + predictions
    counts = np.bincount(cells, minlength=size * size)
    return {"labels": labels, "counts": counts.reshape(size, size).tolist()}


def near_best(score: float, best: float, num_examples: int) -> bool:
    """Returns whether a validation score lies within one standard error of the best one so far.

    The last such epoch is kept: what few validation texts cannot tell apart, the falling learning
    rate and the longer mean of weights decide. It is the one-standard-error rule of Breiman et al.,
    "Classification and Regression Trees" (1984), section 3.4.3, with sqrt(p (1 - p) / n) as the
    error of a share. The loss is not asked: it rises with a few confident errors while more and
    more texts come out right.

    Args:
        score: Share of texts predicted right, in [0, 1].
        best: The highest share of any epoch.
        num_examples: Validation texts, at least 1.
    """
    return score >= best - math.sqrt(best * (1 - best) / num_examples)
