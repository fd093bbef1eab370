"""A benchmark's record → its results JSON, and one file in the bench folder of every run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from device_runner.files import write_file_atomic
from tfpipe.run_folder import RunFolder

# Keys of a result that hold raw samples.
SAMPLES = ("end_to_end_latencies_ns", "latencies_ns")


def write_to_runs(record: dict[str, Any], runs: Mapping[str, RunFolder]) -> None:
    """Writes each run's results into RUN/bench/DEVICE-TIME.json.

    Args:
        record: What `tfpipe.bench` returns.
        runs: Artifact → the run that it belongs to; results of other artifacts are in no file.

    Raises:
        OSError: A bench folder cannot be written.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    device = record["settings"]["device"].replace("/", "_")
    for run in set(runs.values()):
        own = [result for result in record["results"] if runs.get(result["artifact"]) == run]
        if own:
            run.bench.mkdir(exist_ok=True)
            path = run.bench / f"{device}-{stamp}.json"
            write_file_atomic(path, format_record({**record, "results": own}))


def format_record(record: dict[str, Any]) -> bytes:
    """Returns indented JSON with every list of samples on one line: it may have a million."""
    head = {key: value for key, value in record.items() if key != "results"}
    results = ",\n".join(map(_format_result, record["results"]))
    return f'{_indented(head)},\n "results": [\n{results}\n ]\n}}\n'.encode()


def _format_result(result: dict[str, Any]) -> str:
    rest = {key: value for key, value in result.items() if key not in SAMPLES}
    lines = [f' "{key}": {json.dumps(result[key])}' for key in SAMPLES]
    return ",\n".join([_indented(rest), *lines]) + "\n}"


def _indented(value: dict[str, Any]) -> str:
    """Returns the object's JSON without its closing brace."""
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)[: -len("\n}")]
