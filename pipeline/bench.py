"""Verified artifacts and bare .tflite files + a device → latencies, peak memory, validity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from device_runner.artifact import read_artifact
from device_runner.files import write_file_atomic
from device_runner.latency import BLOCK_RUNS, DROPPED_RUNS
from device_runner.loading import default_delegate
from device_runner.profiles import PROFILES
from tfpipe.bench_file import SAMPLES, format_record, write_to_runs
from tfpipe.bench_table import format_bench as format_bench
from tfpipe.devices import Device, RunnerDiedError, open_device
from tfpipe.run_folder import RunFolder
from tfpipe.verb import make_callable
from tfpipe.verified import require_verified

# Starting Python, reading the artifact and tokenizing its texts, on a slow device.
_START_S = 120.0


@dataclass(frozen=True)
class _Subject:
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


def bench(
    paths: Sequence[Path],
    *,
    device: str = "local",
    profile: str = "quick",
    num_threads: int = 1,
    texts: Path | None = None,
    output: Path | None = None,
) -> dict[str, Any]:
    """Measures artifacts and .tflite files on a device, interleaved, in processes of their own.

    Every artifact must have passed `tfpipe verify` as it is now. Peak memory is taken first, in a
    separate process for each; then one process measures all latencies in turn. Where a crash
    ends that one, each is measured alone.

    Args:
        paths: Artifact folders and bare .tflite files.
        device: "local".
        profile: How long to measure, a key of `device_runner.profiles.PROFILES`.
        num_threads: CPU threads of every interpreter.
        texts: File of texts, `.jsonl` or one a line, or, for bare .tflite files, token ids as
            `.npy`. Without it, artifacts in RUN/exports get the run's test texts.
        output: Where to write the results; without it they go to RUN/bench of each run.

    Returns:
        `created`, `settings`, `results` (DESIGN.md's record, one for each path that could be
        measured) and `failures`: {"artifact", "error"} of the others.

    Raises:
        ValueError: An artifact is not whole or not verified (nothing is measured then), a setting
            is out of range, or nothing at all could be measured.
        OSError: A file cannot be read or written.
    """
    if profile not in PROFILES:
        raise ValueError(f"profile={profile!r} is unknown. Use one of: {', '.join(PROFILES)}.")
    if not paths:
        raise ValueError("paths is empty, expected at least one artifact. Name an artifact folder.")
    target = open_device(device)
    subjects = [_subject(Path(path), texts) for path in paths]
    refuse_mixed({str(subject.path): subject.delegate for subject in subjects})
    options = ["--num-threads", str(num_threads)]
    failures: list[dict[str, str]] = []
    memory = {
        subject.path: _measure_memory(target, subject, options, failures) for subject in subjects
    }
    options += ["--profile", profile]
    if texts is not None and texts.suffix == ".npy":
        options += ["--token-ids", str(texts)]
    alive = [subject for subject in subjects if memory[subject.path]]
    results = _measure(target, alive, options, failures)
    if not results:
        raise ValueError("\n".join(failure["error"] for failure in failures))
    record = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": {
            "artifacts": [str(path) for path in paths],
            "texts": [subject.texts or None for subject in subjects],
            **_settings(device, profile, num_threads),
        },
        "failures": failures,
        "results": [_complete(found, target, memory[Path(found["artifact"])]) for found in results],
    }
    if output is not None:
        write_file_atomic(output, format_record(record))
    else:
        write_to_runs(record, {str(item.path): item.run for item in subjects if item.run})
    return record


def _settings(device: str, profile: str, num_threads: int) -> dict[str, Any]:
    return {
        "device": device,
        "num_threads": num_threads,
        "profile": asdict(PROFILES[profile]),
        "block_runs": BLOCK_RUNS,
        "dropped_runs_per_block": DROPPED_RUNS,
    }


def _subject(path: Path, texts: Path | None) -> _Subject:
    """Checks one path before anything is measured."""
    given = str(texts) if texts is not None and texts.suffix != ".npy" else ""
    if not path.is_dir():
        return _Subject(path, None, True, "")
    manifest = read_artifact(path, check_digests=False).manifest
    require_verified(path, manifest.model_sha256)
    run = _run_of(path)
    if not given and run is not None and run.examples("test").is_file():
        given = str(run.examples("test"))
    return _Subject(path, run, False, given, default_delegate(manifest))


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


def _measure_memory(
    device: Device, subject: _Subject, options: list[str], failures: list[dict[str, str]]
) -> dict[str, Any]:
    """Returns the memory record, empty when the model kills its process: then it is left out."""
    try:
        found: dict[str, Any] = device.run(
            ["memory", *options, "--", str(subject.path)], time_limit_s=_START_S + 60
        )
        return found
    except RunnerDiedError as error:
        failures.append({"artifact": str(subject.path), "error": f"{subject.path}: {error}"})
        return {}


def _measure(
    device: Device, subjects: list[_Subject], options: list[str], failures: list[dict[str, str]]
) -> list[dict[str, Any]]:
    """Measures all in one process; if that dies, each in its own."""
    if not subjects:
        return []
    try:
        return _bench_together(device, subjects, options)
    except RunnerDiedError as error:
        if len(subjects) == 1:
            path = subjects[0].path
            failures.append({"artifact": str(path), "error": f"{path}: {error}"})
            return []
    results = []
    for subject in subjects:
        for result in _measure(device, [subject], options, failures):
            reason = "measured alone, not interleaved: the process that measured all died"
            if result["validity"] == "valid":
                result["validity"] = "degraded"
            result["validity_reasons"].append(reason)
            results.append(result)
    return results


def _bench_together(
    device: Device, subjects: list[_Subject], options: list[str]
) -> list[dict[str, Any]]:
    profile = PROFILES[options[options.index("--profile") + 1]]
    # Three phases, each capped, for each subject.
    limit = _START_S + len(subjects) * (3 * profile.max_ns / 1e9 + 10)
    arguments = ["bench", *options]
    if any(subject.texts for subject in subjects):
        arguments += [f"--texts={subject.texts}" for subject in subjects]
    arguments += ["--", *(str(subject.path) for subject in subjects)]
    value = device.run(arguments, time_limit_s=limit)
    results: list[dict[str, Any]] = value["results"]
    return results


def _complete(result: dict[str, Any], device: Device, memory: dict[str, Any]) -> dict[str, Any]:
    """Adds what only the host knows; the samples come last, where they hide nothing."""
    samples = {key: result[key] for key in SAMPLES}
    rest = {key: value for key, value in result.items() if key not in SAMPLES}
    kind = "software-gpu" if rest.pop("is_software_gpu", False) else device.kind
    peaks = {key: memory[key] for key in ("peak_memory_bytes", "baseline_memory_bytes")}
    return {**rest, **peaks, "device": device.name, "device_kind": kind, **samples}


make_callable(__name__, bench)
