"""One task and several devices → done on all at once; a device that fails, fails alone."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from device_runner.files import write_file_atomic
from tfpipe.bench import bench
from tfpipe.bench.file import format_record
from tfpipe.deploy import deploy
from tfpipe.devices import open_device


def on_each(
    devices: Sequence[str], task: Callable[[str], dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Runs a task on every device at once.

    Args:
        devices: Names; see `tfpipe.devices.open_device`.
        task: Device → its result.

    Returns:
        The results in the order of the devices, without those that failed; and for each of those
        {"device", "error"}.

    Raises:
        ValueError: All failed, or a name is no device's.
    """
    names = {device: open_device(device).name for device in devices}
    results: list[dict[str, Any]] = []
    failures: list[dict[str, str]] = []
    with ThreadPoolExecutor(max_workers=len(devices)) as threads:
        futures = [(device, threads.submit(task, device)) for device in devices]
        for device, future in futures:
            try:
                results.append(future.result())
            except (ValueError, OSError) as error:
                failures.append({"device": names[device], "error": str(error)})
    if not results:
        raise ValueError("\n".join(failure["error"] for failure in failures))
    return results, failures


def bench_fleet(
    paths: Sequence[Path], devices: Sequence[str], *, output: Path | None = None, **options: Any
) -> dict[str, Any]:
    """Measures on several devices at once; see `tfpipe.bench`.

    Args:
        paths: Artifact folders and bare .tflite files.
        devices: Names; one gives the very record of `tfpipe.bench`.
        output: One file for the results of all devices; without it, each device's go to RUN/bench.
        **options: Of `tfpipe.bench`.

    Returns:
        `tfpipe.bench`'s record with the results of all devices; `settings` has a list `device`,
        and a failure of a whole device has no `artifact`.

    Raises:
        ValueError: Nothing could be measured on any device.
        OSError: A file cannot be read or written.
    """
    if len(devices) == 1:
        return bench(paths, device=devices[0], output=output, **options)
    with tempfile.TemporaryDirectory() as work:

        def measure(device: str) -> dict[str, Any]:
            own = Path(work) / f"{devices.index(device)}.json" if output is not None else None
            return bench(paths, device=device, output=own, **options)

        records, lost = on_each(devices, measure)
    merged = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": {
            **records[0]["settings"],
            "device": [open_device(device).name for device in devices],
        },
        "failures": [
            *(
                {"device": record["settings"]["device"], **failure}
                for record in records
                for failure in record["failures"]
            ),
            *lost,
        ],
        "results": [result for record in records for result in record["results"]],
    }
    if output is not None:
        write_file_atomic(output, format_record(merged))
    return merged


def deploy_fleet(artifact: Path, devices: Sequence[str], **options: Any) -> dict[str, Any]:
    """Deploys to several devices at once; see `tfpipe.deploy`.

    Returns:
        The record of `tfpipe.deploy` for one device; for several, `results` and `failures`.

    Raises:
        ValueError: It failed on all of them.
    """
    if len(devices) == 1:
        return deploy(artifact, device=devices[0], **options)
    results, failures = on_each(devices, lambda name: deploy(artifact, device=name, **options))
    return {"results": results, "failures": failures}


def format_fleet(result: dict[str, Any]) -> str:
    """Returns a table: a line for each device, then one for each that failed."""
    results = result.get("results", [result])
    rows = [list(results[0]), *([str(value) for value in row.values()] for row in results)]
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    lines += [f"failed: {failure['error']}" for failure in result.get("failures", [])]
    return "\n".join(lines)


def raise_failures(result: dict[str, Any]) -> None:
    """Raises a ValueError with the errors of the devices that failed, if any did."""
    failures = result.get("failures")
    if failures:
        raise ValueError("\n".join(failure["error"] for failure in failures))
