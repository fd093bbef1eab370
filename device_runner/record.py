"""A loaded model and its measurement → what the results file says about them."""

from __future__ import annotations

import hashlib
from typing import Any, Dict, List, Sequence

import numpy as np

from device_runner.paced import describe_pace
from device_runner.percentiles import describe, percentile
from device_runner.profiles import Profile
from device_runner.runnable import Runnable
from device_runner.sustained import describe_minutes, find_throttling
from device_runner.turn import Measurement

# Above, what is measured is partly the clock.
MAX_TIMER_SHARE = 0.05


def identity(runnable: Runnable) -> Dict[str, Any]:
    """Returns which file this is, and what runs it."""
    model, artifact = runnable.model, runnable.artifact
    manifest = artifact.manifest if artifact is not None else None
    return {
        "artifact": runnable.path,
        "name": runnable.name,
        "scheme": manifest.scheme if manifest else None,
        "target": manifest.target if manifest else None,
        "lowering": manifest.lowering if manifest else None,
        "model_sha256": runnable.model_sha256,
        "model_size_bytes": runnable.model_size_bytes,
        "sequence_length": model.sequence_length,
        "runtime": model.runtime,
        "runtime_version": model.runtime_version,
        "delegate": model.delegate,
        "nodes": model.count_nodes(),
        "adapter": model.adapter,
        "is_software_gpu": model.is_software,
        "num_threads": model.num_threads,
        "init_ns": model.init_ns,
    }


def describe_inputs(
    runnable: Runnable, inputs: Sequence[np.ndarray[Any, Any]], texts: Sequence[str]
) -> Dict[str, Any]:
    """Returns what the calls were fed with: latencies of real texts hold for texts of such lengths.

    Args:
        runnable: What was measured.
        inputs: int32 (1, T) token ids, each in turn; at least one.
        texts: What they are of; none for bare files.

    Returns:
        `num_inputs`, `inputs_sha256` (of the texts in their order, else of the ids without padding:
        equal where two models were fed with the same), `mean_tokens` (real tokens of one) and
        `buckets`: for each graph its `sequence_length` and the `share` of the inputs that run in
        it; None where the file has one graph.
    """
    model = runnable.model
    real = [row[0].nonzero()[0] for row in inputs]
    lengths = [int(places[-1]) + 1 if len(places) else 0 for places in real]
    buckets = None
    if model.bucket_lengths:
        ends = np.searchsorted(model.bucket_lengths, lengths)
        buckets = [
            {"sequence_length": length, "share": float((ends == place).mean())}
            for place, length in enumerate(model.bucket_lengths)
        ]
    parts = [text.encode("utf-8") for text in texts] or [row[row != 0].tobytes() for row in inputs]
    return {
        "num_inputs": len(inputs),
        "inputs_sha256": hashlib.sha256(b"\0".join(parts)).hexdigest(),
        "mean_tokens": sum(lengths) / len(lengths),
        "buckets": buckets,
    }


def describe_measurement(measurement: Measurement, profile: Profile) -> Dict[str, Any]:
    """Returns the numbers of a measurement: counts, percentiles, parts, and what its profile adds.

    Args:
        measurement: What was measured.
        profile: What it was measured with. "sustained" adds `minutes`, `throttling` and
            `sample_stride`; "paced" adds `pace`.
    """
    end_to_end = measurement.end_to_end_ns
    numbers: Dict[str, Any] = {
        "first_invoke_ns": measurement.first_invoke_ns,
        "warmup_runs": measurement.warmup_runs,
        "warmup_ns": measurement.warmup_ns,
        "num_runs": len(measurement.latencies_ns),
        "measure_ns": measurement.measured_ns,
        "dropped_runs": measurement.dropped_runs,
        "capped": list(measurement.capped),
    }
    numbers.update(describe(measurement.latencies_ns))
    numbers.update(
        end_to_end_runs=len(end_to_end),
        end_to_end_p50_ns=percentile(end_to_end, 50.0),
        end_to_end_p90_ns=percentile(end_to_end, 90.0),
        tokenize_p50_ns=percentile(measurement.tokenize_ns, 50.0),
        decode_p50_ns=percentile(measurement.decode_ns, 50.0),
        end_to_end_shares=end_to_end_shares(measurement),
    )
    if profile.rate_hz:
        numbers["pace"] = describe_pace(measurement, profile)
    elif profile.duration_ns:
        minutes = describe_minutes(measurement)
        numbers["sample_stride"] = measurement.sample_stride
        numbers["minutes"] = minutes
        numbers["throttling"] = find_throttling(minutes)
    return numbers


def end_to_end_shares(measurement: Measurement) -> Any:
    """Returns which shares of the time from text to label its parts take; None without texts.

    `tokenize`, `invoke`, `decode` and `copy`, which is setting the input and reading the output.
    They are shares of sums, so that they add up to 1.
    """
    total = sum(measurement.end_to_end_ns)
    if not total:
        return None
    shares = {
        "tokenize": sum(measurement.tokenize_ns) / total,
        "invoke": sum(measurement.end_to_end_invoke_ns) / total,
        "decode": sum(measurement.decode_ns) / total,
    }
    shares["copy"] = 1 - sum(shares.values())
    return shares


def samples(measurement: Measurement) -> Dict[str, List[int]]:
    """Returns the raw samples; they come last in a record, where they hide nothing."""
    return {
        "end_to_end_latencies_ns": measurement.end_to_end_ns.tolist(),
        "latencies_ns": measurement.latencies_ns.tolist(),
    }


def input_notes(runnable: Runnable, source: str) -> List[str]:
    """Returns why the result is at best degraded, from what was run on what."""
    notes = []
    if runnable.artifact is None:
        notes.append("not verified: a bare .tflite")
    if source == "zeros":
        notes.append("every input is zeros, not real text")
    if source == "goldens":
        notes.append("the inputs are the few golden texts")
    return notes


def doubts(numbers: Dict[str, Any], timer_overhead_ns: int) -> List[str]:
    """Returns why the result is at best degraded, from its own numbers.

    Args:
        numbers: What `describe_measurement` returns.
        timer_overhead_ns: What reading the clock takes.
    """
    found = []
    median = numbers["p50_ns"]
    if median and timer_overhead_ns > MAX_TIMER_SHARE * median:
        found.append(
            f"reading the clock takes {timer_overhead_ns} ns, {timer_overhead_ns / median:.0%} of "
            "the median call"
        )
    throttling = numbers.get("throttling") or {}
    if throttling.get("minute"):
        found.append(
            f"throttled: the median of minute {throttling['minute']} is more than "
            f"{throttling['share']:.0%} above the first minute's"
        )
    missed = numbers.get("pace", {}).get("missed_deadlines")
    if missed:
        found.append(
            f"{missed} of {numbers['pace']['num_requests']} requests ended after the next was due"
        )
    return found
