"""RUN/bench/*.json → the newest result of each file, device and setting; what was left out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from device_runner.percentiles import PERCENTS, smallest_sample_count
from tfpipe.report.read import Node, read_json
from tfpipe.report.read_parts import read_parts

DEVICE_KINDS = ("native", "browser", "emulated", "software-gpu")
# Profiles under which the same call takes another time: a hot device, one that sleeps in between.
LOADS = ("sustained", "paced")
VALIDITIES = ("valid", "degraded", "invalid")

# Enough for a distribution drawn a few hundred pixels wide.
_KEPT_SAMPLES = 101
_TEXTS = ("runtime", "runtime_version", "delegate", "profile")
_INTEGERS = ("num_threads", "warmup_runs", "warmup_ns", "measure_ns", "init_ns", "first_invoke_ns")
_DURATIONS = (
    "mean_ns",
    "min_ns",
    "max_ns",
    "end_to_end_p50_ns",
    "tokenize_p50_ns",
    "decode_p50_ns",
    "early_stopping_p90_ns",
    "peak_memory_bytes",
)


@dataclass(frozen=True)
class Bench:
    """What the bench folder says.

    Attributes:
        results: Model digest → its results, one for each device and setting.
        files: File name → its created, settings, failures and fingerprint.
    """

    results: dict[str, list[dict[str, Any]]]
    files: dict[str, dict[str, Any]]


def read_bench(folder: Path) -> Bench:
    """Reads every results file; the newest wins where file, device and setting are the same.

    The setting is runtime, delegate, number of threads, and whether the device was kept busy or
    asked now and then: numbers compare only where it is equal.

    Raises:
        ValueError: A file is damaged; the message names it.
    """
    newest: dict[tuple[Any, ...], tuple[tuple[datetime, str], dict[str, Any]]] = {}
    files: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else []:
        node = read_json(path, "Delete the file and run `tfpipe bench` again.")
        results = node.children("results")
        fingerprint = results[0].child("fingerprint").values if results else {}
        files[path.name] = {
            "file": path.name,
            "created": node.text("created"),
            "settings": node.child("settings").values,
            "failures": [failure.text("error") for failure in node.children("failures")],
            "fingerprint": fingerprint,
        }
        age = (_moment(node, "created"), path.name)
        for entry in results:
            result = _result(entry, path.name, node.text("created"))
            load = result["profile"] if result["profile"] in LOADS else None
            key = (entry.text("model_sha256"), load, *(result[name] for name in _SETTING))
            if key not in newest or newest[key][0] <= age:
                newest[key] = (age, result)
    grouped: dict[str, list[dict[str, Any]]] = {}
    for (sha256, *_), (_, result) in newest.items():
        grouped.setdefault(sha256 or "", []).append(result)
    return Bench({sha: sorted(entries, key=_order) for sha, entries in grouped.items()}, files)


_SETTING = ("device", "device_kind", "runtime", "delegate", "num_threads")


def _order(result: dict[str, Any]) -> tuple[str, ...]:
    return tuple(f"{result[name] or 0:>9}" for name in _SETTING)


def _moment(node: Node, key: str) -> datetime:
    """Returns the time under `key`; the oldest of all where it is missing."""
    text = node.text(key)
    if text is None:
        return datetime.min.replace(tzinfo=UTC)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(
            f"{node.where}: {key}={text!r} is not an ISO 8601 time. {node.fix}"
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _result(entry: Node, file: str, created: str | None) -> dict[str, Any]:
    """Returns one measurement as it stands in report.json, its raw samples thinned out."""
    samples = sorted(entry.integers("latencies_ns"))
    num_runs = entry.integer("num_runs")
    validity = entry.text("validity")
    if validity is not None and validity not in VALIDITIES:
        raise ValueError(
            f"{entry.where}: validity={validity!r} is not one of {', '.join(VALIDITIES)}. "
            f"{entry.fix}"
        )
    result: dict[str, Any] = {
        "device": entry.text("device"),
        "device_kind": entry.text("device_kind"),
        **{key: entry.text(key) for key in _TEXTS},
        **{key: entry.integer(key) for key in _INTEGERS},
        "num_runs": len(samples) if num_runs is None and samples else num_runs,
        **_percentiles(entry, len(samples) if num_runs is None else num_runs),
        **{key: entry.number(key) for key in _DURATIONS},
        **read_parts(entry),
        "validity": validity,
        "validity_reasons": entry.texts("validity_reasons"),
        "samples_ns": _thin(samples),
        "file": file,
        "created": created,
    }
    return result


def _percentiles(entry: Node, num_runs: int) -> dict[str, Any]:
    """Returns p50, p90 and p99, null where the sample is too small whoever wrote a number."""
    needed = {name: smallest_sample_count(percent) for name, percent in PERCENTS.items()}
    values: dict[str, Any] = {"percentile_n": needed}
    for name, count in needed.items():
        value = entry.number(f"{name}_ns")
        values[f"{name}_ns"] = value if num_runs >= count else None
    return values


def _thin(samples: list[int]) -> list[int]:
    """Returns at most `_KEPT_SAMPLES` of the sorted samples, evenly by rank, ends included."""
    if len(samples) <= _KEPT_SAMPLES:
        return samples
    last = len(samples) - 1
    return [samples[round(i * last / (_KEPT_SAMPLES - 1))] for i in range(_KEPT_SAMPLES)]
