"""Texts, targets and a tokenizer's rules → how well a linear model labels unseen texts with it.

A stand-in for training the real model once for each kind of tokenizer: a second instead of minutes.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_runner.encode import Tokenizer, TokenizerSpec
from tfpipe.tokenizer.vocabulary import choose_vocabulary_size, count_tokens, train_vocabulary

# Longest run of tokens that is one feature: two words, or about one of them in characters.
_NGRAM_TOKENS = {"word": 2, "wordpiece": 2, "char": 4}
# Features are hashed to 2^18 columns: at 10^5 different ones a third share theirs, which costs a
# linear model a tenth of a point.
_COLUMN_BITS = 18


def score_tokenizer(
    spec: TokenizerSpec,
    train: tuple[Sequence[str], NDArray[Any]],
    validation: tuple[Sequence[str], NDArray[Any]],
    *,
    seed: int,
) -> NDArray[np.float64]:
    """Trains a vocabulary and a linear support vector machine on TF-IDF of token n-grams.

    Args:
        spec: The tokenizer's rules.
        train: Texts, and their targets: int `(n,)` class indices of at least two classes, or
            `(n, num_classes)` of 0 and 1, each column with both.
        validation: Texts and targets in the same form.
        seed: Decides the order of the model's updates.

    Returns:
        float64 `(number of validation texts,)`: 1 or 0 for a right or wrong class; F1 of the text's
        labels where it can have several (1 where it rightly has none).
    """
    from sklearn.feature_extraction.text import TfidfTransformer

    texts, targets = train
    counts = count_tokens(texts, spec)
    size, _ = choose_vocabulary_size(counts, spec)
    tokenizer = Tokenizer(spec, train_vocabulary(counts, spec, size))
    tfidf = TfidfTransformer(sublinear_tf=True)
    features = tfidf.fit_transform(_count_ngrams(texts, tokenizer))
    unseen = tfidf.transform(_count_ngrams(validation[0], tokenizer))
    if targets.ndim == 1:
        predicted = _predict(features, targets, unseen, seed)
        return np.asarray(predicted == validation[1], np.float64)
    columns = [_predict(features, column, unseen, seed) for column in targets.T]
    return _sample_f1(np.stack(columns, axis=1), validation[1])


def _predict(features: Any, targets: NDArray[Any], unseen: Any, seed: int) -> NDArray[Any]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    with warnings.catch_warnings():
        # Stopped early it is still good enough to compare with.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LinearSVC(max_iter=200, random_state=seed).fit(features, targets)
    predicted: NDArray[Any] = model.predict(unseen)
    return predicted


def _sample_f1(predicted: NDArray[Any], targets: NDArray[Any]) -> NDArray[np.float64]:
    right = np.sum((predicted > 0) & (targets > 0), axis=1)
    total = np.sum(predicted > 0, axis=1) + np.sum(targets > 0, axis=1)
    return np.where(total == 0, 1.0, 2.0 * right / np.maximum(total, 1))


def _count_ngrams(texts: Sequence[str], tokenizer: Tokenizer) -> Any:
    """Returns a sparse float32 matrix `(number of texts, 2^18)` of n-gram counts."""
    from scipy import sparse

    rows = [tokenizer.encode(text) for text in texts]
    token_ids = np.fromiter((i for row in rows for i in row), np.uint64)
    row_of = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    hashes = np.zeros(len(token_ids), np.uint64)
    found_rows, found_columns = [], []
    for n in range(1, _NGRAM_TOKENS[tokenizer.spec.kind] + 1):
        count = max(0, len(token_ids) - n + 1)
        hashes = hashes[:count] * np.uint64(1_000_003) + token_ids[n - 1 :] + np.uint64(1)
        whole = row_of[:count] == row_of[n - 1 :]
        # Fibonacci hashing: the top bits of the product with 2^64 / golden ratio.
        columns = (hashes * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - _COLUMN_BITS)
        found_rows.append(row_of[:count][whole])
        found_columns.append(columns[whole].astype(np.int32))
    place = (np.concatenate(found_rows), np.concatenate(found_columns))
    ones = np.ones(len(place[0]), np.float32)
    return sparse.csr_matrix((ones, place), shape=(len(rows), 1 << _COLUMN_BITS))
