"""Tests of atomic writing and digests."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path

import pytest

from device_runner import files


def test_written_bytes_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "out.bin"
    files.write_file_atomic(path, b"one")
    files.write_file_atomic(path, b"two\x00")
    assert path.read_bytes() == b"two\x00"
    assert os.listdir(tmp_path) == ["out.bin"]


def test_written_file_has_the_mode_of_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        files.write_file_atomic(tmp_path / "out", b"")
    finally:
        os.umask(old)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o640


def test_longest_name_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    files.write_file_atomic(path, b"x")
    assert path.read_bytes() == b"x"


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_failed_write_keeps_the_old_file_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "out.json"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, step, fail)
    with pytest.raises(OSError, match=r"No space left on device.*out\.json"):
        files.write_file_atomic(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["out.json"]


def test_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        files.write_file_atomic(tmp_path / "out", b"new")
    assert os.listdir(tmp_path) == []


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere/out"):
        files.write_file_atomic(tmp_path / "nowhere" / "out", b"")


def test_link_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    files.write_file_atomic(tmp_path / "link", b"new")
    assert (tmp_path / "real").read_bytes() == b"real"
    assert not (tmp_path / "link").is_symlink()


def test_json_is_utf8_in_order_with_a_final_newline(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    files.write_json_atomic(path, {"b": "ü", "a": [1, None]})
    assert path.read_bytes() == '{\n "b": "ü",\n "a": [\n  1,\n  null\n ]\n}\n'.encode()
    assert json.loads(path.read_bytes()) == {"b": "ü", "a": [1, None]}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, "\ud800"])
def test_json_that_cannot_be_is_refused(tmp_path: Path, value: object) -> None:
    with pytest.raises(ValueError, match=r"value\.json cannot be written as JSON: .* convert"):
        files.write_json_atomic(tmp_path / "value.json", [value])
    assert os.listdir(tmp_path) == []


def test_sha256_of_a_file_of_several_chunks(tmp_path: Path) -> None:
    data = bytes(range(256)) * 12000
    (tmp_path / "data").write_bytes(data)
    assert files.sha256_of_file(tmp_path / "data") == hashlib.sha256(data).hexdigest()
