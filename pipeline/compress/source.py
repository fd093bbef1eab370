"""A finished run → its table again, in the splits that it was trained on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfpipe.compress.options import CompressOptions
from tfpipe.corpus import EncodedSplit
from tfpipe.data import PACKAGED, Dataset, open_dataset
from tfpipe.run_folder import RunFolder
from tfpipe.train import encode_splits
from tfpipe.variant import IMPORTED_MODELS, load_tokenizer


@dataclass(frozen=True)
class Source:
    """What a fine-tuning needs of a run beside its weights.

    Attributes:
        folder: The run.
        content: Its run.json.
        dataset: The table it was trained on.
        splits: "train", "validation" and "test", encoded; the last is read at the end alone.
    """

    folder: RunFolder
    content: dict[str, Any]
    dataset: Dataset
    splits: dict[str, EncodedSplit]


def open_source(folder: RunFolder, options: CompressOptions, work: Path) -> Source:
    """Reads the run's table again and encodes it into `work`.

    Raises:
        ValueError: The table cannot be found, or is not the one the run was trained on; or the
            model was imported.
    """
    content = folder.read()
    if content["model"] in IMPORTED_MODELS:
        raise ValueError(
            f"run={str(folder.path)!r} holds an imported model, which is not trained on here. "
            "Compress it where it was trained, or export it with --scheme int8."
        )
    dataset = open_table_again(folder, content, options)
    splits = encode_splits(
        dataset,
        load_tokenizer(folder),
        content["recipe"],
        work,
        names=("train", "validation", "test"),
    )
    return Source(folder, content, dataset, splits)


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
    if said["source"] in PACKAGED:
        return said["source"], None
    try:
        kept = json.loads(folder.plan_json.read_text("utf-8"))["source"]
    except (OSError, ValueError, KeyError):
        kept = {"data": None, "test": None}
    if kept["data"] is None or not Path(kept["data"]).is_file():
        raise ValueError(
            f"data={kept['data'] or said['source']!r}, the table of the run, is not there any "
            "more. Give it with --data FILE (and --test FILE if the run had one)."
        )
    return kept["data"], options.test or (Path(kept["test"]) if kept["test"] else None)
