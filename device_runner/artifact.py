"""Artifact folder → manifest, labels, tokenizer and goldens, after every file has been checked."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import Any, Dict, List

from device_runner import schema
from device_runner.encode import Tokenizer, TokenizerSpec
from device_runner.files import sha256_of_file
from device_runner.manifest import (
    GOLDEN_FILE,
    LABELS_FILE,
    MANIFEST_FILE,
    VOCABULARY_FILE,
    Manifest,
    parse_manifest,
)
from device_runner.schema import check_fields, parse_json, parse_lines, shorten

# A manifest is a few kB; a file of gigabytes must not fill a board's memory.
_MAX_MANIFEST_BYTES = 4 << 20

_GOLDEN: Dict[str, schema.Kind] = {"atol": schema.TOLERANCE, "examples": schema.LIST}
_EXAMPLE: Dict[str, schema.Kind] = {
    "text": schema.TEXT,
    "token_ids": schema.INTEGERS,
    "outputs": schema.NUMBERS,
}

# What lies in the folder of a run, finished or not, and in no artifact.
_OF_A_RUN = ("run.json", "train")


@dataclass(frozen=True)
class Artifact:
    """One artifact folder, read and checked.

    Attributes:
        path: The folder.
        manifest: Its manifest.
        labels: Name of each output, in output order.
        tokenizer: Turns texts into the token ids that the model was trained on.
        golden: `{"atol", "examples": [{"text", "token_ids", "outputs"}]}`, shapes checked.
        model_path: The model's file.
    """

    path: str
    manifest: Manifest
    labels: List[str]
    tokenizer: Tokenizer
    golden: Dict[str, Any]
    model_path: str


def read_artifact(path: str | os.PathLike[str], check_digests: bool = True) -> Artifact:
    """Reads an artifact folder and refuses one that is not whole.

    Nothing in the folder is executed or unpickled, and no file outside of it is read: the
    manifest's names must be plain, and a symbolic link must stay inside the folder.

    Args:
        path: The folder, as `tfpipe export` wrote it.
        check_digests: Whether the SHA-256 of every file is compared with the manifest's.

    Raises:
        ValueError: A file is missing, leads outside, has another digest, or does not fit the
            manifest; the message names it.
        OSError: A file cannot be read.
    """
    folder = os.fspath(path)
    if not os.path.isdir(folder):
        raise ValueError(
            f"{folder} is not a folder, expected an artifact folder with a {MANIFEST_FILE}. Make "
            "one with `tfpipe export`."
        )
    if any(os.path.exists(os.path.join(folder, name)) for name in _OF_A_RUN):
        raise ValueError(
            f"{folder} is a run, expected one of its artifacts, which lie in "
            f"{os.path.join(folder, 'exports')}. Make one with `tfpipe export`."
        )
    manifest = parse_manifest(_read_file(folder, MANIFEST_FILE, _MAX_MANIFEST_BYTES))
    for name, record in manifest.files.items():
        _check_file(folder, name, record, check_digests)
    labels = _read_labels(folder, manifest)
    tokenizer = _read_tokenizer(folder, manifest)
    return Artifact(
        path=folder,
        manifest=manifest,
        labels=labels,
        tokenizer=tokenizer,
        golden=_read_golden(folder, manifest, tokenizer.vocabulary_size),
        model_path=_inside(folder, manifest.model_file),
    )


def _inside(folder: str, name: str) -> str:
    """Returns the path of a regular file of the folder, whatever links lie on the way."""
    path = os.path.join(folder, name)
    root = os.path.realpath(folder)
    real = os.path.realpath(path)
    if not real.startswith(os.path.join(root, "")):
        raise ValueError(
            f"{path} is a link to {real}, outside of the artifact folder. Copy the file itself "
            "into the folder."
        )
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError as error:
        raise ValueError(
            f"{path} is missing; {MANIFEST_FILE} lists what an artifact needs. Copy the whole "
            "folder again, or export it again."
        ) from error
    if not stat.S_ISREG(mode):
        raise ValueError(
            f"{path} is not a regular file (mode {mode:o}). Export the artifact again."
        )
    return path


def _read_file(folder: str, name: str, max_bytes: int) -> bytes:
    path = _inside(folder, name)
    with open(path, "rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ValueError(
            f"{path} has more than {max_bytes} bytes, the limit of this file. Export the artifact "
            "again."
        )
    return data


def _check_file(folder: str, name: str, record: Dict[str, Any], check_digests: bool) -> None:
    path = _inside(folder, name)
    size = os.path.getsize(path)
    if size != record["bytes"]:
        raise ValueError(
            f"{path} has {size} bytes, {MANIFEST_FILE} says {record['bytes']}. It was cut off or "
            "changed: copy the artifact again, or export it again."
        )
    if not check_digests:
        return
    found = sha256_of_file(path)
    if found != record["sha256"]:
        raise ValueError(
            f"{path} has the SHA-256 {found}, {MANIFEST_FILE} says {record['sha256']}. It was "
            "changed: copy the artifact again, or export it again."
        )


def _read_listed(folder: str, manifest: Manifest, name: str) -> bytes:
    return _read_file(folder, name, int(manifest.files[name]["bytes"]))


def _read_labels(folder: str, manifest: Manifest) -> List[str]:
    where = os.path.join(folder, LABELS_FILE)
    labels = parse_lines(_read_listed(folder, manifest, LABELS_FILE), where)
    if len(labels) != manifest.num_classes:
        raise ValueError(
            f"{where} has {len(labels)} labels, {MANIFEST_FILE} says "
            f"num_classes={manifest.num_classes}. Export the artifact again."
        )
    if "" in labels or len(set(labels)) != len(labels):
        raise ValueError(
            f"{where} has an empty label or one that stands twice. Every line must be a label of "
            "its own: export the artifact again."
        )
    return labels


def _read_tokenizer(folder: str, manifest: Manifest) -> Tokenizer:
    where = os.path.join(folder, VOCABULARY_FILE)
    vocabulary = parse_lines(_read_listed(folder, manifest, VOCABULARY_FILE), where)
    try:
        return Tokenizer(TokenizerSpec.from_json(manifest.tokenizer), vocabulary)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _read_golden(folder: str, manifest: Manifest, vocabulary_size: int) -> Dict[str, Any]:
    where = os.path.join(folder, GOLDEN_FILE)
    golden = parse_json(_read_listed(folder, manifest, GOLDEN_FILE), where)
    check_fields(golden, _GOLDEN, where)
    for position, example in enumerate(golden["examples"]):
        place = f"{where} examples[{position}]"
        check_fields(example, _EXAMPLE, place)
        for key, expected in (
            ("token_ids", manifest.sequence_length),
            ("outputs", manifest.num_classes),
        ):
            if len(example[key]) != expected:
                raise ValueError(
                    f"{place}: {key} has {len(example[key])} entries, the manifest says "
                    f"{expected}. Export the artifact again."
                )
        outside = [item for item in example["token_ids"] if not 0 <= item < vocabulary_size]
        if outside:
            raise ValueError(
                f"{place}: token_ids has {shorten(outside[0])}, the vocabulary has ids from 0 to "
                f"{vocabulary_size - 1}. Export the artifact again."
            )
    return dict(golden)
