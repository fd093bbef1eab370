"""The low-rank embedding: what stays the same, what goes first, and which models cannot have it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfpipe.compress.low_rank import with_low_rank
from tfpipe.compress.options import CompressOptions
from tfpipe.compress.variant import compress
from tfpipe.config import load_recipe
from tfpipe.export.artifact import ExportOptions, export_artifact
from tfpipe.models import MODELS
from tfpipe.train import train
from tfpipe.verify import verify

WORDS, LENGTH, WIDTH, CLASSES = 60, 9, 16, 3
# Models whose vectors nothing but a product reads.
LINEAR = {
    "average": {},
    "lstm": {"embedding_skip": False, "units": 8},
    "bilstm": {"embedding_skip": False, "units": 8},
    "textcnn": {"embedding_skip": False, "filters": 8},
}
OTHERS: dict[str, dict[str, Any]] = {
    "average": {"pooling": "max"},
    "lstm": {"units": 8},
    "textcnn": {"filters": 8},
    "transformer": {"num_heads": 2, "feed_forward_dim": 8},
}


def build(name: str, settings: dict[str, Any]) -> keras.Model:
    model = MODELS[name](
        vocabulary_size=WORDS,
        sequence_length=LENGTH,
        num_classes=CLASSES,
        embedding_dim=WIDTH,
        **settings,
    )
    random = np.random.default_rng(1)
    model.set_weights([random.normal(size=w.shape).astype(np.float32) for w in model.get_weights()])
    return model


@pytest.fixture
def source() -> Any:
    counts = np.random.default_rng(2).integers(0, 50, WORDS)
    split = SimpleNamespace(count_tokens=lambda size: counts[:size])
    return SimpleNamespace(splits={"train": split}, content={"seed": 1})


def token_ids() -> Any:
    return tf.constant(np.random.default_rng(3).integers(1, WORDS, (20, LENGTH)), tf.int32)


@pytest.mark.parametrize("name", LINEAR)
def test_whole_rank_changes_nothing(name: str, source: Any) -> None:
    model = build(name, LINEAR[name])
    before = model(token_ids()).numpy()
    turned = with_low_rank(model, source, WIDTH)
    np.testing.assert_allclose(turned(token_ids()), before, rtol=1e-3, atol=1e-3)
    assert not np.allclose(turned.get_layer("embedding").get_weights()[0],
                           model.get_layer("embedding").get_weights()[0])  # fmt: skip


def test_an_average_needs_no_more_columns_than_classes(source: Any) -> None:
    model = build("average", {})
    turned = with_low_rank(model, source, WIDTH // 2)
    table = turned.get_layer("embedding").get_weights()[0]
    assert (table[:, :CLASSES] != 0).any(0).all() and not table[:, CLASSES:].any()
    np.testing.assert_allclose(turned(token_ids()), model(token_ids()), rtol=1e-3, atol=1e-3)


def test_error_is_that_of_the_best_approximation(source: Any) -> None:
    model = build("lstm", LINEAR["lstm"])
    rank = 5
    small = with_low_rank(model, source, rank)
    weights = [m.get_layer("embedding").get_weights()[0] @ kernel_of(m) for m in (model, small)]
    weighted = [np.sqrt(source.splits["train"].count_tokens(WORDS))[:, None] * w for w in weights]
    # Eckart and Young: no other table of that rank comes closer than what it leaves out.
    least = np.sqrt((np.linalg.svd(weighted[0], compute_uv=False)[rank:] ** 2).sum())
    assert np.linalg.norm(weighted[0] - weighted[1]) == pytest.approx(least, rel=1e-3)
    columns = np.linalg.norm(small.get_layer("embedding").get_weights()[0], axis=0)
    assert not columns[rank:].any() and columns[:rank].max() < 5 * columns[:rank].min()


def kernel_of(model: keras.Model) -> Any:
    return model.get_layer("lstm_0").get_weights()[0]


def test_table_that_no_product_needs_stays_as_it_is(source: Any) -> None:
    model = build("average", {})
    model.get_layer("logits").set_weights([np.zeros((WIDTH, CLASSES)), np.zeros(CLASSES)])
    assert with_low_rank(model, source, 4) is model


@pytest.mark.parametrize("name", OTHERS)
def test_models_that_read_vectors_otherwise_stay_as_they_are(name: str, source: Any) -> None:
    model = build(name, OTHERS[name])
    assert with_low_rank(model, source, 4) is model


def test_shrunken_average_has_a_column_for_each_class_and_ships(
    make_colours: Any, tmp_path: Path
) -> None:
    settings = ["train.epochs=2", "train.learning_rate=0.05", "model.embedding_dim=16"]
    recipe = load_recipe("average", overrides=[*settings, "tokenizer.kind=word"])
    run = tmp_path / "run"
    trained = train(make_colours(tmp_path / "colours.csv"), run, recipe=recipe)
    record = compress(run, "small", CompressOptions(shrink=0.1, epochs=1))
    # Nine tenths of sixteen columns were asked for; the three labels need four, rounded up.
    assert record["training"][0]["widths"]["embedding"]["after"] == 4
    # Training on begins at the run's own accuracy.
    assert record["metrics"]["test"]["accuracy"] >= trained["metrics"]["test"]["accuracy"] - 0.1
    assert verify(export_artifact(run, ExportOptions(variant="small"))["artifact"])["passed"]
    # What was pruned before is not mixed up: its zeros stay, and columns go by their importance.
    compress(run, "sparse", CompressOptions(prune=0.75, scan=False, epochs=2))
    options = CompressOptions(source="sparse", shrink=0.5, epochs=1)
    both = compress(run, "both", options)
    assert both["training"][0]["widths"]["embedding"]["after"] == 8
    assert both["tensors"][0]["zeros"] > 0.6
