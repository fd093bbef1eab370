"""Files of a run → which load in tflite-runtime 2.14.0, and those measured there together.

    python benchmarks/old_runtime.py RUN OUTPUT.json NAME=MODEL.tflite…

Run by peers.py. That runtime ended with 2.14.0 and is what many boards have. It lives in an
environment of its own, which `tfpipe export --runtime` makes too.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from peer_latency import read_inputs

from device_runner.files import write_json_atomic
from tfpipe.devices.environment import OLDEST, NoEnvironmentError, environment_python, parse_runtime
from tfpipe.run_folder import RunFolder

ROOT = Path(__file__).resolve().parents[1]


def bench(python: Path, files: dict[str, str], token_ids: Path) -> dict[str, list[int]] | str:
    """Returns {name: latencies in nanoseconds} in that Python, or what it said as it failed."""
    output = token_ids.with_suffix(".bench.json")
    options = ["--token-ids", str(token_ids), "--output", str(output)]
    command = [str(python), "-m", "device_runner", "bench", *options, "--", *files.values()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["it printed nothing"])[-1][:200]
    results = json.loads(output.read_text("utf-8"))["results"]
    samples = [entry["latencies_ns"] for entry in results]
    return dict(zip(files, samples, strict=True))


def main() -> None:
    """Writes {"latencies_ns": {name: samples}, "failed": {name: words}} or {"error"}."""
    folder, output = RunFolder(Path(sys.argv[1])), Path(sys.argv[2])
    pairs = (item.split("=", 1) for item in sys.argv[3:])
    files = {name: str(Path(path).resolve()) for name, path in pairs}
    try:
        python = environment_python(parse_runtime(OLDEST))
    except NoEnvironmentError as error:
        write_json_atomic(output, {"error": str(error)})
        return
    token_ids = output.with_suffix(".npy").resolve()
    np.save(token_ids, read_inputs(folder)[1])
    alone = {name: bench(python, {name: path}, token_ids) for name, path in files.items()}
    failed = {name: said for name, said in alone.items() if isinstance(said, str)}
    loaded = {name: path for name, path in files.items() if name not in failed}
    found: dict[str, Any] = {"failed": failed}
    together = bench(python, loaded, token_ids)
    key = "error" if isinstance(together, str) else "latencies_ns"
    write_json_atomic(output, {**found, key: together})


if __name__ == "__main__":
    main()
