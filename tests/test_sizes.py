"""tfpipe.sizes: its counts are those of other programs, and they are of what can be unpacked."""

from __future__ import annotations

import io
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tfpipe import sizes
from tfpipe.sizes import file_sizes, stored_sizes

PRUNED = np.random.default_rng(0).normal(size=40_000).astype(np.float32)
PRUNED[np.random.default_rng(1).random(40_000) < 0.8] = 0
DATA = PRUNED.tobytes()


def test_zip_is_what_an_archive_holds() -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        file.writestr("model.tflite", DATA)
        stored = file.infolist()[0].compress_size
    # The frame of RFC 1950 has a head of two bytes and a checksum of four.
    assert stored_sizes(DATA)["zip"] == stored + 6 < 0.4 * len(DATA)
    assert abs(len(archive.getvalue()) - stored) < 150


def test_zstd_is_what_the_program_writes(tmp_path: Path) -> None:
    program = shutil.which("zstd")
    if program is None:
        pytest.skip("zstd is not installed; .ci/run installs it")
    (tmp_path / "model").write_bytes(DATA)
    command = [program, "-q", "-19", "--no-check", "-c", str(tmp_path / "model")]
    packed = subprocess.run(command, capture_output=True, check=True).stdout
    # Another release of the library may choose a little differently.
    assert stored_sizes(DATA)["zstd"] == pytest.approx(len(packed), rel=0.02)


def test_file_has_the_same_sizes_under_the_names_of_check_json() -> None:
    plain, packed, zstd = stored_sizes(DATA).values()
    assert file_sizes(DATA) == {
        "model_size_bytes": plain,
        "zip_size_bytes": packed,
        "zstd_size_bytes": zstd,
    }
    assert plain == len(DATA) and stored_sizes(b"") == {"plain": 0, "zip": 8, "zstd": 9}


def test_large_file_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = stored_sizes(DATA)["zstd"]
    monkeypatch.setattr(sizes, "MAX_SLOW_BYTES", len(DATA) - 1)
    assert stored_sizes(DATA)["zstd"] > slow
