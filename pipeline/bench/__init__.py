"""Verified artifacts and bare .tflite files + a device → latencies, peak memory, validity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from device_runner.files import write_file_atomic
from device_runner.latency import BLOCK_RUNS, DROPPED_RUNS
from device_runner.profiles import Profile, as_profile, longest_ns, profile_options
from tfpipe.bench.file import SAMPLES, format_record, write_to_runs
from tfpipe.bench.ops import profile_ops
from tfpipe.bench.subject import MeasureOptions, Subject, refuse_mixed, refuse_unread, subject_of
from tfpipe.bench.table import format_bench as format_bench
from tfpipe.devices import Device, DeviceLostError, RunnerDiedError, open_device
from tfpipe.verb import make_callable

# Starting Python, reading the artifact and tokenizing its texts, on a slow device.
_START_S = 120.0


def bench(paths: Sequence[Path], *, output: Path | None = None, **settings: Any) -> dict[str, Any]:
    """Measures artifacts and .tflite files on a device, interleaved, in processes of their own.

    Every artifact must have passed `tfpipe verify` as it is now. Peak memory is taken first, in a
    separate process for each; then one process measures all latencies in turn. Where a crash
    ends that one, each is measured alone.

    Args:
        paths: Artifact folders and bare .tflite files.
        output: Where to write the results; without it they go to RUN/bench of each run.
        **settings: `device`, `profile`, `num_threads`, `texts` and `delegate`, the attributes of
            `tfpipe.bench.subject.MeasureOptions`.

    Returns:
        `created`, `settings`, `results` (DESIGN.md's record, one for each path that could be
        measured) and `failures`: {"artifact", "error"} of the others.

    Raises:
        ValueError: An artifact is not whole or not verified (nothing is measured then), a setting
            is out of range, or nothing at all could be measured.
        OSError: A file cannot be read or written.
    """
    how = MeasureOptions(**settings)
    profile = as_profile(how.profile)
    if not paths:
        raise ValueError("paths is empty, expected at least one artifact. Name an artifact folder.")
    target = open_device(how.device)
    subjects = [subject_of(Path(path), how.texts, how.delegate) for path in paths]
    refuse_unread(subjects, how.texts)
    refuse_mixed({str(subject.path): subject.delegate for subject in subjects})
    options = how.loading_words
    failures: list[dict[str, str]] = []
    memory = {
        subject.path: _measure_memory(target, subject, options, failures) for subject in subjects
    }
    options = [*options, *profile_options(profile), *how.token_id_words]
    alive = [subject for subject in subjects if memory[subject.path]]
    longest_s = longest_ns(profile, len(alive)) / 1e9
    results = _measure(target, alive, options, failures, longest_s)
    if profile.op_runs:
        texts_of = {str(subject.path): subject.texts for subject in alive}
        for result in results:
            profile_ops(target, result, texts_of[result["artifact"]], profile.op_runs, failures)
    if not results:
        raise ValueError("\n".join(failure["error"] for failure in failures))
    record = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": {
            "artifacts": [str(path) for path in paths],
            "texts": [subject.texts or None for subject in subjects],
            **_settings(target.name, profile, how),
        },
        "failures": failures,
        "results": [placed(found, target, memory[Path(found["artifact"])]) for found in results],
    }
    if output is not None:
        write_file_atomic(output, format_record(record))
    else:
        write_to_runs(record, {str(item.path): item.run for item in subjects if item.run})
    return record


def _settings(device: str, profile: Profile, how: MeasureOptions) -> dict[str, Any]:
    return {
        "device": device,
        "num_threads": how.num_threads,
        "delegate": how.delegate,
        "profile": asdict(profile),
        "block_runs": BLOCK_RUNS,
        "dropped_runs_per_block": DROPPED_RUNS,
    }


def _measure_memory(
    device: Device, subject: Subject, options: list[str], failures: list[dict[str, str]]
) -> dict[str, Any]:
    """Returns the memory record, empty when the model kills its process: then it is left out."""
    try:
        found: dict[str, Any] = device.run(
            ["memory", *options, "--", str(subject.path)], time_limit_s=_START_S + 60
        )
        return found
    except (DeviceLostError, RunnerDiedError) as error:
        failures.append({"artifact": str(subject.path), "error": f"{subject.path}: {error}"})
        return {}


def _measure(
    device: Device,
    subjects: list[Subject],
    options: list[str],
    failures: list[dict[str, str]],
    longest_s: float,
) -> list[dict[str, Any]]:
    """Measures all in one process; if that dies or the device is lost, each in its own."""
    if not subjects:
        return []
    try:
        return bench_together(device, subjects, options, longest_s)
    except (DeviceLostError, RunnerDiedError) as error:
        if len(subjects) == 1:
            path = subjects[0].path
            failures.append({"artifact": str(path), "error": f"{path}: {error}"})
            return []
    results = []
    for subject in subjects:
        for result in _measure(device, [subject], options, failures, longest_s):
            reason = "measured alone, not interleaved: what measured all died or was lost"
            if result["validity"] == "valid":
                result["validity"] = "degraded"
            result["validity_reasons"].append(reason)
            results.append(result)
    return results


def bench_together(
    device: Device, subjects: Sequence[Subject], options: list[str], longest_s: float
) -> list[dict[str, Any]]:
    """Returns one result for each subject, measured interleaved in one process of the device.

    Args:
        device: Where.
        subjects: What; the same one may stand there twice.
        options: Of the runner's `bench`: threads, profile, token ids.
        longest_s: Seconds that the measuring itself may take.

    Raises:
        RunnerDiedError: A signal ended the process.
        ValueError: The runner refused, or took too long.
    """
    arguments = ["bench", *options]
    if any(subject.texts for subject in subjects):
        arguments += [f"--texts={subject.texts}" for subject in subjects]
    arguments += ["--", *(str(subject.path) for subject in subjects)]
    limit = _START_S + longest_s + 10 * len(subjects)
    results: list[dict[str, Any]] = device.run(arguments, time_limit_s=limit)["results"]
    return results


def placed(result: dict[str, Any], device: Device, memory: dict[str, Any]) -> dict[str, Any]:
    """Returns a runner's result with what only the host knows; the samples come last, where they
    hide nothing.

    Args:
        result: Of the runner's `bench`.
        device: Where it was measured.
        memory: Of the runner's `memory`; empty where that was not measured.
    """
    samples = {key: result[key] for key in SAMPLES}
    rest = {key: value for key, value in result.items() if key not in SAMPLES}
    kind = "software-gpu" if rest.pop("is_software_gpu", False) else device.kind
    peaks: dict[str, Any] = {
        key: memory[key] for key in ("peak_memory_bytes", "baseline_memory_bytes") if key in memory
    }
    return {**rest, **peaks, "device": device.name, "device_kind": kind, **samples}


make_callable(__name__, bench)
