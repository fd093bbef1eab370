"""A path and a file of texts → one thing to measure, checked before anything is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from device_runner.artifact import read_artifact
from device_runner.loading import default_delegate
from tfpipe.run_folder import RunFolder
from tfpipe.verified import require_verified


@dataclass(frozen=True)
class Subject:
    """One thing to measure.

    Attributes:
        path: As it was given.
        run: The run that it was exported from, if it lies in one.
        is_bare: Whether it is a .tflite without a manifest.
        texts: File of texts for it, or "" for none.
        delegate: What runs it.
    """

    path: Path
    run: RunFolder | None
    is_bare: bool
    texts: str
    delegate: str = "cpu"


def subject_of(path: Path, texts: Path | None) -> Subject:
    """Checks one path before anything is measured.

    Args:
        path: Artifact folder or bare .tflite.
        texts: File of texts for it; None takes the test texts of its run.

    Raises:
        ValueError: The artifact is not whole or not verified.
        OSError: It cannot be read.
    """
    given = str(texts) if texts is not None and texts.suffix != ".npy" else ""
    if not path.is_dir():
        return Subject(path, None, True, "")
    manifest = read_artifact(path, check_digests=False).manifest
    require_verified(path, manifest.model_sha256)
    run = _run_of(path)
    if not given and run is not None and run.examples("test").is_file():
        given = str(run.examples("test"))
    return Subject(path, run, False, given, default_delegate(manifest))


def refuse_mixed(delegates: Mapping[str, str]) -> None:
    """Refuses to put times of a CPU and of an accelerator side by side.

    Args:
        delegates: Path of what is to be measured → what runs it.

    Raises:
        ValueError: There are several delegates.
    """
    if len(set(delegates.values())) > 1:
        named = ", ".join(f"{path} on the {delegate}" for path, delegate in delegates.items())
        raise ValueError(
            f"to be measured are {named}: expected one delegate, since their times do not "
            "compare. Measure them in calls of their own."
        )


def _run_of(path: Path) -> RunFolder | None:
    exports = path.resolve().parent
    run = RunFolder(exports.parent)
    return run if exports.name == "exports" and run.run_json.is_file() else None
