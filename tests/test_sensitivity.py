"""Pruning's sensitivity scan against a model whose every weight is known, and in a whole call."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from tensorflow_model_optimization.python.core.sparsity.keras.pruning_impl import Pruning
from tensorflow_model_optimization.sparsity.keras import ConstantSparsity

from tfpipe.compress import sensitivity
from tfpipe.compress.options import CompressOptions
from tfpipe.compress.prune import block_of
from tfpipe.compress.sensitivity import (
    choose_sparsity,
    describe_decisions,
    scan_sensitivity,
    without_smallest,
)
from tfpipe.compress.variant import compress
from tfpipe.run_folder import RunFolder
from tfpipe.train.corpus import EncodedSplit
from tfpipe.variant import load_model

NUM_TEXTS = 40
# Token 1 is (1, 1), which is class 0, and token 2 is (1, 0), which is class 1. Of the table a
# quarter is needed at most, of "half" two weights of four, of "whole" all four: without the smaller
# two, (1, 0) becomes (0, 0), and the first class wins.
TABLE = np.full((20, 2), 0.01, np.float32)
TABLE[1:3] = [[1, 1], [1, 0]]
HALF = np.array([[1, 0], [0, 0.9]], np.float32)
WHOLE = np.array([[1, 2], [5, 3]], np.float32)


@pytest.fixture
def model() -> keras.Model:
    token_ids = keras.Input((None,), dtype=tf.int32)
    states = keras.layers.Embedding(20, 2, name="table")(token_ids)
    states = keras.layers.GlobalAveragePooling1D()(states)
    states = keras.layers.Dense(2, use_bias=False, name="half")(states)
    made = keras.Model(token_ids, keras.layers.Dense(2, use_bias=False, name="whole")(states))
    made.set_weights([TABLE, HALF, WHOLE])
    return made


@pytest.fixture
def source(tmp_path: Path) -> Any:
    """Texts of one token, of each of the two as many."""
    targets = np.arange(NUM_TEXTS) % 2
    (targets + 1).astype(np.uint16).tofile(tmp_path / "ids")
    split = EncodedSplit(tmp_path / "ids", np.arange(NUM_TEXTS + 1), targets, dtype=np.uint16)
    dataset = SimpleNamespace(labels=["zero", "one"])
    return SimpleNamespace(splits={"validation": split}, dataset=dataset, content={"seed": 1})


def test_each_layer_is_pruned_to_what_it_bears(model: keras.Model, source: Any) -> None:
    scan = scan_sensitivity(model, source, 0.75)
    assert {key: scan[key] for key in ("metric", "num_examples", "score", "asked")} == {
        "metric": "accuracy",
        "num_examples": NUM_TEXTS,
        "score": 1.0,
        "asked": 0.75,
    }
    # 42 of 44 by hand: sqrt(42/44 * 2/44 / 44).
    assert scan["limit"] == pytest.approx(0.031402, abs=1e-6)
    right = {"sparsity": 0.75, "score": 1.0, "drop": 0.0}
    wrong = {"sparsity": 0.75, "score": 0.5, "drop": 0.5}
    assert scan["layers"] == [
        {"name": "table/embeddings", "num_weights": 40, "block": [1, 1], "tried": [right],
         "decision": "pruned", "sparsity": 0.75},
        {"name": "half/kernel", "num_weights": 4, "block": [1, 1],
         "tried": [wrong, {**right, "sparsity": 0.5}],
         "decision": "less", "sparsity": 0.5},
        {"name": "whole/kernel", "num_weights": 4, "block": [1, 1],
         "tried": [wrong, {**wrong, "sparsity": 0.5}],
         "decision": "left alone", "sparsity": 0.0},
    ]  # fmt: skip
    assert scan["together"]["score"] == 1.0 and scan["together"]["drop"] == 0.0
    assert describe_decisions(scan) == (
        "prune: half/kernel to 50 %, whole/kernel left alone, the rest to 75 %"
    )
    for kept, weight in zip((TABLE, HALF, WHOLE), model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, kept)


def test_model_of_which_nothing_can_be_spared_is_refused(
    model: keras.Model, source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    only = [model.get_layer("whole").kernel]
    monkeypatch.setattr(sensitivity, "compressible", lambda _: only)
    with pytest.raises(
        ValueError,
        match=r"prune=0.75: no layer bears it.*\(n=40\) by at least 50.0 points; borne are 3.1, "
        r"one standard error. Give a lower --prune, or --no-scan",
    ):
        scan_sensitivity(model, source, 0.75)
    np.testing.assert_array_equal(model.get_weights()[2], WHOLE)


def test_few_texts_are_looked_at(
    model: keras.Model, source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensitivity, "SCAN_TEXTS", 30)
    scan = scan_sensitivity(model, source, 0.5)
    assert scan["num_examples"] == 30
    # 32 of 34 by hand: sqrt(32/34 * 2/34 / 34).
    assert scan["limit"] == pytest.approx(0.040353, abs=1e-6)


@pytest.mark.parametrize("block", [(1, 1), (4, 1)])
@pytest.mark.parametrize("sparsity", [0.3, 0.8, 0.95])
def test_what_goes_is_what_tf_mot_masks(sparsity: float, block: tuple[int, int]) -> None:
    weights = np.random.default_rng(3).normal(size=(32, 17)).astype(np.float32)
    variable, mask = tf.Variable(weights), tf.Variable(np.ones_like(weights))
    pruning = Pruning(
        lambda: tf.constant(1),
        [(variable, mask, tf.Variable(0.0))],
        ConstantSparsity(sparsity, 0, frequency=1),
        block_size=block,
        block_pooling_type="AVG",
    )
    tf.function(pruning.conditional_mask_update, autograph=False)()
    np.testing.assert_array_equal(
        without_smallest(weights, sparsity, block), weights * mask.numpy()
    )


def test_tables_and_kernels_that_blocks_do_not_divide_are_pruned_weight_by_weight() -> None:
    def weight(name: str, rows: int) -> tf.Variable:
        return tf.Variable(tf.zeros((rows, 3)), name=name)

    assert block_of(weight("dense/kernel", 8), 4) == (4, 1)
    assert block_of(weight("dense/kernel", 6), 4) == (1, 1)
    assert block_of(weight("dense/kernel", 4), 4) == (1, 1)  # one run: TF-MOT pools no such thing
    assert block_of(tf.Variable(tf.zeros((8, 1)), name="dense/kernel"), 4) == (1, 1)
    assert block_of(weight("embedding/embeddings", 8), 4) == (1, 1)


def test_blocks_that_suit_no_kernel_are_refused(model: keras.Model, source: Any) -> None:
    options = CompressOptions(prune=0.5, block_size=3)
    with pytest.raises(
        ValueError, match=r"block_size=3 .* they have \[2, 2\]. Give --block-size 4"
    ):
        choose_sparsity(model, source, options, lambda _: None)


def test_variant_is_pruned_as_the_scan_decided(
    trained_runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained_runs["lstm"], run, ignore=shutil.ignore_patterns("exports"))
    base = load_model(RunFolder(run), "base").trainable_variables
    before = {v.name.removesuffix(":0"): float(np.mean(v.numpy() == 0)) for v in base}
    decided = [("less", 0.6), ("pruned", 0.9), ("left alone", 0.0), ("pruned", 0.9)]
    names = [v.name.removesuffix(":0") for v in base if v.shape.rank == 2]
    layers = [
        {"name": name, "num_weights": 1, "decision": decision, "sparsity": sparsity, "tried": []}
        for name, (decision, sparsity) in zip(names, decided, strict=True)
    ]
    scan = {"asked": 0.9, "layers": layers}
    monkeypatch.setattr(sensitivity, "scan_sensitivity", lambda *_: scan)
    said: list[Any] = []
    record = compress(run, "sparse", CompressOptions(prune=0.9, epochs=2), progress=said.append)
    assert record["training"][0]["scan"] == scan and describe_decisions(scan) in said
    zeros = {entry["name"]: entry["zeros"] for entry in record["tensors"]}
    for layer in layers:
        wanted = max(layer["sparsity"], before[layer["name"]])
        assert zeros[layer["name"]] == pytest.approx(wanted, abs=0.03), layer
    # Without the scan nobody is spared.
    options = CompressOptions(prune=0.9, scan=False, block_size=4, epochs=1)
    record = compress(run, "alike", options, progress=said.append)
    assert "scan" not in record["training"][0]
    for entry in record["tensors"]:
        if entry["name"] in names:
            assert entry["zeros"] >= 0.87, entry
    # Whole runs of four inputs of an output went, or none of the four.
    for weight in load_model(RunFolder(run), "alike").trainable_variables:
        if weight.shape.rank == 2 and "kernel" in weight.name and weight.shape[0] % 4 == 0:
            zeros_of_runs = (weight.numpy().reshape(-1, 4, weight.shape[1]) == 0).sum(1)
            assert set(np.unique(zeros_of_runs)) == {0, 4}, weight.name
