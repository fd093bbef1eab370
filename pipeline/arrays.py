"""Named arrays → one .npz file that is there whole or not at all, and back."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_runner.files import write_file_atomic


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Writes the arrays under their names; the folder must exist."""
    buffer = io.BytesIO()
    # NumPy's stub takes every keyword for `allow_pickle` as well.
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    write_file_atomic(path, buffer.getvalue())


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Reads what `write_arrays` wrote; nothing in the file is unpickled.

    Raises:
        ValueError: The file is cut short, changed or of another kind.
        OSError: It cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"the bytes of {damaged} have changed")
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (ValueError, EOFError, NotImplementedError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is no whole .npz file: {error}. Restore it.") from error
