"""What the Keras model and what a file said of the same texts → figures, and which limits fail."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfpipe.metrics import THRESHOLD, confusion_matrix, predict_labels, score_predictions
from tfpipe.thresholds import Threshold

# Keras' scores of different texts that lie nearer than a few quanta (1/256) may be one in int8.
MIN_SPREAD = 0.02
# A prediction by less, two quanta of int8 probabilities, may fall either way by rounding alone.
CLEAR_MARGIN = 2 / 256


def compare(
    scores: NDArray[np.float32],
    outputs: NDArray[np.float32],
    targets: NDArray[Any],
    *,
    names: list[str],
    multi_label: bool,
) -> dict[str, Any]:
    """Returns the metrics of both and how far apart they are.

    Args:
        scores: Keras' probabilities, `(n, num_classes)`.
        outputs: The file's, in the same order of classes.
        targets: The truth, as `tfpipe.data.Split` has it.
        names: The labels in the order of the classes.
        multi_label: Whether a text may have several labels.

    Returns:
        "metric": its name; "keras", "artifact": its value for both, a fraction; "agreement":
        fraction of texts with the same prediction; "max_abs_error", "mean_abs_error" between the
        probabilities, "median_abs_error" of the texts' largest ones, None where some are not
        finite; "num_examples"; "clear_agreement": the agreement on those "num_clear_examples" texts
        that Keras predicts by more than 2/256, None without any; "macro_f1" and "confusion_matrix"
        of the file.
    """
    metric = "micro_f1" if multi_label else "accuracy"
    wanted = predict_labels(scores, multi_label=multi_label)
    found = predict_labels(outputs, multi_label=multi_label)
    same = (wanted == found).all(1) if multi_label else wanted == found
    clear = find_margins(scores, multi_label=multi_label) > CLEAR_MARGIN
    errors = np.abs(outputs - scores)
    figures = score_predictions(targets, found, len(names))
    return {
        "metric": metric,
        "keras": score_predictions(targets, wanted, len(names))[metric],
        "artifact": figures[metric],
        "agreement": float(same.mean()),
        "max_abs_error": finite(errors.max()),
        "mean_abs_error": finite(errors.mean()),
        "median_abs_error": finite(np.median(errors.max(1))),
        "num_examples": len(scores),
        "clear_agreement": float(same[clear].mean()) if clear.any() else None,
        "num_clear_examples": int(clear.sum()),
        "macro_f1": figures["macro_f1"],
        "confusion_matrix": confusion_matrix(targets, found, names),
    }


def find_margins(scores: NDArray[np.float32], *, multi_label: bool) -> NDArray[np.float32]:
    """Returns by how much each prediction is made, `(n,)`: how far the highest probability is from
    the next one; with several labels, how far the nearest one is from the threshold."""
    if multi_label:
        nearest: NDArray[np.float32] = np.abs(scores - THRESHOLD).min(1)
        return nearest
    highest = np.sort(scores, axis=1)
    return highest[:, -1] - highest[:, -2]


def finite(value: np.floating[Any]) -> float | None:
    """Returns the number, or None for one that JSON does not have."""
    return float(value) if np.isfinite(value) else None


def check_outputs(outputs: NDArray[np.float32], scores: NDArray[np.float32]) -> list[str]:
    """Returns what is wrong with a file's outputs at first sight; `scores` are Keras'."""
    if not np.isfinite(outputs).all():
        return ["some outputs are not finite"]
    # A float16 or int8 softmax misses 1 by its rounding.
    if (outputs < -1e-6).any() or (outputs > 1 + 1e-2).any():
        return ["some outputs are no probabilities"]
    if np.ptp(outputs, axis=0).max() == 0 and np.ptp(scores, axis=0).max() > MIN_SPREAD:
        return ["every text gives the same outputs: weights are missing or all zero"]
    return []


def check_figures(figures: dict[str, Any], threshold: Threshold) -> list[str]:
    """Returns one sentence for each limit that the figures miss."""
    failures = []
    if figures["agreement"] < threshold.min_agreement:
        failures.append(
            f"agreement={figures['agreement']:.4f} with Keras is below {threshold.min_agreement}"
        )
    drop = figures["keras"] - figures["artifact"]
    # One flipped text is never a failure of the metric: with few texts it is a large share.
    if drop > max(threshold.max_metric_drop, 1.5 / figures["num_examples"]):
        failures.append(
            f"{figures['metric']}={figures['artifact']:.4f} is {drop:.4f} below Keras' "
            f"{figures['keras']:.4f}; {threshold.max_metric_drop} is allowed"
        )
    error = figures["mean_abs_error"]
    if error is not None and error > threshold.max_mean_error:
        failures.append(f"mean_abs_error={error:.2g} is above {threshold.max_mean_error:g}")
    median = figures["median_abs_error"]
    if median is not None and median > threshold.max_median_error:
        failures.append(f"median_abs_error={median:.2g} is above {threshold.max_median_error:g}")
    return failures


def encode_labels(labels: list[list[str]], names: list[str], *, multi_label: bool) -> NDArray[Any]:
    """Returns targets as `tfpipe.data.Split` has them.

    Raises:
        ValueError: A label that the run lacks.
    """
    rank = {name: index for index, name in enumerate(names)}
    unknown = sorted({label for row in labels for label in row if label not in rank})
    if unknown:
        raise ValueError(
            f"labels={unknown[:10]} are not among the run's: {names[:20]}. Correct the data."
        )
    if not multi_label:
        return np.array([rank[row[0]] for row in labels])
    targets = np.zeros((len(labels), len(names)), np.uint8)
    for line, row in enumerate(labels):
        targets[line, [rank[label] for label in row]] = 1
    return targets
