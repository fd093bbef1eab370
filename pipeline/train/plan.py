"""A dataset and a recipe → the recipe with every open value chosen from the data, and why."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from device_runner.encode import Tokenizer
from tfpipe.config import AUTO, AUTO_NUMBERS, Recipe
from tfpipe.data import Dataset, Split, sample_indices
from tfpipe.tokenizer import choose_sequence_length, choose_tokenizer
from tfpipe.tokenizer.rules import spec_of
from tfpipe.tokenizer.vocabulary import choose_vocabulary_size, count_tokens, train_vocabulary

# Texts that a choice looks at: the choice no longer changes with more, the time does.
SAMPLE_TEXTS = 20_000
# Longest automatic sequence length: an unrolled recurrence beyond it is megabytes of graph.
MAX_AUTOMATIC_LENGTH = 256
# Updates to aim at, and passes at most: bounds on time, not optima. On small benchmark sets the
# best epoch is now and then the last one. Few rows need many passes: with the 347 rows of
# `languages` that `keeps_label` of benchmarks/students.py chooses, `tfpipe train` reaches 0.842 of
# the test split with `--set train.epochs=25` and 0.958 with 100 (LSTM), 0.859 and 0.958
# (Transformer; one seed).
TARGET_UPDATES = 2_500
MAX_EPOCHS = 100
# Token positions, padding included, that all passes together may read: a bound on time, too.
MAX_POSITIONS = 20_000_000
# Dropout of a training set of up to so many rows; beyond, the rate falls as 1 / rows: what keeps
# a small set from being learned by heart slows a larger one down.
FULL_DROPOUT_ROWS = 5_000
FULL_DROPOUT = dict(zip(AUTO_NUMBERS, (0.5, 0.5, 0.4), strict=True))


@dataclass(frozen=True)
class Plan:
    """What a training decided before its first update.

    Attributes:
        recipe: The recipe without open values.
        vocabulary: Every token, in id order.
        choices: {"key", "value", "reason"} of each value taken from the data.
    """

    recipe: Recipe
    vocabulary: list[str]
    choices: list[dict[str, Any]]

    def tokenizer(self) -> Tokenizer:
        """Returns the tokenizer of the recipe and the vocabulary."""
        return Tokenizer(spec_of(self.recipe.tokenizer), self.vocabulary)


class Choices:
    """A recipe while its open values are being chosen, and what was chosen so far."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.made: list[dict[str, Any]] = []

    def choose(self, key: str, value: Any, reason: str) -> None:
        """Gives the recipe a value; of a key chosen twice in a row both reasons are kept."""
        self.recipe = self.recipe.replace({key: value})
        if self.made and self.made[-1]["key"] == key:
            reason = f"{self.made.pop()['reason']}; {reason}"
        self.made.append({"key": key, "value": value, "reason": reason})


def make_plan(dataset: Dataset, recipe: Recipe, texts: Split | None = None) -> Plan:
    """Chooses what the recipe leaves open: tokenizer, vocabulary size, sequence length, epochs,
    dropout.

    Only training texts are read, and the validation split to compare tokenizers.

    Args:
        dataset: The labelled texts, by which tokenizers are compared.
        recipe: What is asked for.
        texts: What the model will read in training; by default the dataset's training split.
    """
    texts = dataset.splits["train"] if texts is None else texts
    choices = Choices(recipe)
    choose_rules(choices, dataset)
    vocabulary = choose_vocabulary(choices, texts)
    if not recipe.data["sequence_length"]:
        tokenizer = Tokenizer(spec_of(choices.recipe.tokenizer), vocabulary)
        lengths = np.array(
            [len(tokenizer.encode(text)) for text in sample(texts, recipe.train["seed"])[0]]
        )
        choices.choose(
            "data.sequence_length", *choose_sequence_length(lengths, MAX_AUTOMATIC_LENGTH)
        )
    if not recipe.train["epochs"]:
        epochs = choose_epochs(
            texts.num_examples,
            recipe.train["batch_size"],
            sequence_length=choices.recipe.data["sequence_length"],
        )
        choices.choose("train.epochs", *epochs)
    for key in AUTO_NUMBERS:
        if recipe.get(key) == AUTO:
            choices.choose(key, *choose_dropout(FULL_DROPOUT[key], texts.num_examples))
    return Plan(choices.recipe, vocabulary, choices.made)


def choose_rules(choices: Choices, dataset: Dataset) -> None:
    """Chooses the tokenizer's kind and case where they are "auto"."""
    asked, seed = choices.recipe.tokenizer, choices.recipe.train["seed"]
    if "auto" not in (asked["kind"], asked["lowercase"]):
        return
    choice = choose_tokenizer(
        sample(dataset.splits["train"], seed),
        sample(dataset.splits["validation"], seed),
        kind=asked["kind"],
        lowercase=asked["lowercase"],
        seed=seed,
    )
    if asked["kind"] == "auto":
        choices.choose("tokenizer.kind", choice.kind, choice.reason)
    if asked["lowercase"] == "auto":
        choices.choose("tokenizer.lowercase", str(choice.lowercase).lower(), choice.case_reason)


def choose_vocabulary(choices: Choices, train: Split) -> list[str]:
    """Returns the vocabulary of the training texts; chooses its size where that is 0 or too much
    for them."""
    key = "tokenizer.vocabulary_size"
    spec = spec_of(choices.recipe.tokenizer)
    counts = count_tokens(train.texts(), spec)
    if not choices.recipe.get(key):
        choices.choose(key, *choose_vocabulary_size(counts, spec))
    size = choices.recipe.get(key)
    vocabulary = train_vocabulary(counts, spec, size)
    if len(vocabulary) < size:
        reason = f"the training texts give {len(vocabulary):,} tokens, not {size:,}"
        choices.choose(key, len(vocabulary), reason)
    return vocabulary


def sample(split: Split, seed: int) -> tuple[list[str], Any]:
    """Returns at most `SAMPLE_TEXTS` texts of a split and their targets, seeded, in row order."""
    rows = sample_indices(split.num_examples, SAMPLE_TEXTS, seed)
    chosen = np.zeros(split.num_examples, np.uint8)
    chosen[rows] = 1
    return list(itertools.compress(split.texts(), chosen.tobytes())), split.targets[rows]


def choose_epochs(num_examples: int, batch_size: int, *, sequence_length: int) -> tuple[int, str]:
    """Returns the most epochs to train for, from 1 to `MAX_EPOCHS`, and the reason."""
    updates = -(-num_examples // batch_size)
    affordable = MAX_POSITIONS // (num_examples * sequence_length)
    wanted = min(MAX_EPOCHS, round(TARGET_UPDATES / updates))
    epochs = max(1, min(wanted, affordable))
    aim = f"the aim is {TARGET_UPDATES:,} in at most {MAX_EPOCHS} passes"
    if affordable < wanted:
        aim = f"more would read over {MAX_POSITIONS:,} tokens of {sequence_length} a text"
    return epochs, (
        f"{epochs} passes are {epochs * updates:,} updates of {batch_size} texts; {aim}, "
        "and early stopping may end sooner"
    )


def choose_dropout(full: float, num_examples: int) -> tuple[float, str]:
    """Returns a dropout rate in [0, full], and the reason."""
    rate = round(full * min(1.0, FULL_DROPOUT_ROWS / num_examples), 3)
    return rate, (
        f"{full:g} up to {FULL_DROPOUT_ROWS:,} training texts, then less; here are {num_examples:,}"
    )
