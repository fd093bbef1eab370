"""Vocabulary, labels and data of an imported model → checked, in the forms that a run keeps."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_runner.encode import SPECIAL_TOKENS, Tokenizer, read_vocabulary
from tfpipe.data import read_labelled, sample_indices
from tfpipe.data.table import open_table
from tfpipe.run_folder import MAX_CALIBRATION_EXAMPLES, MAX_TEST_EXAMPLES
from tfpipe.tokenizer.rules import spec_of
from tfpipe.verify.comparison import encode_labels

MIN_TEXTS = 40  # half of them for verification, which asks for 20
SEED = 1  # decides which texts are for calibration


@dataclass(frozen=True)
class ImportOptions:
    """What belongs to a model file.

    Attributes:
        vocabulary: One token a line, in the order of the ids.
        labels: One label a line, in the order of the outputs.
        data: Labelled texts: some for calibration, the others for verification.
        tokenizer: Kind; None goes by the first tokens of the vocabulary.
        lowercase: Whether texts are lower-cased; None goes by the vocabulary.
        sequence_length: Tokens of one input, where the model takes any number.
        multi_label: Whether a text may have several labels.
        text_column: Column with the texts; None finds it by its name.
        label_column: Column with the labels; None finds it by its name.
    """

    vocabulary: Path
    labels: Path
    data: Path
    tokenizer: str | None = None
    lowercase: bool | None = None
    sequence_length: int | None = None
    multi_label: bool = False
    text_column: str | None = None
    label_column: str | None = None


@dataclass(frozen=True)
class Examples:
    """Labelled texts of one split.

    Attributes:
        texts: The texts.
        labels: The labels of each.
        targets: As in `tfpipe.data.Split`.
    """

    texts: list[str]
    labels: list[list[str]]
    targets: NDArray[Any]

    def lines(self) -> str:
        """Returns JSON lines {"text", "labels"}, as a run keeps them."""
        return "".join(
            json.dumps({"text": text, "labels": labels}, ensure_ascii=False) + "\n"
            for text, labels in zip(self.texts, self.labels, strict=True)
        )


@dataclass(frozen=True)
class Belongings:
    """What belongs to a model, read and checked.

    Attributes:
        labels: In the order of the model's outputs.
        tokenizer: With the model's vocabulary.
        choices: {"key", "value", "reason"} of what the vocabulary decided.
        calibration: Texts that integer ranges are measured on.
        test: Texts that files are verified on.
    """

    labels: list[str]
    tokenizer: Tokenizer
    choices: list[dict[str, Any]]
    calibration: Examples
    test: Examples


def read_belongings(options: ImportOptions) -> Belongings:
    """Reads and checks everything but the model.

    Raises:
        ValueError: Vocabulary, labels or data are not what they should be.
    """
    labels = read_label_file(options.labels)
    return Belongings(labels, *open_tokenizer(options), *read_examples(options, labels))


def open_tokenizer(options: ImportOptions) -> tuple[Tokenizer, list[dict[str, Any]]]:
    """Returns the tokenizer, and {"key", "value", "reason"} of what the vocabulary decided.

    Raises:
        ValueError: The vocabulary is not one of the kind, or of no kind.
    """
    vocabulary = read_vocabulary(options.vocabulary)
    choices = []
    kind, lowercase = options.tokenizer, options.lowercase
    if kind is None:
        kind = find_kind(options.vocabulary, vocabulary)
        reason = f"the vocabulary begins with {list(SPECIAL_TOKENS[kind])}"
        choices.append({"key": "tokenizer.kind", "value": kind, "reason": reason})
    if lowercase is None:
        ordinary = vocabulary[len(SPECIAL_TOKENS.get(kind, ())) :]
        upper = next((token for token in ordinary if re.search("[A-Z]", token)), None)
        lowercase = upper is None
        reason = "the vocabulary has no capital letter" if lowercase else f"it holds {upper!r}"
        choices.append(
            {"key": "tokenizer.lowercase", "value": str(lowercase).lower(), "reason": reason}
        )
    try:
        spec = spec_of({"kind": kind, "lowercase": str(lowercase).lower()})
        return Tokenizer(spec, vocabulary), choices
    except ValueError as error:
        raise ValueError(f"{options.vocabulary}: {error}") from error


def find_kind(path: Path, vocabulary: list[str]) -> str:
    """Returns the kind of tokenizer whose special tokens a vocabulary begins with.

    Raises:
        ValueError: None has these.
    """
    for kind, special in SPECIAL_TOKENS.items():
        if tuple(vocabulary[: len(special)]) == special:
            return kind
    known = "; ".join(f"{kind}: {list(tokens)}" for kind, tokens in SPECIAL_TOKENS.items())
    raise ValueError(
        f"{path} begins with {vocabulary[:3]}, as no kind of tokenizer does ({known}). Write one "
        "token a line in the order of the ids, these first, and train with them if need be."
    )


def read_label_file(path: Path) -> list[str]:
    """Returns the labels in the order of the model's outputs.

    Raises:
        ValueError: Not UTF-8, fewer than one, an empty one, or one twice.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error}). Save it as UTF-8.") from error
    labels = [line.strip() for line in lines]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if not labels or "" in labels or twice:
        fault = f"has {twice[:3]} twice" if twice else "has an empty line, or none at all"
        raise ValueError(
            f"{path} {fault}. Write one label a line, in the order of the model's outputs."
        )
    return labels


def read_examples(options: ImportOptions, labels: list[str]) -> tuple[Examples, Examples]:
    """Returns the texts for calibration and those for verification, apart from each other.

    Raises:
        ValueError: A row is malformed, has a label that the model lacks, or there are too few.
    """
    columns = {"text_column": options.text_column, "label_column": options.label_column}
    multi_label = options.multi_label
    rows = list(read_labelled(options.data, **columns, multi_label=multi_label))
    if len(rows) < MIN_TEXTS:
        raise ValueError(
            f"{options.data} holds {len(rows)} labelled texts, fewer than {MIN_TEXTS}: some are "
            "for calibration, the others for verification. Give more with --data."
        )
    targets = encode_labels([names for _, names in rows], labels, multi_label=multi_label)
    chosen = np.zeros(len(rows), bool)
    chosen[sample_indices(len(rows), min(MAX_CALIBRATION_EXAMPLES, len(rows) // 2), SEED)] = True

    def pick(which: NDArray[np.bool_], limit: int) -> Examples:
        indices = np.flatnonzero(which)
        indices = indices[sample_indices(len(indices), limit, SEED)]
        picked = [rows[index] for index in indices]
        return Examples(
            [text for text, _ in picked], [each for _, each in picked], targets[indices]
        )

    return pick(chosen, MAX_CALIBRATION_EXAMPLES), pick(~chosen, MAX_TEST_EXAMPLES)


def columns_of(options: ImportOptions) -> dict[str, str]:
    """Returns the columns of the data as they were found."""
    table = open_table(
        options.data, text_column=options.text_column, label_column=options.label_column
    )
    return {"text_column": table.text_column, "label_column": table.label_column}
