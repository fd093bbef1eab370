"""Recipes: every packaged one loads, and every wrong value has a message that helps."""

import re
import tomllib
from dataclasses import asdict

import pytest

from tfpipe.compress.options import CompressOptions
from tfpipe.config import (
    COMPRESS,
    LIMITS,
    MODEL_NAMES,
    load_compress_recipe,
    load_recipe,
    packaged_recipe_text,
    read_packaged,
)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_packaged_recipe_survives_its_own_toml(name):
    recipe = load_recipe(name, overrides=["train.epochs=7", "model.pooling=last"])
    assert tomllib.loads(recipe.to_toml()) == recipe.sections()
    assert recipe.train["epochs"] == 7
    assert recipe.to_toml().count("#") == packaged_recipe_text(name).count("#")


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_every_recipe_key_has_a_comment_and_numbers_have_limits(name):
    text = packaged_recipe_text(name)
    for section, values in load_recipe(name).sections().items():
        for key, value in values.items():
            line = next(line for line in text.splitlines() if line.startswith(f"{key} ="))
            assert "# " in line, line
            assert isinstance(value, bool) or f"{section}.{key}" in LIMITS


def test_recipes_train_alike_but_for_the_learning_rate():
    sections = [packaged_recipe_text(name).partition("[train]")[2] for name in MODEL_NAMES]
    alike = {
        tuple(line for line in section.splitlines() if not line.startswith("learning_rate"))
        for section in sections
    }
    assert len(alike) == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epoch=3", "recipe key 'train.epoch' is unknown .* Did you mean 'train.epochs'"),
        ("pooling=max", "Did you mean 'model.pooling'"),
        ("zzz=1", "Known keys: data.sequence_length"),
        ("train.epochs", "is not KEY=VALUE"),
        ("train.epochs=x", "train.epochs='x' must be a whole number, like 0"),
        ("model.dropout=x", "model.dropout='x' must be a number, like 0.5, or auto"),
        ("train.tensorboard=1", "must be true or false"),
        ("tokenizer.lowercase=1", "must be one of auto, false, true"),
        ("model.dropout=2", "model.dropout=2.0 lies outside 0 to 0.95"),
        ("model.dropout=nan", "model.dropout=nan lies outside"),
        ("model.pooling=meen", "model.pooling='meen' must be one of .* Did you mean 'mean'"),
    ],
)
def test_override_is_refused(override, message):
    with pytest.raises(ValueError, match=message):
        load_recipe("lstm", overrides=[override])


def test_number_may_be_auto_where_zero_means_none(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text("[model]\ndropout = 0\n")
    recipe = load_recipe("lstm", path=path, overrides=["train.subword_dropout=auto"])
    assert recipe.model["dropout"] == 0.0
    assert recipe.model["embedding_dropout"] == recipe.train["subword_dropout"] == "auto"
    assert tomllib.loads(recipe.to_toml()) == recipe.sections()
    path.write_text('[model]\ntoken_dropout = "auto"\n')
    with pytest.raises(ValueError, match="token_dropout='auto' must be of type float"):
        load_recipe("lstm", path=path)


def test_unknown_model_is_refused():
    with pytest.raises(ValueError, match="model 'lstn' is unknown. Use one of average"):
        load_recipe("lstn")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train]\nepochs = true", "train.epochs=True must be of type int"),
        ("epochs = 3", "key 'epochs' stands outside a section"),
        ("epochs ===", "is not a TOML recipe"),
        ("[train]\nepoch = 3", "Did you mean 'train.epochs'"),
    ],
)
def test_recipe_file_is_refused(tmp_path, text, message):
    path = tmp_path / "my.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_recipe("lstm", path=path)


def test_packaged_compress_recipe_has_the_defaults_of_every_option():
    written = tomllib.loads(read_packaged(COMPRESS))[COMPRESS]
    defaults = asdict(CompressOptions())
    elsewhere = {"source", "teaching", "data", "test"}  # what belongs to one run
    assert written == {key: defaults[key] for key in defaults if key not in elsewhere}
    for key in written:
        assert re.search(rf"^{key} = .+ # .+", read_packaged(COMPRESS), re.MULTILINE), key


def test_one_file_holds_a_training_and_a_compression(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text("[train]\nepochs = 3\n\n[compress]\nprune = 0.8\nqat = true\n")
    assert load_recipe("lstm", path=path).train["epochs"] == 3
    assert load_compress_recipe(path) == {"prune": 0.8, "qat": True}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[compress]\nprunes = 0.5",
            r"key 'prunes' of \[compress\] is unknown. Did you mean 'prune'",
        ),
        ("[compress]\nlow_rank = 'few'", "low_rank='few' must be of type int, like 0, or 'auto'"),
        ("[compress]\nteacher = 'x'", "key 'teacher' .* Known keys: shrink, low_rank, prune"),
        ("[compress]\nprune = 'much'", "compress.prune='much' must be of type float, like 0.0"),
        ("[train]\nepochs = 3", r"has no section \[compress\] with a value"),
        ("[compress]\n", r"has no section \[compress\] with a value"),
        ("prune = 0.5", r"outside a section. Put it under .* \[compress\]"),
    ],
)
def test_compress_recipe_is_refused(tmp_path, text, message):
    path = tmp_path / "my.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_compress_recipe(path)


def test_recipe_file_changes_only_its_keys(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text("[train]\nepochs = 3\nlearning_rate = 1\n")
    recipe = load_recipe("lstm", path=path, overrides=["train.epochs=4"])
    assert recipe.train["epochs"] == 4
    assert recipe.train["learning_rate"] == 1.0
    assert recipe.model == load_recipe("lstm").model
