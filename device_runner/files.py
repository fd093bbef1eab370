"""Bytes or a JSON value → a file that is there whole or not at all; a file → its SHA-256."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from typing import Any

_CHUNK_BYTES = 1 << 20


def write_file_atomic(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes `data` to `path` so that a reader sees the old file or the whole new one.

    The bytes go to a temporary file in the same folder, are synced to the disk, and are then
    renamed over `path`. On any failure, an interrupt included, the temporary file is removed.

    Args:
        path: File to write. Its folder must exist. A symbolic link there is replaced, not followed.
        data: The whole content.

    Raises:
        OSError: The folder is missing or read-only, or the disk is full; it names `path`.
    """
    target = os.fspath(path)
    folder = os.path.dirname(target) or "."
    # A short name of our own: one made from the target's could pass the limit of 255 bytes.
    temporary = os.path.join(folder, f".{uuid.uuid4().hex}.part")
    try:
        # 0o666 less the umask, as open() gives; tempfile would give 0o600.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(temporary, flags, 0o666), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
        _sync_folder(folder)
    except OSError as error:
        _remove_if_there(temporary)
        raise OSError(error.errno, error.strerror or str(error), target) from error
    except BaseException:
        _remove_if_there(temporary)
        raise


def write_json_atomic(path: str | os.PathLike[str], value: Any) -> None:
    """Writes `value` as UTF-8 JSON, indented by one space, with a newline at the end.

    Args:
        path: File to write, as for `write_file_atomic`.
        value: What `json` can write. Keys keep their order.

    Raises:
        ValueError: A number is NaN or infinite, which JSON does not have.
        OSError: As for `write_file_atomic`.
    """
    try:
        text = json.dumps(value, indent=1, sort_keys=False, ensure_ascii=False, allow_nan=False)
        data = (text + "\n").encode("utf-8")
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{os.fspath(path)} cannot be written as JSON: {error}. JSON holds text, finite "
            "numbers, true, false, null, lists and objects: convert the value first."
        ) from error
    write_file_atomic(path, data)


def sha256_of_file(path: str | os.PathLike[str]) -> str:
    """Returns the SHA-256 of a file's bytes as 64 lower-case hexadecimal digits.

    Raises:
        OSError: The file cannot be read.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while True:
            chunk = file.read(_CHUNK_BYTES)
            if not chunk:
                return digest.hexdigest()
            digest.update(chunk)


def _sync_folder(folder: str) -> None:
    """Makes the rename itself survive a power cut, where the system can sync a folder."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:  # some network and FUSE file systems refuse it; the data is already synced
        pass
    finally:
        os.close(descriptor)


def _remove_if_there(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass
