"""A finished run → its table again, in the splits that it was trained on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from device_runner.encode import Tokenizer
from tfpipe.compress.options import CompressOptions
from tfpipe.data import PACKAGED, Dataset, open_dataset
from tfpipe.run_folder import RunFolder
from tfpipe.train import encode_splits
from tfpipe.train.corpus import EncodedSplit
from tfpipe.train.distillation import Lessons
from tfpipe.train.teacher import open_lessons
from tfpipe.variant import IMPORTED_MODELS, load_tokenizer, read_recipe


@dataclass(frozen=True)
class Source:
    """What a fine-tuning needs of a run beside its weights.

    Attributes:
        folder: The run.
        content: Its run.json.
        dataset: The table it was trained on, with the unlabelled texts if there are any.
        splits: "train", "validation" and "test", encoded; the last is read at the end alone.
        recipe: The recipe's sections, with the dimensions of the variant.
        tokenizer: What the splits are encoded with.
        lessons: What teachers say about the training rows.
    """

    folder: RunFolder
    content: dict[str, Any]
    dataset: Dataset
    splits: dict[str, EncodedSplit]
    recipe: dict[str, Any]
    tokenizer: Tokenizer
    lessons: Lessons | None


def open_source(
    folder: RunFolder, options: CompressOptions, work: Path, progress: Callable[[str], None]
) -> Source:
    """Reads the run's table again, asks the teachers, and encodes the texts into `work`.

    Raises:
        ValueError: The table cannot be found, or is not the one the run was trained on; the model
            was imported; a teacher has other labels, or the unlabelled texts cannot be read.
    """
    content = folder.read()
    if content["model"] in IMPORTED_MODELS:
        raise ValueError(
            f"run={str(folder.path)!r} holds an imported model, which is not trained on here. "
            "Compress it where it was trained, or export it with --scheme int8."
        )
    dataset = open_table_again(folder, content, options)
    recipe = read_recipe(folder, options.source)
    dataset, lessons = open_lessons(
        options.teaching, dataset, recipe["train"], cache=work, progress=progress
    )
    source = Source(
        folder, content, dataset, {}, recipe, load_tokenizer(folder, options.source), lessons
    )
    return replace(source, splits=encode_source(source, work))


def encode_source(source: Source, work: Path) -> dict[str, EncodedSplit]:
    """Returns the splits, encoded into `work` with the tokenizer of the source."""
    names = ("train", "validation", "test")
    return encode_splits(source.dataset, source.tokenizer, source.recipe, work, names=names)


def open_table_again(
    folder: RunFolder, content: dict[str, Any], options: CompressOptions
) -> Dataset:
    """Returns the dataset of the run, its splits as they were."""
    said = content["data"]
    data, test = find_table(folder, said, options)
    dataset = open_dataset(
        data,
        test=test,
        text_column=None if data in PACKAGED else said["text_column"],
        label_column=None if data in PACKAGED else said["label_column"],
        multi_label=content["multi_label"],
        seed=content["seed"],
    )
    if dataset.fingerprint_sha256 != said["fingerprint_sha256"]:
        raise ValueError(
            f"data={data!r} is not what the run was trained on: its digest is "
            f"{dataset.fingerprint_sha256[:12]}…, the run has {said['fingerprint_sha256'][:12]}…. "
            "Give the same file (and the same --test) with --data."
        )
    return dataset


def find_table(
    folder: RunFolder, said: dict[str, Any], options: CompressOptions
) -> tuple[str, Path | None]:
    """Returns the table and the test file: those named, else where the training found them."""
    if options.data is not None:
        return str(options.data), options.test
    try:
        kept = json.loads(folder.plan_json.read_text("utf-8"))["source"]
    except (OSError, ValueError, KeyError):
        kept = {"data": None, "test": None}
    test = options.test or (Path(kept["test"]) if kept["test"] else None)
    if said["source"] in PACKAGED:
        return said["source"], test
    if kept["data"] is None or not Path(kept["data"]).is_file():
        raise ValueError(
            f"data={kept['data'] or said['source']!r}, the table of the run, is not there any "
            "more. Give it with --data FILE (and --test FILE if the run had one)."
        )
    return kept["data"], test
