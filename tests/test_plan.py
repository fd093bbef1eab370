"""tfpipe.train.plan: what a recipe leaves open is chosen from the data, and nothing else is."""

import pytest

from tfpipe.config import load_recipe
from tfpipe.data import open_dataset
from tfpipe.train.plan import choose_dropout, choose_epochs, make_plan, sample


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, make_colours):
    path = make_colours(tmp_path_factory.mktemp("plan") / "colours.csv", num_rows=700)
    return open_dataset(str(path))


def chosen(plan):
    return {choice["key"]: choice["value"] for choice in plan.choices}


def test_every_open_value_is_chosen_with_its_reason(dataset):
    plan = make_plan(dataset, load_recipe("average"))
    assert list(chosen(plan)) == [
        "tokenizer.kind",
        "tokenizer.lowercase",
        "tokenizer.vocabulary_size",
        "data.sequence_length",
        "train.epochs",
        "model.dropout",
        "model.embedding_dropout",
        "train.subword_dropout",
    ]
    for choice in plan.choices:
        assert plan.recipe.get(choice["key"]) == choice["value"]
        assert choice["reason"]
    reasons = {choice["key"]: choice["reason"] for choice in plan.choices}
    assert "on validation against word" in reasons["tokenizer.kind"]
    assert reasons["tokenizer.lowercase"].startswith("lower-cased 1.000, as written 1.000")
    assert "training texts whole" in reasons["data.sequence_length"]
    # 700 rows less 15 % for test and 10 % of the rest.
    assert dataset.splits["train"].num_examples == 535
    assert plan.tokenizer().vocabulary == plan.vocabulary
    assert len(plan.vocabulary) == plan.recipe.tokenizer["vocabulary_size"]


def test_nothing_is_chosen_where_the_recipe_says_it(dataset):
    asked = load_recipe(
        "average",
        overrides=[
            "tokenizer.kind=word",
            "tokenizer.lowercase=false",
            "tokenizer.vocabulary_size=10",
            "data.sequence_length=5",
            "train.epochs=2",
            "model.dropout=0",
            "model.embedding_dropout=0.1",
            "train.subword_dropout=0",
        ],
    )
    plan = make_plan(dataset, asked)
    assert plan.choices == []
    assert plan.recipe == asked
    assert len(plan.vocabulary) == 10


@pytest.mark.parametrize(
    ("override", "open_key", "said_key"),
    [
        ("tokenizer.kind=char", "tokenizer.lowercase", "tokenizer.kind"),
        ("tokenizer.lowercase=false", "tokenizer.kind", "tokenizer.lowercase"),
    ],
)
def test_kind_and_case_are_chosen_apart(dataset, override, open_key, said_key):
    plan = make_plan(dataset, load_recipe("average", overrides=[override]))
    assert open_key in chosen(plan) and said_key not in chosen(plan)
    assert plan.recipe.get(said_key) == override.partition("=")[2]


def test_vocabulary_that_the_texts_cannot_fill_is_said_once(dataset):
    plan = make_plan(
        dataset,
        load_recipe("average", overrides=["tokenizer.vocabulary_size=50000"]),
    )
    entries = [entry for entry in plan.choices if entry["key"] == "tokenizer.vocabulary_size"]
    assert [entry["value"] for entry in entries] == [len(plan.vocabulary)]
    assert entries[0]["reason"] == (
        f"the training texts give {len(plan.vocabulary):,} tokens, not 50,000"
    )
    plan = make_plan(dataset, load_recipe("average", overrides=["tokenizer.kind=wordpiece"]))
    entries = [entry for entry in plan.choices if entry["key"] == "tokenizer.vocabulary_size"]
    assert len(entries) == 1
    assert (
        "at least 2,000, so that words stay whole; the training texts give"
        in (entries[0]["reason"])
    )


def test_same_data_and_seed_give_the_same_plan(dataset):
    assert make_plan(dataset, load_recipe("lstm")) == make_plan(dataset, load_recipe("lstm"))


@pytest.mark.parametrize(
    ("num_examples", "batch_size", "epochs"),
    [
        (32_000, 32, 4),  # 1,000 updates an epoch
        (32_001, 32, 4),  # 1,001 updates
        (100, 32, 40),
        (10_000_000, 32, 1),
        (1, 1, 40),
    ],
)
def test_epochs_come_from_the_number_of_updates(num_examples, batch_size, epochs, monkeypatch):
    monkeypatch.setattr("tfpipe.train.plan.TARGET_UPDATES", 4000)
    monkeypatch.setattr("tfpipe.train.plan.MAX_EPOCHS", 40)
    value, reason = choose_epochs(num_examples, batch_size, sequence_length=8)
    assert value == epochs
    updates = -(-num_examples // batch_size) * epochs
    assert reason.startswith(f"{epochs} passes are {updates:,} updates of {batch_size} texts")


def test_few_rows_are_read_a_hundred_times():
    assert choose_epochs(347, 32, sequence_length=64)[0] == 100


def test_long_texts_get_fewer_epochs_but_one():
    # 10,000 texts of 400 tokens are 4 million positions a pass; 20 million is the limit.
    epochs, reason = choose_epochs(10_000, 32, sequence_length=400)
    assert epochs == 5
    assert "more would read over 20,000,000 tokens of 400 a text" in reason
    assert choose_epochs(10_000, 32, sequence_length=100)[0] == 8  # 2,500 updates of 313
    assert choose_epochs(100_000, 32, sequence_length=4096)[0] == 1


@pytest.mark.parametrize(
    ("num_examples", "rate"), [(1, 0.4), (5_000, 0.4), (10_000, 0.2), (2_000_000, 0.001)]
)
def test_dropout_falls_with_the_rows(num_examples, rate):
    value, reason = choose_dropout(0.4, num_examples)
    assert value == rate
    assert reason.endswith(f"here are {num_examples:,}")


def test_sample_is_seeded_and_in_row_order(dataset, monkeypatch):
    monkeypatch.setattr("tfpipe.train.plan.SAMPLE_TEXTS", 20)
    split = dataset.splits["train"]
    texts, targets = sample(split, 1)
    everything = list(split.texts())
    rows = [everything.index(text) for text in texts]
    assert len(rows) == 20 and rows == sorted(rows)
    assert split.targets[rows].tolist() == targets.tolist()
    assert sample(split, 1)[0] == texts != sample(split, 2)[0]
