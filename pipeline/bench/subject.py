"""A path and a file of texts → one thing to measure, checked before anything is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from device_runner.artifact import read_artifact
from device_runner.loading import default_delegate
from device_runner.profiles import Profile
from tfpipe.run_folder import RunFolder
from tfpipe.verify.verified import require_verified


@dataclass(frozen=True)
class MeasureOptions:
    """How things are measured.

    Attributes:
        device: See `tfpipe.devices.open_device`.
        profile: A key of `device_runner.profiles.PROFILES`, or what `choose_profile` there returns.
        num_threads: CPU threads of every interpreter.
        texts: File of texts, `.jsonl` or one a line, or, for bare .tflite files, token ids as
            `.npy`. Without it, artifacts in RUN/exports get the run's test texts.
        delegate: One of `device_runner.loading.DELEGATES`, for all; None is what each artifact is
            made for.
    """

    device: str = "local"
    profile: Profile | str = "quick"
    num_threads: int = 1
    texts: Path | None = None
    delegate: str | None = None

    @property
    def loading_words(self) -> list[str]:
        """The runner's options for loading a model."""
        chosen = ["--delegate", self.delegate] if self.delegate else []
        return ["--num-threads", str(self.num_threads), *chosen]

    @property
    def token_id_words(self) -> list[str]:
        """The runner's options for token ids."""
        is_ids = self.texts is not None and self.texts.suffix == ".npy"
        return ["--token-ids", str(self.texts)] if is_ids else []


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


def subject_of(path: Path, texts: Path | None, delegate: str | None = None) -> Subject:
    """Checks one path before anything is measured.

    Args:
        path: Artifact folder or bare .tflite.
        texts: File of texts for it; None takes the test texts of its run.
        delegate: What runs it; None is what it is made for.

    Raises:
        ValueError: The artifact is not whole or not verified.
        OSError: It cannot be read.
    """
    given = str(texts) if texts is not None and texts.suffix != ".npy" else ""
    if not path.is_dir():
        return Subject(path, None, True, "", delegate or "cpu")
    manifest = read_artifact(path, check_digests=False).manifest
    require_verified(path, manifest.model_sha256)
    run = _run_of(path)
    if not given and run is not None and run.examples("test").is_file():
        given = str(run.examples("test"))
    return Subject(path, run, False, given, delegate or default_delegate(manifest))


def refuse_unread(subjects: Sequence[Subject], texts: Path | None) -> None:
    """Refuses a file of inputs that nothing to be measured would read.

    Raises:
        ValueError: Texts for nothing but bare .tflite files, or token ids for artifacts alone.
    """
    if texts is None:
        return
    is_ids = texts.suffix == ".npy"
    if is_ids and not any(subject.is_bare for subject in subjects):
        raise ValueError(
            f"texts={str(texts)!r} holds token ids, but every model is an artifact, which makes "
            "its own of texts. Give a .jsonl file, or one with a text a line."
        )
    if not is_ids and all(subject.is_bare for subject in subjects):
        raise ValueError(
            f"texts={str(texts)!r}, but every model is a bare .tflite without a vocabulary. Give "
            "token ids as a .npy file, or artifact folders."
        )


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
