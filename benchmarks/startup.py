"""An artifact → how long it takes from starting the runner to the first answer.

    python benchmarks/startup.py runs/topics/exports/cpu-float32 --markdown docs/startup.md

A fresh process each time: `python -m device_runner predict ARTIFACT TEXT`, from before it is made
to the first byte of its answer; digests and vocabulary are read and checked on the way. Beside it,
in turn with it, what Python, NumPy and the runtime take alone, and the runner as one file, which
Python compiles anew at every start. One run before is not counted: it fills the page cache and
writes the bytecode. Processor time is what the process was given, whatever
else ran on the machine. Prints one JSON object; exit 1 if the median is 0.5 s or more.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from device_runner import machine
from device_runner.files import write_file_atomic
from device_runner.runtimes import import_runtime
from tfpipe.devices.runner_zip import build_runner

MAX_SECONDS = 0.5
TEXT = "a small bird with a red breast"
# Each prints when it has what it names.
PARTS = {
    "Python": "print(1)",
    "and NumPy": "import numpy; print(1)",
    "and the runtime": "import ai_edge_litert.interpreter; print(1)",
}
RUNNER = "the runner, to its first answer"
RUNNER_FILE = "the runner as one file, to its first answer"


def start(command: list[str], bytecode: str) -> tuple[float, float]:
    """Runs a command, with the bytecode of its modules kept in a folder.

    Returns:
        Seconds to its first output, and seconds of processor time in all.
    """
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    begin = time.perf_counter()
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    )
    assert child.stdout is not None  # noqa: S101
    first = child.stdout.read(1)
    seconds = time.perf_counter() - begin
    child.stdout.read()
    child.stdout.close()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode or not first:
        raise SystemExit(f"{shlex.join(command)} ended with {child.returncode}. Run it by hand.")
    return seconds, usage.ru_utime + usage.ru_stime


def measure(artifact: str, runs: int, work: str) -> dict[str, dict[str, Any]]:
    """Starts every command in turn, `runs` times and once before."""
    runner_file = os.path.join(work, "runner.pyz")
    build_runner(runner_file)
    commands = {name: [sys.executable, "-c", code] for name, code in PARTS.items()}
    commands[RUNNER] = [sys.executable, "-m", "device_runner", "predict", artifact, TEXT]
    commands[RUNNER_FILE] = [sys.executable, runner_file, "predict", artifact, TEXT]
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for index in range(runs + 1):
        for name, command in commands.items():
            sample = start(command, work)
            if index:
                samples[name].append(sample)
    result = {}
    for name, taken in samples.items():
        wall, processor = zip(*taken, strict=True)
        result[name] = {
            "p50_s": round(statistics.median(wall), 4),
            "min_s": round(min(wall), 4),
            "max_s": round(max(wall), 4),
            "processor_p50_s": round(statistics.median(processor), 4),
        }
    return result


def format_page(report: dict[str, Any]) -> str:
    """Returns the Markdown page."""
    rows = [
        f"| {name} | {entry['p50_s']:.3f} | {entry['min_s']:.3f} | {entry['max_s']:.3f} "
        f"| {entry['processor_p50_s']:.3f} |"
        for name, entry in report["measured"].items()
    ]
    loads = report["load_before"] or 0.0, report["load_after"] or 0.0
    busy = (
        "Other programs had the machine: its seconds are not those of a free one; the processor "
        "time is near what these would be."
    )
    return "\n".join(
        [
            "# From starting the runner to the first answer",
            "",
            "Made by `benchmarks/startup.py`; its first lines say what is measured. Command:",
            "",
            f"    {report['command']}",
            "",
            f"{report['machine']}; {report['runtime']}; {report['runs']} starts of each, in turn; "
            f"load average {loads[0]:.1f} before and {loads[1]:.1f} after.",
            *([busy] if max(loads) > report["cores"] else []),
            "",
            "| a fresh process of | seconds p50 | min | max | processor time p50 |",
            "|---|--:|--:|--:|--:|",
            *rows,
            "",
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artifact", help="An artifact folder.")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--markdown", type=Path, help="Write the page there.")
    options = parser.parse_args()
    name, version = import_runtime()[:2]
    fingerprint = machine.read_fingerprint()
    report: dict[str, Any] = {
        "command": shlex.join(["python", *sys.argv]),
        "machine": f"{fingerprint['cpu_model']}, {os.cpu_count()} cores, {sys.platform}",
        "runtime": f"Python {sys.version.split()[0]}, {name} {version}",
        "runs": options.runs,
        "cores": os.cpu_count() or 1,
        "load_before": machine.read_load_average(),
    }
    with tempfile.TemporaryDirectory() as work:
        report["measured"] = measure(options.artifact, options.runs, work)
    report["load_after"] = machine.read_load_average()
    if options.markdown:
        write_file_atomic(options.markdown, format_page(report).encode())
    print(json.dumps(report, indent=1))
    return 0 if report["measured"][RUNNER]["p50_s"] < MAX_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
