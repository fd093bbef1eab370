"""Tests of the manifest and of reading an artifact folder: what is not whole is refused."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from device_runner.artifact import read_artifact
from device_runner.files import sha256_of_file
from device_runner.manifest import Manifest, parse_manifest, write_manifest

Change = Callable[[dict[str, Any]], object]


def edit(folder: Path, change: Change, name: str = "manifest.json") -> None:
    """Edits a JSON file by hand; any other file's digest is then made to fit again."""
    value = json.loads((folder / name).read_text("utf-8"))
    change(value)
    (folder / name).write_text(json.dumps(value), "utf-8")
    if name != "manifest.json":
        redigest(folder, name)


def redigest(folder: Path, name: str) -> None:
    path = folder / name
    record = {"sha256": sha256_of_file(path), "bytes": path.stat().st_size}
    edit(folder, lambda value: value["files"].update({name: record}))


def put(key: str, value: object) -> Change:
    return lambda manifest: manifest.update({key: value})


def test_artifact_is_read_whole(fake_artifact: Path) -> None:
    artifact = read_artifact(fake_artifact)
    assert artifact.labels == ["no", "ja, gewiss", "日本語"]
    assert artifact.manifest.name == "fake"
    assert artifact.manifest.sequence_length == 8
    assert artifact.tokenizer.vocabulary_size == 20
    assert artifact.golden["examples"][0]["token_ids"] == [1, 3, 4, 5, 0, 0, 0, 0]
    assert artifact.manifest.model_sha256 == sha256_of_file(artifact.model_path)


def test_manifest_survives_writing_and_reading(fake_artifact: Path, tmp_path: Path) -> None:
    manifest = read_artifact(fake_artifact).manifest
    write_manifest(tmp_path, manifest)
    data = (tmp_path / "manifest.json").read_bytes()
    assert parse_manifest(data) == manifest
    assert list(json.loads(data))[0] == "schema_version"


def test_further_files_in_the_folder_do_not_matter(fake_artifact: Path) -> None:
    (fake_artifact / "verify.json").write_text("{}")
    read_artifact(fake_artifact)


MANIFEST_EDITS: dict[str, tuple[Change, str]] = {
    "unknown key": (put("run_me", "rm -rf /"), r"unknown keys: 'run_me'; missing keys: none"),
    "missing key": (lambda m: m.pop("scheme"), r"unknown keys: none; missing keys: scheme"),
    "newer layout": (
        lambda m: m.update(schema_version=2, later=1),
        r"schema_version=2, this runner reads 1. Use the device_runner that came",
    ),
    "layout of no type": (put("schema_version", "1"), r"schema_version='1', expected an integer"),
    "boolean as number": (put("sequence_length", True), r"sequence_length=True, expected an int"),
    "float as number": (put("num_classes", 3.0), r"num_classes=3.0, expected an integer from 1"),
    "zero length": (put("sequence_length", 0), r"sequence_length=0, expected an integer from 1"),
    "huge length": (put("sequence_length", 10**400), r"sequence_length=1000.*\.\.\., expected"),
    "number as flag": (put("multi_label", 1), r"multi_label=1, expected true or false"),
    "number as text": (put("scheme", 8), r"scheme=8, expected a text"),
    "null as text": (put("target", None), r"target=None, expected a text"),
    "surrogate": (put("scheme", "\ud800"), r"scheme='\\ud800', expected a text"),
    "unknown task": (put("task", "translate"), r"task='translate', this runner knows classify"),
    "threshold of one label": (put("threshold", 0.5), r"threshold=0.5 with multi_label=False"),
    "no threshold": (put("multi_label", True), r"threshold=None with multi_label=True"),
    "threshold of 2": (
        lambda m: m.update(multi_label=True, threshold=2),
        r"threshold=2, expected a number between 0 and 1, or null",
    ),
    "name with a path": (put("name", "../../etc"), r"name='../../etc', expected a plain name"),
    "name of dots": (put("name", ".."), r"name='\.\.', expected a plain name"),
    "absolute model": (put("model_file", "/etc/passwd"), r"model_file='/etc/passwd', expected a p"),
    "model of another name": (put("model_file", "m.tflite"), r"files has no digest of m\.tflite"),
    "no digest": (lambda m: m["files"].pop("labels.txt"), r"files has no digest of labels\.txt"),
    "file outside": (
        lambda m: m["files"].update({"../secret": {"sha256": "0" * 64, "bytes": 1}}),
        r"files has the name '../secret', expected a plain name.* Nothing outside",
    ),
    "file of Windows": (
        lambda m: m["files"].update({"C:\\x": {"sha256": "0" * 64, "bytes": 1}}),
        r"files has the name 'C:\\\\x', expected a plain name",
    ),
    "manifest's own digest": (
        lambda m: m["files"].update({"manifest.json": {"sha256": "0" * 64, "bytes": 1}}),
        r"files has the name 'manifest\.json'",
    ),
    "digest of no kind": (
        lambda m: m["files"]["labels.txt"].update(sha256="ABC"),
        r"files\['labels.txt'\]: sha256='ABC', expected 64 lower-case hexadecimal",
    ),
    "negative size": (
        lambda m: m["files"]["labels.txt"].update(bytes=-1),
        r"files\['labels.txt'\]: bytes=-1, expected an integer from 0",
    ),
    "file of no record": (
        lambda m: m["files"].update({"labels.txt": "x"}),
        r"files\['labels.txt'\] is 'x', expected an object with the keys sha256, bytes",
    ),
    "recipe of no kind": (put("recipe", []), r"recipe=\[\], expected an object"),
    "versions of no kind": (put("versions", {"a": 1}), r"versions=\{'a': 1\}, expected an object"),
    "time of no kind": (put("created", "yesterday"), r"created='yesterday', expected a UTC time"),
    "tokenizer of no kind": (
        lambda m: m["tokenizer"].update(kind="bpe"),
        r"manifest\.json tokenizer: .*kind='bpe'",
    ),
    "no signature": (put("signatures", []), r"signatures=\[\], expected a list with at least one"),
    "signature key": (
        lambda m: m["signatures"][0].update(state=1),
        r"signatures\[0\]: unknown keys: 'state'",
    ),
    "dtype": (
        lambda m: m["signatures"][0]["inputs"][0].update(dtype="string"),
        r"signatures\[0\] inputs\[0\]: dtype='string', expected one of float32",
    ),
    "shape": (
        lambda m: m["signatures"][0]["outputs"][0].update(shape=[1, -1]),
        r"signatures\[0\] outputs\[0\]: shape=\[1, -1\], expected a list of integers",
    ),
    "signature of another length": (
        lambda m: m["signatures"][0]["inputs"][0].update(shape=[1, 9]),
        r"signatures\[0\] is .*\[1, 9\].*, expected .*\[1, 8\].* from sequence_length",
    ),
    "classes": (
        lambda m: (
            m.update(num_classes=4),
            m["signatures"][0]["outputs"][0].update(shape=[1, 4]),
        ),
        r"labels\.txt has 3 labels, manifest\.json says num_classes=4",
    ),
}


@pytest.mark.parametrize("what", MANIFEST_EDITS)
def test_edited_manifest_is_refused(fake_artifact: Path, what: str) -> None:
    change, message = MANIFEST_EDITS[what]
    edit(fake_artifact, change)
    with pytest.raises(ValueError, match=message):
        read_artifact(fake_artifact)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "manifest.json is not valid JSON: Expecting value"),
        (b'{"schema_version": 1', "manifest.json is not valid JSON"),
        (b"\xff\xfe", "manifest.json is not valid JSON: .*can't decode byte 0xff"),
        (b'{"a": NaN}', "manifest.json is not valid JSON: NaN is not a JSON number"),
        (b'{"a": 1, "a": 2}', "manifest.json is not valid JSON: the key 'a' stands twice"),
        (b"[" * 100000, "manifest.json is not valid JSON"),
        (b"[1]", r"manifest.json is \[1\], expected an object with the keys schema_version, name"),
    ],
)
def test_damaged_manifest_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_manifest(data)


def test_manifest_is_checked_when_it_is_made(fake_artifact: Path) -> None:
    value = read_artifact(fake_artifact).manifest.to_json()
    with pytest.raises(ValueError, match=r"schema_version=7, this runner reads 1"):
        Manifest(**{**value, "schema_version": 7})


def test_huge_manifest_is_refused(fake_artifact: Path) -> None:
    with open(fake_artifact / "manifest.json", "ab") as file:
        file.write(b" " * (5 << 20))
    with pytest.raises(ValueError, match=r"manifest\.json has more than 4194304 bytes, the limit"):
        read_artifact(fake_artifact)


@pytest.mark.parametrize(
    "name", ["manifest.json", "model.tflite", "vocabulary.txt", "labels.txt", "golden.json"]
)
def test_missing_file_is_named(fake_artifact: Path, name: str) -> None:
    (fake_artifact / name).unlink()
    with pytest.raises(ValueError, match=rf"{re.escape(name)} is missing; .* again"):
        read_artifact(fake_artifact)


@pytest.mark.parametrize("name", ["model.tflite", "vocabulary.txt", "labels.txt", "golden.json"])
def test_changed_file_is_named_with_both_digests(fake_artifact: Path, name: str) -> None:
    path = fake_artifact / name
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    expected = sha256_of_file(path)
    path.write_bytes(data)
    found = sha256_of_file(path)
    with pytest.raises(ValueError, match=rf"{name} has the SHA-256 {found}, .* says {expected}"):
        read_artifact(fake_artifact)


def test_cut_off_file_is_named_with_both_sizes(fake_artifact: Path) -> None:
    (fake_artifact / "model.tflite").write_bytes(b"\x1c\x00\x00\x00TFL3")
    with pytest.raises(ValueError, match=r"model\.tflite has 8 bytes, manifest\.json says 40"):
        read_artifact(fake_artifact, check_digests=False)


def test_digests_can_be_left_unchecked(fake_artifact: Path) -> None:
    (fake_artifact / "model.tflite").write_bytes(bytes(40))
    read_artifact(fake_artifact, check_digests=False)


@pytest.mark.parametrize("name", ["manifest.json", "labels.txt"])
def test_link_out_of_the_folder_is_refused(fake_artifact: Path, tmp_path: Path, name: str) -> None:
    path = fake_artifact / name
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=rf"{name} is a link to .*elsewhere, outside of the art"):
        read_artifact(fake_artifact)


def test_link_within_the_folder_is_followed(fake_artifact: Path) -> None:
    (fake_artifact / "labels.txt").rename(fake_artifact / "same.txt")
    (fake_artifact / "labels.txt").symlink_to("same.txt")
    read_artifact(fake_artifact)


def test_artifact_behind_a_link_is_read(fake_artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to(fake_artifact)
    assert read_artifact(tmp_path / "latest").path == str(tmp_path / "latest")


def test_pipe_in_place_of_a_file_is_refused(fake_artifact: Path) -> None:
    """Opening it would wait for ever."""
    (fake_artifact / "labels.txt").unlink()
    os.mkfifo(fake_artifact / "labels.txt")
    with pytest.raises(ValueError, match=r"labels\.txt is not a regular file"):
        read_artifact(fake_artifact)


def test_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere is not a folder, expected an artifact folder"):
        read_artifact(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("labels.txt", b"a\nb\n", r"labels\.txt has 2 labels, manifest\.json says num_classes=3"),
        ("labels.txt", b"a\nb\nb\n", r"labels\.txt has an empty label or one that stands twice"),
        ("labels.txt", b"a\n\nb\n", r"labels\.txt has an empty label or one that stands twice"),
        ("labels.txt", b"a\nb\xff\nc\n", r"labels\.txt is not UTF-8: byte 0xff at offset 3"),
        ("vocabulary.txt", b"<PAD>\n<START>\n", r"vocabulary\.txt: The vocabulary begins with"),
        ("golden.json", b"{", r"golden\.json is not valid JSON"),
        ("golden.json", b'{"atol": 1}', r"golden\.json: unknown keys: none; missing keys: examp"),
        ("golden.json", b'{"atol": -1, "examples": [1]}', r"atol=-1, expected a finite number of"),
        ("golden.json", b'{"atol": 0, "examples": []}', r"examples=\[\], expected a list with at"),
    ],
)
def test_file_that_does_not_fit_is_refused(
    fake_artifact: Path, name: str, data: bytes, message: str
) -> None:
    (fake_artifact / name).write_bytes(data)
    redigest(fake_artifact, name)
    with pytest.raises(ValueError, match=message):
        read_artifact(fake_artifact)


def test_labels_end_at_newlines_alone(fake_artifact: Path) -> None:
    (fake_artifact / "labels.txt").write_bytes("a\u2028b\nc\rd\ne\n".encode())
    redigest(fake_artifact, "labels.txt")
    assert read_artifact(fake_artifact).labels == ["a\u2028b", "c\rd", "e"]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("token_ids", [1] * 7, r"examples\[0\]: token_ids has 7 entries, the manifest says 8"),
        ("outputs", [1.0], r"examples\[0\]: outputs has 1 entries, the manifest says 3"),
        ("token_ids", [20] * 8, r"examples\[0\]: token_ids has 20, the vocabulary has ids from 0"),
        ("token_ids", [-1] * 8, r"examples\[0\]: token_ids has -1, the vocabulary has ids from 0"),
        ("outputs", ["a"] * 3, r"outputs=\['a', 'a', 'a'\], expected a list of finite numbers"),
        ("text", 1, r"examples\[0\]: text=1, expected a text"),
    ],
)
def test_golden_that_does_not_fit_is_refused(
    fake_artifact: Path, key: str, value: object, message: str
) -> None:
    edit(fake_artifact, lambda golden: golden["examples"][0].update({key: value}), "golden.json")
    with pytest.raises(ValueError, match=message):
        read_artifact(fake_artifact)
