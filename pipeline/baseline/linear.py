"""Sparse features and label bits → logistic regressions, one for each label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfpipe.baseline.tfidf import Matrix

# LIBLINEAR's own stopping criterion for this solver. scikit-learn's 1e-4 takes many times as long
# and changes the accuracy on the benchmark data sets by less than 0.1 points.
TOLERANCE = 0.1
MAX_ITERATIONS = 1000


@dataclass(frozen=True)
class LinearModel:
    """One logistic regression for each label.

    Attributes:
        weights: float32 `(num_features, num_labels)`.
        biases: float32 `(num_labels,)`.
        multi_label: Whether each label is predicted for itself.
    """

    weights: NDArray[np.float32]
    biases: NDArray[np.float32]
    multi_label: bool

    def scores(self, features: Matrix) -> NDArray[np.float32]:
        """Returns each label's log-odds against the rest, float32 `(num_texts, num_labels)`."""
        scores: NDArray[np.float32] = np.asarray(features @ self.weights) + self.biases
        return scores

    def predict(self, features: Matrix) -> NDArray[Any]:
        """Returns the index of the best label, or for multi-label uint8 bits of all of them."""
        scores = self.scores(features)
        return (scores >= 0).astype(np.uint8) if self.multi_label else scores.argmax(axis=1)


def fit_linear(
    features: Matrix,
    targets: NDArray[np.uint8],
    *,
    strength: float,
    multi_label: bool,
    seed: int,
) -> LinearModel:
    """Fits a logistic regression for each label against the rest.

    Args:
        features: float64 `(num_texts, num_features)`.
        targets: Bits `(num_texts, num_labels)`.
        strength: Inverse strength of regularisation.
        multi_label: Whether each label is predicted for itself.
        seed: Order in which the solver visits the texts.
    """
    from sklearn.linear_model import LogisticRegression

    num_labels = targets.shape[1]
    weights = np.zeros((features.shape[1], num_labels), dtype=np.float32)
    biases = np.zeros(num_labels, dtype=np.float32)
    opposites = num_labels == 2 and not multi_label  # then one regression tells both labels
    for label in range(1 if opposites else 0, num_labels):
        bits = targets[:, label]
        if bits.min() == bits.max():  # a sample may lack a rare label
            biases[label] = np.inf if bits.max() else -np.inf
            continue
        model = LogisticRegression(
            C=strength,
            solver="liblinear",
            dual=True,
            tol=TOLERANCE,
            max_iter=MAX_ITERATIONS,
            random_state=seed % 2**31,
        )
        model.fit(features, bits)
        weights[:, label], biases[label] = model.coef_[0], model.intercept_[0]
    if opposites:
        weights[:, 0], biases[0] = -weights[:, 1], -biases[1]
    return LinearModel(weights, biases, multi_label)
