"""tfpipe.metrics: every figure by hand and against scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from tfpipe.metrics import confusion_matrix, f1_counts, macro_f1, predict_labels, score_predictions

TARGETS = np.array([0, 0, 1, 1, 1, 3], np.int32)
PREDICTIONS = np.array([0, 1, 1, 1, 0, 0])


def test_figures_of_one_label_are_hand_made():
    # Class 0: tp 1, fp 2, fn 1 → F1 2/5. Class 1: tp 2, fp 1, fn 1 → 4/6. Class 3: 0. Class 2 is
    # in neither and does not count.
    figures = score_predictions(TARGETS, PREDICTIONS, 4)
    assert figures == {"accuracy": 0.5, "macro_f1": pytest.approx((2 / 5 + 4 / 6 + 0) / 3)}
    assert f1_counts(TARGETS, PREDICTIONS, 4).tolist() == [[1, 3], [2, 2], [0, 0], [0, 1]]


def test_figures_of_several_labels_are_hand_made():
    targets = np.array([[1, 0, 1], [0, 0, 0], [1, 0, 0]], np.uint8)
    predictions = np.array([[1, 0, 0], [0, 0, 0], [1, 1, 0]], np.uint8)
    figures = score_predictions(targets, predictions, 3)
    assert figures == {
        "accuracy": pytest.approx(1 / 3),
        "macro_f1": pytest.approx((1 + 0 + 0) / 3),
        "micro_f1": pytest.approx(2 * 2 / (2 * 2 + 2)),
    }


@pytest.mark.parametrize("seed", range(3))
def test_figures_equal_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 7, 60).astype(np.int32)
    predictions = np.where(rng.random(60) < 0.5, targets, rng.integers(0, 9, 60))
    figures = score_predictions(targets, predictions, 9)
    assert figures["accuracy"] == pytest.approx(
        sklearn_metrics.accuracy_score(targets, predictions)
    )
    assert figures["macro_f1"] == pytest.approx(
        sklearn_metrics.f1_score(targets, predictions, average="macro")
    )
    bits, guesses = (rng.random((2, 50, 5)) < 0.4).astype(np.uint8)
    figures = score_predictions(bits, guesses, 5)
    assert figures["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(bits, guesses))
    for average in ("macro", "micro"):
        expected = sklearn_metrics.f1_score(bits, guesses, average=average)
        assert figures[f"{average}_f1"] == pytest.approx(expected)


def test_nothing_to_find_and_nothing_found_scores_zero():
    nothing = np.zeros((4, 2), np.uint8)
    assert score_predictions(nothing, nothing, 2) == {
        "accuracy": 1.0,
        "macro_f1": 0.0,
        "micro_f1": 0.0,
    }
    assert macro_f1(np.zeros((3, 2), np.int64)) == 0.0


def test_confusion_matrix_equals_scikit_learn():
    labels = ["a", "b", "c", "d"]
    matrix = confusion_matrix(TARGETS, PREDICTIONS, labels)
    expected = sklearn_metrics.confusion_matrix(TARGETS, PREDICTIONS, labels=range(4))
    assert matrix == {"labels": labels, "counts": expected.tolist()}
    assert matrix["counts"][3] == [1, 0, 0, 0]
    assert confusion_matrix(np.zeros((2, 2)), np.zeros((2, 2)), ["a", "b"]) is None


def test_predicted_labels_are_the_highest_or_all_from_the_threshold():
    scores = np.array([[0.2, 0.5, 0.3], [0.5, 0.5, 0.0]])
    assert predict_labels(scores, multi_label=False).tolist() == [1, 0]
    assert predict_labels(scores, multi_label=True).tolist() == [[0, 1, 0], [1, 1, 0]]
