"""Shrinking: what is removed, that nothing else changes, and that the smaller variant ships."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tf_keras as keras

from device_runner.encode import Tokenizer, read_vocabulary
from tfpipe.arrays import read_arrays
from tfpipe.compress.importance import measure_importance
from tfpipe.compress.options import CompressOptions
from tfpipe.compress.shrink import copy_weights, kept_count, used_tokens
from tfpipe.compress.variant import compress
from tfpipe.config import load_recipe
from tfpipe.export.artifact import ExportOptions, export_artifact
from tfpipe.models import MODELS
from tfpipe.models.widths import Widths
from tfpipe.run_folder import RunFolder
from tfpipe.tokenizer.rules import tokenizer_spec
from tfpipe.train import train
from tfpipe.train.corpus import encode_split
from tfpipe.variant import count_parameters, load_model, load_tokenizer, read_recipe
from tfpipe.verify import verify

LENGTH, NUM_CLASSES = 9, 3
# What half of a model of two layers is: the builder's arguments before and after.
SIZES: dict[str, tuple[dict[str, int], dict[str, int]]] = {
    "average": ({}, {}),
    "lstm": ({"units": 6}, {"units": 3}),
    "bilstm": ({"units": 6}, {"units": 3}),
    "textcnn": ({"filters": 4}, {"filters": 2}),
    "transformer": (
        {"num_heads": 4, "feed_forward_dim": 10},
        {"num_heads": 2, "head_dim": 2, "feed_forward_dim": 5},
    ),
}


def random_model(name: str, num_tokens: int = 20, **arguments: Any) -> keras.Model:
    rng = np.random.default_rng(3)
    layers = {} if name == "average" else {"num_layers": 2}
    model = MODELS[name](num_tokens, LENGTH, NUM_CLASSES, **layers, **arguments)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape, scale=0.5))
        if variable.constraint is not None:
            variable.assign(variable.constraint(variable))
    return model


def texts_of_every_length(num_tokens: int) -> np.ndarray:
    rng = np.random.default_rng(4)
    token_ids = np.zeros((LENGTH + 1, LENGTH), np.int32)
    for length in range(LENGTH + 1):
        token_ids[length, :length] = rng.integers(1, num_tokens, length)
    return token_ids


@pytest.mark.parametrize("name", sorted(MODELS))
def test_removing_what_does_nothing_changes_no_result(name: str) -> None:
    before, after = SIZES[name]
    # The layer norms of a transformer read all columns of the embedding: none of them is idle.
    columns = 8 if name == "transformer" else 4
    model = random_model(name, embedding_dim=8, **before)
    smaller = random_model(name, num_tokens=16, embedding_dim=columns, **after)
    widths = Widths(model)
    units = np.ones(widths.num_units + 1, bool)
    for width in widths.found:
        if (name, width.key) != ("transformer", "embedding_dim"):
            units[width.start : width.start + width.count : 2] = False
    for weights, axes in widths.axes:
        idle = np.zeros(weights.shape, bool)
        for axis, labels in enumerate(axes):
            idle |= np.expand_dims(~units[labels], [n for n in range(len(axes)) if n != axis])
        weights.assign(np.where(idle, 0, weights.numpy()))
    tokens = np.flatnonzero(np.arange(20) % 5 != 4)
    copy_weights(model, smaller, units, tokens)
    token_ids = texts_of_every_length(len(tokens))
    np.testing.assert_allclose(smaller(token_ids), model(tokens[token_ids]), rtol=1e-5, atol=1e-5)
    assert len(Widths(smaller).found) == len(widths.found)


def test_importance_is_the_slope_of_the_loss_along_the_units_weights(tmp_path: Path) -> None:
    model = random_model("lstm", embedding_dim=4, units=3)
    spec = tokenizer_spec("word", False)
    vocabulary = ["<PAD>", "<START>", "<UNKNOWN>", *(f"w{i}" for i in range(17))]
    targets = np.array([0, 1, 2, 1])
    texts = ["w1 w2 w3 w4", "w5 w6", "w7", "w8 w9 w2 w2"]
    split = encode_split(
        texts, targets, Tokenizer(spec, vocabulary), sequence_length=LENGTH, path=tmp_path / "ids"
    )
    source = SimpleNamespace(
        splits={"train": split},
        recipe={"train": {"label_smoothing": 0.0}},
        content={"seed": 1},
        dataset=SimpleNamespace(labels=["a", "b", "c"]),
    )
    widths = Widths(model)
    found = measure_importance(model, widths, source)  # type: ignore[arg-type]

    def loss() -> float:
        logits = model(split.batch(np.arange(4))).numpy().astype(np.float64)
        logits -= logits.max(1, keepdims=True)
        right = logits[np.arange(4), targets]
        return float(np.mean(np.log(np.exp(logits).sum(1)) - right))

    weights = [variable for variable, _ in widths.axes]
    trained, step = [variable.numpy() for variable in weights], 1e-2
    for unit in range(widths.num_units):
        losses = []
        for sign in (1, -1):
            for variable, value, (_, axes) in zip(weights, trained, widths.axes, strict=True):
                own = np.zeros(value.shape, bool)
                for axis, labels in enumerate(axes):
                    others = [n for n in range(value.ndim) if n != axis]
                    own |= np.expand_dims(labels == unit, others)
                variable.assign(np.where(own, value * (1 + sign * step), value))
            losses.append(loss())
        slope = (losses[0] - losses[1]) / (2 * step)
        # The middle difference is off by the third derivative and by float32.
        assert np.sqrt(found[unit]) == pytest.approx(abs(slope), abs=2e-3, rel=0.02)
    assert found.max() > 1e-3


def test_kept_are_tokens_of_training_texts_and_what_unknown_words_are_cut_into() -> None:
    vocabulary = ["[PAD]", "[UNK]", "a", "##a", "ab", "##ab", "##ba", "é"]
    tokenizer = Tokenizer(tokenizer_spec("wordpiece", True), vocabulary)
    counts = np.array([0, 0, 0, 3, 0, 1, 0, 0])
    split = SimpleNamespace(count_tokens=lambda size: counts[:size])
    source = SimpleNamespace(tokenizer=tokenizer, splits={"train": split})
    kept = used_tokens(source)  # type: ignore[arg-type]
    assert [vocabulary[index] for index in kept[2:]] == ["a", "##a", "##ab", "é"]
    assert kept[:2] == [0, 1]


def test_wide_layers_stay_multiples_of_four() -> None:
    assert [kept_count(64, share) for share in (0.1, 0.5, 0.7, 0.99)] == [56, 32, 20, 4]
    assert [kept_count(4, share) for share in (0.25, 0.5, 0.9)] == [3, 2, 1]


def test_layer_without_known_units_is_refused() -> None:
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Softmax(name="squash")(inputs))
    with pytest.raises(ValueError, match="layer 'squash' of type Softmax has no known units.* Lea"):
        Widths(model)


@pytest.fixture(scope="module")
def pieces(make_colours: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A transformer whose pieces do not all occur in the training texts, made half as wide."""
    folder = tmp_path_factory.mktemp("pieces")
    settings = [
        "train.epochs=2",
        "train.learning_rate=0.01",
        "model.embedding_dim=16",
        "model.feed_forward_dim=16",
        "data.sequence_length=16",
        "tokenizer.kind=wordpiece",
    ]
    recipe = load_recipe("transformer", overrides=settings)
    train(make_colours(folder / "colours.csv"), folder / "run", recipe=recipe)
    compress(folder / "run", "half", CompressOptions(shrink=0.5))
    return folder / "run"


def test_smaller_variant_ships_with_its_own_dimensions_and_tokens(pieces: Path) -> None:
    folder = RunFolder(pieces)
    record = json.loads((pieces / "variants" / "half" / "compress.json").read_text())
    # As many epochs as the run, whose recipe asks for two.
    assert (record["training"][0]["epochs"], record["options"]["epochs"]) == (2, 0)
    widths = record["training"][0]["widths"]
    assert widths["attention_0"] == {"key": "num_heads", "before": 4, "after": 2}
    assert widths["embedding"] == {"key": "embedding_dim", "before": 16, "after": 8}
    assert widths["feed_forward_0_hidden"]["after"] == 8
    assert read_recipe(folder, "half") == record["recipe"]
    assert record["recipe"]["model"]["head_dim"] == 4
    for layer in ("dropout", "embedding_dropout", "branch_dropout"):
        rates = [load_model(folder, each).get_layer(layer).rate for each in ("base", "half")]
        assert 0 < rates[0] and rates[1] == rates[0] / 2, layer
    before, after = (read_vocabulary(path) for path in (
        pieces / "vocabulary.txt", pieces / "variants" / "half" / "vocabulary.txt"
    ))  # fmt: skip
    assert 4 < len(after) < len(before)
    assert [token for token in before if token in set(after)] == after
    assert load_tokenizer(folder, "half").vocabulary == after
    assert load_tokenizer(folder, "base").vocabulary == before
    arrays = read_arrays(folder.weights("half"))
    assert arrays["arr_0"].shape == (len(after), 8)
    assert record["parameters"] == count_parameters(folder, "half")
    base, half = (export_artifact(pieces, ExportOptions(variant=v)) for v in ("base", "half"))
    assert half["model_size_bytes"] < 0.6 * base["model_size_bytes"]
    assert verify(half["artifact"])["passed"]
    manifest = json.loads((Path(half["artifact"]) / "manifest.json").read_text())
    assert manifest["recipe"] == record["recipe"]
    assert read_vocabulary(Path(half["artifact"]) / "vocabulary.txt") == after
    assert verify(base["artifact"])["passed"]


def test_smaller_variant_is_quantized_in_training(pieces: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(pieces, tmp_path / "run"))
    made = compress(run, "qat", CompressOptions(source="half", qat=True, epochs=1))
    assert made["methods"] == ["shrink", "qat"]
    assert (run / "variants" / "qat" / "vocabulary.txt").read_bytes() == (
        run / "variants" / "half" / "vocabulary.txt"
    ).read_bytes()
    assert load_model(RunFolder(run), "qat").float_model.count_params() == made["parameters"]
    result = export_artifact(run, ExportOptions(variant="qat", scheme="int8"))
    verified = verify(result["artifact"])
    assert verified["passed"] and verified["agreement"] >= 0.995
    with pytest.raises(ValueError, match="shrink is there already"):
        compress(run, "less", CompressOptions(source="half", shrink=0.5))


def test_share_that_removes_nothing_is_refused(
    trained_runs: dict[str, Path], tmp_path: Path
) -> None:
    run = Path(shutil.copytree(trained_runs["lstm"], tmp_path / "run"))
    with pytest.raises(ValueError, match=r"shrink=0.01 removes nothing of .'embedding_dim': 8"):
        compress(run, "less", CompressOptions(shrink=0.01))
    assert not (run / "variants" / "less").exists()
