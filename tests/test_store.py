"""Tests of the device's store: nothing by halves, nothing unchecked, and the way back."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from device_runner.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def put(store: Store, data: bytes) -> str:
    store.receive(sha(data), len(data), io.BytesIO(data).read)
    return sha(data)


def files_in(store: Store) -> list[str]:
    return sorted(path.name for path in Path(store.folder).rglob("*") if path.is_file())


def test_received_content_is_no_longer_missing(store: Store) -> None:
    digest = put(store, b"model")
    assert store.missing([digest, sha(b"other")]) == [sha(b"other")]
    assert oct(os.stat(store.folder + "/objects").st_mode & 0o777) == "0o700"


def test_damaged_content_is_missing_again(store: Store) -> None:
    digest = put(store, b"model")
    Path(store.folder, "objects", digest).write_bytes(b"m0del")
    assert store.missing([digest]) == [digest]


def test_content_with_another_digest_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="have the SHA-256 .*, the host announced"):
        store.receive(sha(b"model"), 5, io.BytesIO(b"m0del").read)
    assert files_in(store) == []


def test_content_cut_off_leaves_nothing(store: Store) -> None:
    with pytest.raises(EOFError, match="the host has gone"):
        store.receive(sha(b"model"), 5, io.BytesIO(b"mod").read)
    assert files_in(store) == []


def test_content_larger_than_the_disk_is_refused_before_it_is_written(store: Store) -> None:
    stream = io.BytesIO(b"x" * 1000)
    size = shutil.disk_usage(store.folder).total * 2
    with pytest.raises((ValueError, EOFError), match=r"the host has gone|do not fit into"):
        store.receive(sha(b""), size, stream.read)
    assert files_in(store) == []


@pytest.mark.parametrize("digest", ["../../etc/passwd", "A" * 64, "", None])
def test_digest_that_is_none_is_refused(store: Store, digest: str) -> None:
    with pytest.raises(ValueError, match=r"sha256=.*, expected 64 lower-case hexadecimal"):
        store.missing([digest])


def test_placed_folder_holds_the_files(store: Store) -> None:
    digests = {"model.tflite": put(store, b"model"), "labels.txt": put(store, b"a\nb\n")}
    folder = Path(store.place("0" * 64, digests))
    assert (folder / "model.tflite").read_bytes() == b"model"
    assert store.place("0" * 64, digests) == str(folder)


def test_placed_folder_that_was_changed_is_made_anew(store: Store) -> None:
    digests = {"a": put(store, b"one")}
    folder = Path(store.place("0" * 64, digests))
    (folder / "a").unlink()
    (folder / "a").write_bytes(b"two")
    assert (Path(store.place("0" * 64, digests)) / "a").read_bytes() == b"one"


def test_placed_folder_without_hard_links_is_copied(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    folder = Path(store.place("0" * 64, {"a": put(store, b"one")}))
    assert (folder / "a").read_bytes() == b"one"


@pytest.mark.parametrize("name", ["../a", "a/b", "..", "", "a\n"])
def test_file_name_that_leads_elsewhere_is_refused(store: Store, name: str) -> None:
    with pytest.raises(ValueError, match=r"name=.*, expected a plain name"):
        store.place("0" * 64, {name: put(store, b"one")})
    assert os.listdir(store.folder + "/work") == []


def test_file_that_was_not_received_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="was not received. Send it first"):
        store.place("0" * 64, {"a": sha(b"never")})


def test_disk_that_damages_data_is_noticed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = put(store, b"one")
    Path(store.folder, "objects", digest).write_bytes(b"0ne")
    with pytest.raises(ValueError, match="has another SHA-256 than was written"):
        store.place("0" * 64, {"a": digest})


FILL = """
import hashlib, io, os, sys
from device_runner.store import Store
store = Store(sys.argv[1])
if sys.argv[2] == "race":
    store._require_room = lambda size: None  # another program takes the room meanwhile
data = os.urandom(100_000)
try:
    store.receive(hashlib.sha256(data).hexdigest(), len(data), io.BytesIO(data).read)
except Exception as error:
    left = [name for _, _, names in os.walk(sys.argv[1]) for name in names]
    print(type(error).__name__, getattr(error, "errno", None), error, left)
"""


@pytest.mark.parametrize("how", ["announced", "race"])
def test_full_disk_is_an_error_and_leaves_nothing(
    tmp_path: Path, how: str, small_disk: Callable[[Path, int], list[str]]
) -> None:
    """On a real file system of 64 KiB."""
    command = [*small_disk(tmp_path, 65536), sys.executable, "-c", FILL, str(tmp_path), how]
    done = subprocess.run(command, capture_output=True, text=True)
    if how == "announced":
        assert done.stdout.startswith("ValueError None 100000 bytes do not fit into"), done
    else:
        assert done.stdout.startswith(f"OSError {errno.ENOSPC} "), done
    assert done.stdout.rstrip().endswith("[]")
