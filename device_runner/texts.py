"""A .jsonl or .txt file, or a .npy file → the texts or token ids in it, none of them trusted."""

from __future__ import annotations

import codecs
import json
import os
from typing import Any, Iterable, Iterator

import numpy as np

from device_runner.schema import shorten

# Token ids of one file: 1 GiB of int32. More is a mistake, not an input.
_MAX_TOKEN_IDS = 1 << 28


def read_texts(path: str | os.PathLike[str]) -> Iterator[str]:
    """Yields the texts of a file in order, one line at a time.

    Args:
        path: `.jsonl`: one object with a "text" a line, other keys are not looked at. Any other
            name: one text a line. Lines end at "\\n" alone; an empty line of `.jsonl` is skipped,
            and so is a byte order mark at the beginning.

    Raises:
        ValueError: A line is not UTF-8 or, in `.jsonl`, not an object with a "text"; it gives the
            line's number.
        OSError: The file cannot be read.
    """
    name = os.fspath(path)
    # Bytes: text mode would also end a line at "\r", and could not say where a bad byte is.
    with open(path, "rb") as file:
        yield from texts_of_lines(file, name, is_jsonl=name.endswith(".jsonl"))


def texts_of_lines(lines: Iterable[bytes], name: str, *, is_jsonl: bool = False) -> Iterator[str]:
    """Yields the texts of a file's lines; see `read_texts`.

    Args:
        lines: With their ends.
        name: What errors call the file.
        is_jsonl: Whether each line is an object with a "text".
    """
    for number, line in enumerate(lines, start=1):
        if number == 1 and line.startswith(codecs.BOM_UTF8):
            line = line[len(codecs.BOM_UTF8) :]
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{name} line {number} is not UTF-8: byte 0x{line[error.start]:02x} at position "
                f"{error.start} of the line. Save the file as UTF-8."
            ) from error
        if not is_jsonl:
            yield text[:-1] if text.endswith("\n") else text
        elif text.strip():
            yield _text_of(text, f"{name} line {number}")


def check_text(text: str) -> str:
    """Returns `text` when it is Unicode; bytes of a command line that are not UTF-8 are refused.

    Raises:
        ValueError: It has a lone surrogate.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"the text {shorten(text)} is not valid Unicode at position {error.start}. Give it "
            "as UTF-8."
        ) from error
    return text


def read_token_ids(path: str | os.PathLike[str]) -> np.ndarray[Any, Any]:
    """Returns the token ids of a .npy file as int32 of shape (n, T); nothing is unpickled.

    Raises:
        ValueError: Not a .npy file of whole numbers with two axes and at least one row.
        OSError: The file cannot be read.
    """
    name = os.fspath(path)
    try:
        # mmap: a header that claims terabytes must not be allocated.
        array = np.load(name, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(
            f"{name} is not a .npy file of numbers: {error}. Write it with numpy.save."
        ) from error
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind not in "iu":
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "an archive"
        raise ValueError(
            f"{name} holds {found}, expected whole numbers of shape (n, sequence_length). Write "
            "the token ids with numpy.save."
        )
    if not 0 < array.size <= _MAX_TOKEN_IDS:
        raise ValueError(
            f"{name} holds {array.size} token ids, expected 1 to {_MAX_TOKEN_IDS}. Split the file."
        )
    if int(array.min()) < 0 or int(array.max()) >= 2**31:
        raise ValueError(
            f"{name} has token ids from {array.min()} to {array.max()}, expected 0 to 2147483647. "
            "Use the ids that the model was trained on."
        )
    return np.ascontiguousarray(array, dtype=np.int32)


def _text_of(line: str, where: str) -> str:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f'{where} is not JSON: {error}. Write {{"text": "…"}} on every line.'
        ) from error
    text = record.get("text") if isinstance(record, dict) else None
    if not isinstance(text, str):
        raise ValueError(
            f'{where} is {shorten(record)}, expected an object with a "text". Write {{"text": '
            '"…"}} on every line.'.replace("}}", "}")
        )
    return check_text(text)
