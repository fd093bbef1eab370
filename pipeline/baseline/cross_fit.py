"""A data set → what TF-IDF + logistic regression says of its training texts, unseen by it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import compress, islice

import numpy as np
from numpy.typing import NDArray

from tfpipe.baseline import (
    MAX_WEIGHTS,
    PREDICT_ROWS,
    TRAIN_LIMIT,
    Candidate,
    batches,
    draw_sample,
    fit_analyzers,
    label_bits,
)
from tfpipe.baseline.linear import fit_linear
from tfpipe.baseline.tfidf import VECTORIZERS
from tfpipe.data import Dataset, Split, digest_of, shuffled_indices

NUM_FOLDS = 5
# A label that a sample lacks has infinite odds; those of the others stay within a few tens.
MAX_LOG_ODDS = 30.0


def cross_fit_scores(dataset: Dataset, texts: Split, *, seed: int) -> Iterator[NDArray[np.float32]]:
    """Yields what the baseline says of texts, in their order.

    A model that has seen a text repeats its label, which teaches nothing. So each training text is
    scored by a model of the other four fifths of them (cross-fitting: Chernozhukov et al. 2018,
    "Double/debiased machine learning for treatment and structural parameters"), in the features and
    with the strength that are best on the validation split; texts after them by the model of all.

    Args:
        dataset: The splits.
        texts: Its training split, with any texts after it.
        seed: For the folds, the samples and the solver.

    Yields:
        float32 `(batch, num_classes)`: log of the probabilities up to a constant, by which they are
        logits; for multi-label the log-odds.
    """
    train = dataset.splits["train"]
    sample = draw_sample(train, TRAIN_LIMIT, seed=seed)
    fitted = fit_analyzers(dataset, sample, seed=seed)
    analyzer, winner = max(fitted.items(), key=lambda item: item[1].score)
    folds = draw_folds(train, seed=seed)
    own = np.empty((train.num_examples, len(dataset.labels)), np.float32)
    for fold in range(NUM_FOLDS):
        unseen = folds == fold
        model = fit_rows(dataset, ~unseen, analyzer, winner.strength, seed=seed)
        scored = score_texts(model, compress(train.texts(), unseen.tolist()), dataset.multi_label)
        own[unseen] = np.concatenate([*scored, own[:0]])
    yield from np.array_split(own, range(PREDICT_ROWS, len(own), PREDICT_ROWS))
    more = islice(texts.texts(), train.num_examples, None)
    yield from score_texts(winner, more, dataset.multi_label)


def draw_folds(train: Split, *, seed: int) -> NDArray[np.int64]:
    """Returns the fold of each training text, from 0 on; equal texts are in one."""
    digests = np.frombuffer(b"".join(map(digest_of, train.texts())), np.uint64)
    _, text_of_row = np.unique(digests, return_inverse=True)
    return shuffled_indices(text_of_row.max() + 1, seed)[text_of_row] % NUM_FOLDS


def fit_rows(
    dataset: Dataset, rows: NDArray[np.bool_], analyzer: str, strength: float, *, seed: int
) -> Candidate:
    """Returns a model of some training rows, a sample of them where they are many."""
    sample = draw_sample(dataset.splits["train"], TRAIN_LIMIT, seed=seed, among=rows)
    vectorizer, num_labels = VECTORIZERS[analyzer](), len(dataset.labels)
    features = vectorizer.fit(sample.texts, max_features=MAX_WEIGHTS // num_labels)
    targets = label_bits(sample.targets, num_labels)
    several = dataset.multi_label
    model = fit_linear(features, targets, strength=strength, multi_label=several, seed=seed)
    return Candidate(vectorizer, strength, model, {})


def score_texts(
    candidate: Candidate, texts: Iterable[str], multi_label: bool
) -> Iterator[NDArray[np.float32]]:
    """Yields logits of texts, a batch at a time."""
    for batch in batches(texts, PREDICT_ROWS):
        odds = candidate.model.scores(candidate.vectorizer.transform(batch))
        odds = odds.clip(-MAX_LOG_ODDS, MAX_LOG_ODDS).astype(np.float32)
        yield odds if multi_label else -np.logaddexp(0, -odds)  # the latter is log sigmoid(odds)
