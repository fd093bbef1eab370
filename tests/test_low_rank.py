"""The low-rank embedding: what stays the same, what goes first, and that it ships."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfpipe.compress import low_rank, rank
from tfpipe.compress.fine_tune import FineTuner
from tfpipe.compress.low_rank import reduce_rank, with_low_rank
from tfpipe.compress.options import CompressOptions
from tfpipe.compress.source import Source
from tfpipe.compress.variant import compress
from tfpipe.config import load_recipe
from tfpipe.export.artifact import ExportOptions, export_artifact
from tfpipe.models import MODELS
from tfpipe.train import train
from tfpipe.verify import verify

AUTOMATIC = CompressOptions(low_rank="auto", epochs=1)
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
    "bilstm": {"units": 8},
    "textcnn": {"filters": 8},
    "transformer": {"num_heads": 2, "feed_forward_dim": 8},
}


def build(name: str, settings: dict[str, Any]) -> keras.Model:
    model = MODELS[name](
        vocabulary_size=WORDS,
        sequence_length=LENGTH,
        num_classes=CLASSES,
        **{"embedding_dim": WIDTH, **settings},
    )
    random = np.random.default_rng(1)
    model.set_weights([random.normal(size=w.shape).astype(np.float32) for w in model.get_weights()])
    return model


@pytest.fixture
def source() -> Any:
    counts = np.random.default_rng(2).integers(1, 50, WORDS)
    split = SimpleNamespace(count_tokens=lambda size: counts[:size])
    recipe: dict[str, Any] = {"model": {"embedding_dim": WIDTH}}
    nothing: Any = None
    return Source(nothing, {"seed": 1}, nothing, {"train": split}, recipe, nothing, nothing)  # type: ignore[dict-item]


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


@pytest.fixture
def building(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The name and the settings of the model that `reduce_rank` builds."""
    chosen: dict[str, Any] = {}

    def rebuild(_: Any, recipe: dict[str, Any], vocabulary_size: int) -> keras.Model:
        assert vocabulary_size == WORDS
        sizes = {**recipe["model"], **chosen["settings"]}
        return MODELS[chosen["name"]](WORDS, LENGTH, CLASSES, **sizes)

    monkeypatch.setattr(low_rank, "build_model", rebuild)
    return chosen


@pytest.mark.parametrize("name", OTHERS)
def test_table_of_few_dimensions_becomes_one_of_few_columns(
    name: str, source: Any, building: dict[str, Any]
) -> None:
    model, columns = build(name, OTHERS[name]), 5
    embedding = model.get_layer("embedding")
    (table,) = embedding.get_weights()
    embedding.set_weights([table[:, :columns] @ table[:columns]])
    building |= {"name": name, "settings": OTHERS[name]}
    smaller, reads = reduce_rank(model, source, columns)
    assert reads.recipe["model"] == {"embedding_dim": WIDTH, "embedding_rank": columns}
    assert smaller.get_layer("embedding").get_weights()[0].shape == (WORDS, columns)
    assert smaller.get_layer("projection").get_weights()[0].shape == (columns, WIDTH)
    wanted = model(token_ids()).numpy()
    np.testing.assert_allclose(smaller(token_ids()), wanted, rtol=1e-3, atol=1e-3)
    # Once more: now that nothing but products reads the table, they decide.
    expected = with_low_rank(smaller, reads, columns - 1)(token_ids()).numpy()
    again, reads = reduce_rank(smaller, reads, columns - 1)
    assert reads.recipe["model"] == {"embedding_dim": WIDTH, "embedding_rank": columns - 1}
    assert again.get_layer("projection").get_weights()[0].shape == (columns - 1, WIDTH)
    np.testing.assert_allclose(again(token_ids()), expected, rtol=1e-3, atol=1e-3)
    assert 1e-2 < np.abs(expected - wanted).max()


@pytest.mark.parametrize("name", LINEAR)
def test_table_that_only_products_read_needs_no_projection(
    name: str, source: Any, building: dict[str, Any]
) -> None:
    building |= {"name": name, "settings": LINEAR[name]}
    model = build(name, LINEAR[name])
    smaller, reads = reduce_rank(model, source, WIDTH // 2)
    width = smaller.get_layer("embedding").output_dim
    assert reads.recipe["model"] == {"embedding_dim": width}
    assert width == (CLASSES if name == "average" else WIDTH // 2)
    assert not [layer for layer in smaller.layers if layer.name == "projection"]
    wanted = with_low_rank(model, source, WIDTH // 2)(token_ids())
    np.testing.assert_allclose(smaller(token_ids()), wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("width", "wanted", "message"),
    [
        (16, 16, "low_rank=16 is not below the 16 columns"),
        (16, 17, "low_rank=17 is not below the 16 columns"),
        (8, "auto", "low_rank='auto' tries 8 columns and more, .* has 8. Give a smaller number"),
    ],
)
def test_table_that_would_not_get_narrower_is_refused(
    width: int, wanted: int | str, message: str
) -> None:
    with pytest.raises(rank.TableStays, match=message):
        rank.check_rank(build("lstm", {"units": 8, "embedding_dim": width}), wanted)


@pytest.fixture(scope="module")
def narrow(
    make_colours: Any, small_recipe: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any], list[Any]]:
    """A run of an LSTM with a variant "narrow", its record, and what was said."""
    folder = tmp_path_factory.mktemp("narrow")
    recipe = small_recipe("lstm", "model.embedding_dim=16")
    train(make_colours(folder / "colours.csv"), folder / "run", recipe=recipe)
    said: list[Any] = []
    record = compress(folder / "run", "narrow", AUTOMATIC, progress=said.append)
    return folder / "run", record, said


def test_fewest_columns_that_the_validation_split_bears_are_chosen(
    narrow: tuple[Path, dict[str, Any], list[Any]],
) -> None:
    _, record, said = narrow
    (stage,) = record["training"]
    assert (record["methods"], record["options"]["low_rank"]) == (["low_rank"], "auto")
    assert stage["columns"] == {"before": 16, "after": 8}
    (tried,) = stage["tried"]
    assert tried["columns"] == 8 and tried["drop"] <= stage["limit"]
    assert record["recipe"]["model"]["embedding_rank"] == 8
    expected = f"low_rank: 8 of 16 columns; validation score {tried['score']:.4f} untrained"
    assert [line for line in said if isinstance(line, str) and line.startswith(expected)]


def test_no_rank_that_is_borne_is_refused(
    narrow: tuple[Path, dict[str, Any], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rank, "standard_error", lambda *_: -1.0)
    with pytest.raises(ValueError, match="low_rank='auto': of the 16 columns .* none can go"):
        compress(narrow[0], "none", AUTOMATIC)
    assert not (narrow[0] / "variants" / "none").exists()
    assert not (narrow[0] / "train" / "compress").exists()
    # Other methods in the same call are not lost by it.
    said: list[Any] = []
    options = CompressOptions(low_rank="auto", prune=0.5, scan=False, epochs=1)
    record = compress(narrow[0], "pruned", options, progress=said.append)
    assert record["methods"] == ["prune"] and not record["recipe"]["model"]["embedding_rank"]
    assert [line for line in said if "none can go" in str(line) and "stays as it is" in line]


def test_number_that_a_shrunken_table_is_below_already_is_said(
    narrow: tuple[Path, dict[str, Any], list[Any]],
) -> None:
    record = compress(narrow[0], "enough", CompressOptions(shrink=0.5, low_rank=8, epochs=1))
    assert record["methods"] == ["shrink"] and record["recipe"]["model"]["embedding_dim"] == 8
    with pytest.raises(ValueError, match="low_rank=16 is not below"):
        compress(narrow[0], "never", CompressOptions(shrink=0.5, low_rank=16, epochs=1))


def test_killed_call_goes_on_with_the_columns_it_chose(
    narrow: tuple[Path, dict[str, Any], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    options = CompressOptions(low_rank=5, epochs=1)
    monkeypatch.setattr(FineTuner, "fit", die)
    with pytest.raises(KeyboardInterrupt):
        compress(narrow[0], "five", options)
    monkeypatch.undo()
    monkeypatch.delattr(rank, "make_scorer")
    record = compress(narrow[0], "five", options)
    (stage,) = record["training"]
    assert stage["columns"] == {"before": 16, "after": 5} and len(stage["tried"]) == 1
    assert record["recipe"]["model"]["embedding_rank"] == 5


def test_all_methods_in_one_call(narrow: tuple[Path, dict[str, Any], list[Any]]) -> None:
    options = CompressOptions(low_rank=8, prune=0.5, scan=False, cluster=8, qat=True, epochs=1)
    record = compress(narrow[0], "all", options)
    assert record["methods"] == ["low_rank", "prune", "cluster", "qat"]
    table = next(each for each in record["tensors"] if each["name"].startswith("embedding"))
    kernel = next(each for each in record["tensors"] if each["name"].startswith("projection"))
    assert (table["shape"][1], kernel["shape"]) == (8, [8, 16])
    assert table["zeros"] >= 0.4 and kernel["zeros"] >= 0.4
    artifact = export_artifact(narrow[0], ExportOptions(variant="all", scheme="int8"))["artifact"]
    assert verify(artifact)["passed"]


def test_narrow_table_ships_rounded_and_shrinks_further(
    narrow: tuple[Path, dict[str, Any], list[Any]],
) -> None:
    run = narrow[0]
    options = CompressOptions(source="narrow", shrink=0.5, qat=True, epochs=1)
    half = compress(run, "half", options)["recipe"]["model"]
    assert (half["embedding_rank"], half["embedding_dim"], half["units"]) == (4, 8, 4)
    for name, scheme in (("narrow", "dynamic_int8"), ("half", "int8")):
        artifact = export_artifact(run, ExportOptions(variant=name, scheme=scheme))["artifact"]
        assert verify(artifact)["passed"]


@pytest.mark.parametrize("value", ["few", -1, 2.5])
def test_what_is_no_number_of_columns_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=f"low_rank={value!r} is neither .* nor 'auto'"):
        CompressOptions(low_rank=value).check()


def test_zeros_and_clusters_are_not_mixed_up(
    narrow: tuple[Path, dict[str, Any], list[Any]],
) -> None:
    compress(narrow[0], "sparse", CompressOptions(prune=0.5, scan=False, epochs=1))
    with pytest.raises(ValueError, match="methods=.'prune'., and low_rank=4 would mix its zeros"):
        compress(narrow[0], "mixed", CompressOptions(source="sparse", low_rank=4))


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
