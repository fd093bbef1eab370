"""The baselines → against scikit-learn's own classes and against counts made by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.multiclass import OneVsRestClassifier

from tfpipe.baseline import Limit, evaluate_baselines, evaluate_majority
from tfpipe.baseline.linear import TOLERANCE, fit_linear
from tfpipe.baseline.tfidf import VECTORIZERS, CharTfidf, WordTfidf
from tfpipe.data import Dataset, open_dataset

HOSTILE_TEXTS = [
    "!?",
    "a",
    "İstanbul ÇAY",
    "日本語の文。",
    "x" * 300,
    "one\ttwo\u00a0 three",
    "👍🏽 ok",
]
PLENTY = 10**9


def sklearn_vectorizer(analyzer: str) -> TfidfVectorizer:
    if analyzer == "word":
        return TfidfVectorizer(
            ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\w+|[^\w\s]"
        )
    return TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), sublinear_tf=True)


def examples(dataset: Dataset, split: str, limit: int) -> tuple[list[str], np.ndarray]:
    chosen = dataset.splits[split]
    step = max(1, chosen.num_examples // limit)
    return list(chosen.texts())[::step], chosen.targets[::step]


@pytest.fixture(scope="module")
def topics() -> Dataset:
    return open_dataset("topics")


@pytest.mark.parametrize("analyzer", VECTORIZERS)
@pytest.mark.parametrize("name", ["topics", "languages"])
def test_features_equal_those_of_scikit_learn(analyzer: str, name: str) -> None:
    dataset = open_dataset(name)
    texts = examples(dataset, "train", 300)[0] + HOSTILE_TEXTS
    new_texts = examples(dataset, "test", 100)[0] + HOSTILE_TEXTS + ["unheard qqzzxx"]
    theirs = sklearn_vectorizer(analyzer)
    expected, expected_new = theirs.fit_transform(texts), theirs.transform(new_texts)
    ours = VECTORIZERS[analyzer]()
    actual, actual_new = ours.fit(texts, max_features=PLENTY), ours.transform(new_texts)
    assert actual.shape == expected.shape and actual.nnz == expected.nnz
    # Columns stand in another order: compare what no order changes. Both compute in float64.
    for left, right in ((actual, expected), (actual_new, expected_new)):
        np.testing.assert_allclose(np.sort(left.sum(0)), np.sort(right.sum(0)), atol=1e-9)
    np.testing.assert_allclose(
        (actual_new @ actual.T).toarray(), (expected_new @ expected.T).toarray(), atol=1e-12
    )


@pytest.mark.parametrize("vectorizer_class", [WordTfidf, CharTfidf])
def test_rarest_features_are_left_out_above_the_limit(vectorizer_class: type) -> None:
    texts = ["common word", "common thing", "common word"]
    vectorizer = vectorizer_class()
    assert vectorizer.fit(texts, max_features=2).shape == (3, 2)
    features = vectorizer.transform(["common"]).toarray()
    assert features.shape == (1, 2) and features.any()  # "common" is in every text


def test_linear_model_equals_scikit_learn_one_against_the_rest(topics: Dataset) -> None:
    texts, targets = examples(topics, "train", 600)
    new_texts, _ = examples(topics, "test", 300)
    vectorizer = WordTfidf()
    features, new_features = vectorizer.fit(texts, max_features=PLENTY), None
    new_features = vectorizer.transform(new_texts)
    bits = (targets[:, None] == np.arange(6)).astype(np.uint8)
    model = fit_linear(features, bits, strength=10.0, multi_label=False, seed=3)
    reference = OneVsRestClassifier(
        LogisticRegression(C=10.0, solver="liblinear", dual=True, tol=TOLERANCE, random_state=3)
    ).fit(features, targets)
    np.testing.assert_array_equal(model.predict(new_features), reference.predict(new_features))


def test_two_labels_need_one_regression(topics: Dataset) -> None:
    texts, targets = examples(topics, "train", 2000)
    chosen = [index for index, target in enumerate(targets) if target < 2]
    features = CharTfidf().fit([texts[i] for i in chosen], max_features=PLENTY)
    bits = (targets[chosen][:, None] == np.arange(2)).astype(np.uint8)
    model = fit_linear(features, bits, strength=1.0, multi_label=False, seed=1)
    reference = LogisticRegression(solver="lbfgs", C=1.0, max_iter=1000, tol=1e-6)
    reference.fit(features, targets[chosen])
    # Another solver of the same convex problem, but for the penalty on the bias.
    agreement = np.mean(model.predict(features) == reference.predict(features))
    assert agreement > 0.99


def test_label_that_a_sample_lacks_is_never_predicted() -> None:
    features = WordTfidf().fit(["a b", "c d", "a d"], max_features=PLENTY)
    bits = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 0]], dtype=np.uint8)
    model = fit_linear(features, bits, strength=1.0, multi_label=False, seed=1)
    assert set(model.predict(features).tolist()) <= {0, 1}


def test_majority_is_counted_in_training_and_scored_on_test(topics: Dataset) -> None:
    train, test = (topics.label_counts[split] for split in ("train", "test"))
    label = max(train, key=lambda name: train[name])
    share = test[label] / sum(test.values())
    result = evaluate_majority(topics)
    assert result["label"] == label
    assert result["accuracy"] == pytest.approx(share)
    # One class has recall 1 and precision `share`, five have an F1 of 0.
    assert result["macro_f1"] == pytest.approx(2 * share / (1 + share) / 6)


def test_tfidf_reaches_the_documented_accuracy_on_topics(topics: Dataset) -> None:
    result = evaluate_baselines(topics, seed=1)["tfidf_logistic_regression"]
    # 90.4 % with words and 91.5 % with characters, trained on all 4,828 rows and one C; the
    # standard error on 1,172 texts is 0.9 points.
    assert 0.89 < result["accuracy"] < 0.93
    assert abs(result["macro_f1"] - result["accuracy"]) < 0.01  # the classes are balanced
    assert result["num_train_rows"] == 4345
    assert result["analyzer"] in ("word", "char_wb")
    best = max(result["validation_accuracy"], key=result["validation_accuracy"].get)
    assert result["analyzer"] == best
    json.dumps(result, allow_nan=False)


def test_characters_win_on_languages() -> None:
    result = evaluate_baselines(open_dataset("languages"), seed=1)["tfidf_logistic_regression"]
    assert result["analyzer"] == "char_wb"
    assert result["accuracy"] >= 0.98  # 99.6 % documented for 24 languages; n = 284


def test_large_training_split_is_sampled(topics: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tfpipe.baseline.TRAIN_LIMIT", Limit(300, PLENTY))
    results = [evaluate_baselines(topics, seed=seed) for seed in (1, 1)]
    assert results[0] == results[1]
    assert results[0]["tfidf_logistic_regression"]["num_train_rows"] == 300
    monkeypatch.setattr("tfpipe.baseline.TRAIN_LIMIT", Limit(300, 10_000))
    few = evaluate_baselines(topics, seed=1)["tfidf_logistic_regression"]["num_train_rows"]
    assert 100 < few < 200  # definitions have 81 characters on average


def multi_label_rows() -> list[dict[str, Any]]:
    words = {"red": ["apple", "blood"], "round": ["ball", "wheel"], "loud": ["horn", "drum"]}
    random = np.random.default_rng(0)
    rows = []
    for number in range(400):
        labels = [label for label in words if random.random() < 0.5] or ["red"]
        text = " ".join(random.choice(words[label]) for label in labels)
        rows.append({"text": f"{text} {number}", "labels": labels})
    return rows


def test_multi_label_is_chosen_and_scored_by_micro_f1(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in multi_label_rows()))
    dataset = open_dataset(str(path), multi_label=True)
    result = evaluate_baselines(dataset, seed=1)
    linear, majority = result["tfidf_logistic_regression"], result["majority"]
    assert linear["accuracy"] == linear["micro_f1"] == 1.0  # each label has words of its own
    assert (
        set(linear["validation_micro_f1"])
        == set(linear["validation_accuracy"])
        == {
            "word",
            "char_wb",
        }
    )
    names = majority["label"].split("|")
    bits = np.array(
        [[name in names for name in dataset.labels]] * len(dataset.splits["test"].targets)
    )
    targets = dataset.splits["test"].targets
    assert majority["accuracy"] == pytest.approx(accuracy_score(targets, bits))
    assert majority["micro_f1"] == pytest.approx(f1_score(targets, bits, average="micro"))


def test_texts_of_punctuation_alone_have_features(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(
        "text,label\n" + "".join(f"{'!?'[i % 2] * (i + 1)},{i % 2}\n" for i in range(40))
    )
    result = evaluate_baselines(open_dataset(str(path)), seed=1)
    assert result["tfidf_logistic_regression"]["accuracy"] == 1.0
