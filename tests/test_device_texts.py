"""Tests of reading texts and token ids from files that nobody checked before."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from device_runner.texts import check_text, read_texts, read_token_ids


def write(folder: Path, name: str, data: bytes) -> Path:
    (folder / name).write_bytes(data)
    return folder / name


def test_jsonl_gives_each_lines_text(tmp_path: Path) -> None:
    data = '{"text": "a\\nb", "labels": ["x"]}\n\n{"text": "日本 \u2028\\r"}'.encode()
    assert list(read_texts(write(tmp_path, "t.jsonl", data))) == ["a\nb", "日本 \u2028\r"]


def test_plain_lines_are_texts_as_they_are(tmp_path: Path) -> None:
    data = b"one\n\n two\r\nthree\x85"
    assert list(read_texts(write(tmp_path, "t.txt", data.replace(b"\x85", "\x85".encode())))) == [
        "one", "", " two\r", "three\x85"
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["t.txt", "t.jsonl"])
def test_byte_order_mark_is_no_text(tmp_path: Path, name: str) -> None:
    line = '{"text": "grün"}' if name == "t.jsonl" else "grün"
    assert list(read_texts(write(tmp_path, name, b"\xef\xbb\xbf" + line.encode()))) == ["grün"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"text": "a"}\n{"text": \n', r"t\.jsonl line 2 is not JSON: .*Write \{\"text\""),
        (b'{"txt": "a"}', r"t\.jsonl line 1 is \{'txt': 'a'\}, expected an object with a \"text\""),
        (b'{"text": 1}', r"t\.jsonl line 1 is \{'text': 1\}, expected an object with a \"text\""),
        (b"[1]", r"t\.jsonl line 1 is \[1\], expected an object"),
        (b'{"text": "\xff"}', r"t\.jsonl line 1 is not UTF-8: byte 0xff at position 10"),
        (b"[" * 100000, r"t\.jsonl line 1 is not JSON"),
        (b'{"text": "\\ud800"}', r"the text '\\ud800' is not valid Unicode at position 0"),
    ],
)
def test_damaged_line_is_named(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list(read_texts(write(tmp_path, "t.jsonl", data)))


def test_bytes_of_a_command_line_that_are_no_text_are_refused() -> None:
    assert check_text("日本") == "日本"
    with pytest.raises(ValueError, match=r"is not valid Unicode at position 1. Give it as UTF-8"):
        check_text(b"a\xff".decode("utf-8", "surrogateescape"))


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_token_ids_are_read_as_int32(tmp_path: Path, dtype: type) -> None:
    ids = np.arange(6, dtype=dtype).reshape(2, 3)
    np.save(tmp_path / "ids.npy", ids)
    found = read_token_ids(tmp_path / "ids.npy")
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, ids)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(3, np.int32), r"ids\.npy holds int32 \(3,\), expected whole numbers of shape"),
        (np.zeros((1, 3), np.float32), r"ids\.npy holds float32 \(1, 3\), expected whole numbers"),
        (np.zeros((0, 3), np.int32), r"ids\.npy holds 0 token ids, expected 1 to"),
        (np.array([[0, -1]]), r"ids\.npy has token ids from -1 to 0, expected 0 to 2147483647"),
        (np.array([[0, 2**31]]), r"ids\.npy has token ids from 0 to 2147483648, expected 0 to"),
    ],
)
def test_other_numbers_are_refused(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "ids.npy", array)
    with pytest.raises(ValueError, match=message):
        read_token_ids(tmp_path / "ids.npy")


class Bomb:
    """Leaves a trace when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.trace,)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    np.save(tmp_path / "ids.npy", np.array([[Bomb(trace)]], object), allow_pickle=True)
    write(tmp_path, "raw.npy", pickle.dumps(Bomb(trace)))
    trace.unlink(missing_ok=True)
    for name in ("ids.npy", "raw.npy"):
        with pytest.raises(ValueError, match=rf"{name} is not a \.npy file of numbers"):
            read_token_ids(tmp_path / name)
    assert not trace.exists()


def test_archive_and_cut_off_file_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "ids.npz", ids=np.zeros((1, 3), np.int32))
    (tmp_path / "ids.npz").rename(tmp_path / "ids.npy")
    with pytest.raises(ValueError, match=r"ids\.npy holds an archive, expected whole numbers"):
        read_token_ids(tmp_path / "ids.npy")
    np.save(tmp_path / "cut.npy", np.zeros((100, 3), np.int32))
    data = (tmp_path / "cut.npy").read_bytes()
    with pytest.raises(ValueError, match=r"cut\.npy is not a \.npy file of numbers"):
        read_token_ids(write(tmp_path, "cut.npy", data[:500]))
    with pytest.raises(ValueError, match=r"cut\.npy is not a \.npy file of numbers"):
        read_token_ids(write(tmp_path, "cut.npy", b""))


def test_header_that_claims_terabytes_is_refused(tmp_path: Path) -> None:
    header = {"descr": "<i4", "fortran_order": False, "shape": (10**12, 3)}
    with open(tmp_path / "ids.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.write(bytes(12))
    with pytest.raises(ValueError, match=r"ids\.npy is not a \.npy file of numbers"):
        read_token_ids(tmp_path / "ids.npy")
