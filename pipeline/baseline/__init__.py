"""A data set → what majority class and TF-IDF + logistic regression reach on its test split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import compress, islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tfpipe.baseline.linear import LinearModel, fit_linear
from tfpipe.baseline.tfidf import VECTORIZERS, Vectorizer
from tfpipe.data import Dataset, Split, shuffled_indices
from tfpipe.metrics import score_predictions


@dataclass(frozen=True)
class Limit:
    """How much of a split is taken: a seeded sample where the split is larger.

    Attributes:
        num_rows: Most rows.
        num_characters: Most characters.
    """

    num_rows: int
    num_characters: int


# A character gives up to 2.4 n-grams, and fitting takes 28 bytes for each: 1.3 GB.
TRAIN_LIMIT = Limit(num_rows=200_000, num_characters=20_000_000)
# 20,000 rows choose between accuracies near 0.9 with a standard error of 0.2 points.
VALIDATION_LIMIT = Limit(num_rows=20_000, num_characters=4_000_000)
MAX_WEIGHTS = 100_000_000  # features × labels, 4 bytes each; the rarest features are left out
PREDICT_ROWS = 4096  # texts whose features are in memory at once

# Inverse strengths of regularisation. The search starts in the middle and goes on to the side that
# is better on validation. At 1, scikit-learn's default, TF-IDF is mostly regularised too much.
STRENGTHS = (1.0, 10.0, 30.0)


class Sample(NamedTuple):
    """Texts in memory and their targets.

    Attributes:
        texts: Texts.
        targets: As in `tfpipe.data.Split`, of these texts.
    """

    texts: list[str]
    targets: NDArray[Any]


@dataclass(frozen=True)
class Candidate:
    """A fitted baseline and what it reaches on validation.

    Attributes:
        vectorizer: Texts → features.
        strength: Inverse strength of regularisation, scikit-learn's `C`.
        model: Features → labels.
        validation: Metrics on the validation split.
    """

    vectorizer: Vectorizer
    strength: float
    model: LinearModel
    validation: dict[str, float]

    @property
    def score(self) -> float:
        """The metric to choose by: micro F1 for multi-label, else accuracy."""
        return self.validation.get("micro_f1", self.validation["accuracy"])


def evaluate_baselines(dataset: Dataset, *, seed: int) -> dict[str, Any]:
    """Measures how far simple methods get on the splits that the network is given.

    Both learn from the training split alone. Logistic regression (one against the rest) sees the
    TF-IDF of words and word pairs, or of runs of 1 to 4 characters within words; which of them,
    and the regularisation, is chosen on the validation split. From a large training split it
    learns from a seeded sample of at most 200,000 rows and 20 million characters.

    Args:
        dataset: The splits.
        seed: For the sample and the solver.

    Returns:
        "majority": accuracy, macro_f1, label. "tfidf_logistic_regression": accuracy, macro_f1,
        analyzer, C, num_train_rows, validation_accuracy of both analyzers. Multi-label adds
        micro_f1, and validation_micro_f1, by which the choice is then made.
    """
    return {
        "majority": evaluate_majority(dataset),
        "tfidf_logistic_regression": evaluate_tfidf(dataset, seed=seed),
    }


def evaluate_majority(dataset: Dataset) -> dict[str, Any]:
    """Predicts for every text the label, or set of labels, that is most frequent in training."""
    train, test = dataset.splits["train"].targets, dataset.splits["test"].targets
    values, counts = np.unique(train, axis=0, return_counts=True)
    majority = values[counts.argmax()]
    predictions = np.broadcast_to(majority, test.shape)
    indices = np.flatnonzero(majority).tolist() if dataset.multi_label else [int(majority)]
    return {
        **score_predictions(test, predictions, len(dataset.labels)),
        "label": "|".join(dataset.labels[index] for index in indices),
    }


def evaluate_tfidf(dataset: Dataset, *, seed: int) -> dict[str, Any]:
    """Fits the best TF-IDF and logistic regression and scores it on the test split."""
    train = draw_sample(dataset.splits["train"], TRAIN_LIMIT, seed=seed)
    best = fit_analyzers(dataset, train, seed=seed)
    analyzer, winner = max(best.items(), key=lambda item: item[1].score)
    test = dataset.splits["test"]
    result = {
        **score_predictions(test.targets, predict_split(winner, test), len(dataset.labels)),
        "analyzer": analyzer,
        "C": winner.strength,
        "num_train_rows": len(train.texts),
    }
    for metric in ("accuracy", "micro_f1") if dataset.multi_label else ("accuracy",):
        result[f"validation_{metric}"] = {name: c.validation[metric] for name, c in best.items()}
    return result


def fit_analyzers(dataset: Dataset, train: Sample, *, seed: int) -> dict[str, Candidate]:
    """Returns the best model of each of VECTORIZERS, fitted on `train`."""
    validation = draw_sample(dataset.splits["validation"], VALIDATION_LIMIT, seed=seed)
    return {
        analyzer: search_strength(make_vectorizer(), dataset, train, validation, seed=seed)
        for analyzer, make_vectorizer in VECTORIZERS.items()
    }


def draw_sample(
    split: Split, limit: Limit, *, seed: int, among: NDArray[np.bool_] | None = None
) -> Sample:
    """Returns a split's texts and targets: all (of those rows), or those of a seeded sample within
    the limit."""
    rows = shuffled_indices(split.num_examples, seed)
    rows = rows[: limit.num_rows] if among is None else rows[among[rows]][: limit.num_rows]
    lengths = np.fromiter(map(len, split.texts()), dtype=np.int64, count=split.num_examples)
    rows = rows[np.cumsum(lengths[rows]) <= limit.num_characters]
    chosen = np.zeros(split.num_examples, dtype=bool)
    chosen[rows] = True
    return Sample(list(compress(split.texts(), chosen.tolist())), split.targets[chosen])


def search_strength(
    vectorizer: Vectorizer, dataset: Dataset, train: Sample, validation: Sample, *, seed: int
) -> Candidate:
    """Fits the vectorizer, and models of several strengths; returns the best on validation."""
    num_labels, multi_label = len(dataset.labels), dataset.multi_label
    features = vectorizer.fit(train.texts, max_features=MAX_WEIGHTS // num_labels)
    validation_features = vectorizer.transform(validation.texts)
    targets = label_bits(train.targets, num_labels)

    def candidate(strength: float) -> Candidate:
        model = fit_linear(features, targets, strength=strength, multi_label=multi_label, seed=seed)
        predictions = model.predict(validation_features)
        scores = score_predictions(validation.targets, predictions, num_labels)
        return Candidate(vectorizer, strength, model, scores)

    low, middle, high = STRENGTHS
    best, stronger = candidate(middle), candidate(high)
    if stronger.score >= best.score:
        return stronger
    weaker = candidate(low)
    return weaker if weaker.score > best.score else best


def label_bits(targets: NDArray[Any], num_labels: int) -> NDArray[np.uint8]:
    """Returns targets as uint8 bits `(num_examples, num_labels)`."""
    bits = targets if targets.ndim == 2 else targets[:, np.newaxis] == np.arange(num_labels)
    return bits.astype(np.uint8)


def predict_split(candidate: Candidate, split: Split) -> NDArray[Any]:
    return np.concatenate(
        [
            candidate.model.predict(candidate.vectorizer.transform(texts))
            for texts in batches(split.texts(), PREDICT_ROWS)
        ]
    )


def batches(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    remaining = iter(texts)
    while batch := list(islice(remaining, size)):
        yield batch
