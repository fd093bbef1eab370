"""What rounding one layer alone costs, against the same rounding written out by hand."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from test_quantized import LENGTH, VOCABULARY_SIZE, WITH_A_FORM, random_quantized

from tfpipe.compress.layer_rounding import describe_rounding, rounded_layer_names
from tfpipe.compress.tensors import describe_weights, stored_tensors
from tfpipe.models.rounding import on_grid
from tfpipe.train.corpus import EncodedSplit

NUM_TEXTS = 30


@pytest.fixture
def source(tmp_path: Path) -> Any:
    """Random texts of the full length, of three classes."""
    rng = np.random.default_rng(5)
    rng.integers(1, VOCABULARY_SIZE, NUM_TEXTS * LENGTH).astype(np.uint16).tofile(tmp_path / "ids")
    offsets = np.arange(NUM_TEXTS + 1) * LENGTH
    targets = rng.integers(0, 3, NUM_TEXTS)
    split = EncodedSplit(tmp_path / "ids", offsets, targets, dtype=np.uint16)
    return SimpleNamespace(splits={"validation": split}, content={"seed": 1})


def figures(exact: np.ndarray, rounded: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    noise = float(((exact.astype(np.float64) - rounded) ** 2).sum())
    right, before = (float((x.argmax(1) == targets).mean()) for x in (rounded, exact))
    return {
        "score": right,
        "drop": pytest.approx(before - right, abs=1e-6),
        "agreement": float((exact.argmax(1) == rounded.argmax(1)).mean()),
        "signal_to_noise_db": pytest.approx(
            10 * math.log10(float((exact.astype(np.float64) ** 2).sum()) / noise), abs=0.02
        ),
    }


@pytest.mark.parametrize("per_tensor", [False, True])
def test_one_layer_is_rounded_and_no_other(source: Any, per_tensor: bool) -> None:
    model = random_quantized("average")
    model.per_tensor = per_tensor
    split = source.splits["validation"]
    token_ids = split.batch(np.arange(NUM_TEXTS))
    head = model.float_model.get_layer("logits")
    until = keras.Model(model.float_model.input, head.input)(token_ids).numpy()
    kernel, bias = head.get_weights()
    exact = until @ kernel + bias
    # The mean over a text is float32, so the layer rounds what it reads, too.
    ranges = model.range_of()
    fake_quant = tf.quantization.fake_quant_with_min_max_args
    read = fake_quant(until, *ranges["logits/input"]).numpy()
    product = read @ on_grid(kernel, None if per_tensor else 0) + bias
    rounded = fake_quant(product, *ranges["logits/output"]).numpy()
    found = describe_rounding(model, source)
    assert found is not None and (found["metric"], found["num_examples"]) == ("accuracy", NUM_TEXTS)
    layers = {layer.pop("name"): layer for layer in found["layers"]}
    assert list(layers) == rounded_layer_names(model)
    assert layers["logits"] == figures(exact, rounded, split.targets)
    whole = model(token_ids, training=False).numpy()
    assert found["all"] == figures(exact, whole, split.targets)
    assert found["score"] == float((exact.argmax(1) == split.targets).mean())


@pytest.mark.parametrize("name", WITH_A_FORM)
def test_every_layer_that_rounds_is_looked_at(name: str) -> None:
    model = random_quantized(name)
    names = rounded_layer_names(model)
    assert {value.partition("/")[0] for value in model.names} <= set(names)
    token_ids = tf.constant(np.arange(1, LENGTH + 1)[None], tf.int32)
    exact = model.float_model(token_ids).numpy()
    for layer in names:
        assert np.abs(model.logits_of_one_layer(token_ids, layer) - exact).max() > 1e-5, layer
    nothing = model.logits_of_one_layer(token_ids, "no such layer")
    np.testing.assert_allclose(nothing, exact, rtol=0, atol=1e-5)


def test_float_model_has_nothing_to_say(source: Any) -> None:
    assert describe_rounding(random_quantized("average").float_model, source) is None


def test_weights_have_the_scales_of_the_file() -> None:
    model = random_quantized("transformer")
    entries = {entry["name"]: entry for entry in describe_weights(model)}
    for tensor in stored_tensors(model):
        entry = entries[tensor.name]
        if tensor.value.ndim < 2:
            assert "scale" not in entry and tensor.steps is None
            continue
        table = "embeddings" in tensor.name or "positions" in tensor.name
        largest = np.abs(tensor.value).max(None if table else 0)
        assert entry["num_scales"] == np.size(largest)
        assert entry["scale"] == pytest.approx([largest.min() / 127, largest.max() / 127])
        assert entry["max_error"] <= entry["scale"][1] / 2 * 1.001
        assert entry["range"] == [float(tensor.value.min()), float(tensor.value.max())]
        np.testing.assert_allclose(
            tensor.stored * tensor.steps, on_grid(tensor.value, None if table else 0), rtol=1e-6
        )
