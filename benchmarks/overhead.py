"""Artifacts or .tflite files → does measuring with device_runner tell what a bare loop tells?

    python benchmarks/overhead.py runs/topics/exports/cpu-int8 --output overhead.json \
        --markdown docs/overhead.md

In one process and in blocks that alternate: device_runner's own measuring of a model, a bare loop
over the same interpreter, a bare loop over an interpreter of its own, and a bare loop over LiteRT's
compiled model. Then the runner's own time per call (a model that does nothing in place of the
real one, so that nothing else is in it), the memory of the process over many calls, and LiteRT's
own tool, litert-benchmark. Prints one JSON object; exit 1 if the runner's median is more than 3 %
from the bare loop's beyond doubt, its overhead 3 us or more, or the memory grows.
"""

from __future__ import annotations

import argparse
import gc
import json
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from device_runner import machine
from device_runner.files import write_file_atomic, write_json_atomic
from device_runner.latency import BLOCK_RUNS, DROPPED_RUNS, Contestant, read_timer
from device_runner.runnable import Runnable, open_runnable
from device_runner.turn import Turn
from tfpipe.compare.bootstrap import ratio_of_medians

MAX_DIFFERENCE = 0.03
MAX_OVERHEAD_NS = 3000
MEMORY_RUNS = 100_000
# Pages that Python and the runtime take once, whenever they happen to.
MEMORY_SLACK_BYTES = 2 << 20
KEPT = BLOCK_RUNS - DROPPED_RUNS


class NoModel:
    """A model whose calls do nothing: what is left of a call's time is the measuring."""

    def set_input(self, value: Any) -> None:
        pass

    def invoke(self) -> None:
        pass


def bare_block(set_input: Any, invoke: Any, rows: list[Any], position: int) -> list[int]:
    """The loop that anybody would write."""
    latencies = []
    for run in range(BLOCK_RUNS):
        set_input(rows[(position + run) % len(rows)])
        start = time.perf_counter_ns()
        invoke()
        latencies.append(time.perf_counter_ns() - start)
    return latencies[DROPPED_RUNS:]


def runner_block(turn: Turn) -> list[int]:
    """A block as `device_runner.latency.measure` runs it."""
    result = turn.result
    before = len(result.latencies_ns)
    for run in range(BLOCK_RUNS):
        latency_ns = turn.run_once()
        if run >= DROPPED_RUNS:
            result.latencies_ns.append(latency_ns)
            result.measured_ns += latency_ns
        turn.clock()
    return result.latencies_ns[before:].tolist()


def compiled_loop(path: str, runnable: Runnable) -> tuple[Any, Any]:
    """Setting the input and calling LiteRT's compiled model, the API of litert-benchmark."""
    from ai_edge_litert.compiled_model import CompiledModel

    model = CompiledModel.from_file(path)
    inputs, outputs = model.create_input_buffers(0), model.create_output_buffers(0)
    keep = (model, inputs, outputs)
    return inputs[0].write, lambda: keep[0].run_by_index(0, inputs, outputs)


def loops_of(runnable: Runnable, rows: list[Any]) -> dict[str, Callable[[int], list[int]]]:
    """Name → a function that runs one block from a place in the inputs on."""
    from ai_edge_litert.interpreter import Interpreter

    path = runnable.artifact.model_path if runnable.artifact else runnable.path
    own = Interpreter(model_path=path, num_threads=1)
    own.allocate_tensors()
    index = own.get_input_details()[0]["index"]
    write, run = compiled_loop(path, runnable)
    turn = Turn(Contestant("runner", runnable.model, rows), time.perf_counter_ns)
    same = runnable.model

    def of(set_input: Any, invoke: Any) -> Callable[[int], list[int]]:
        return lambda position: bare_block(set_input, invoke, rows, position)

    same_set = same.interpreter.set_tensor
    return {
        "runner": lambda position: runner_block(turn),
        "bare": of(lambda row: same_set(same.input_index, row), same.interpreter.invoke),
        "bare_own": of(lambda row: own.set_tensor(index, row), own.invoke),
        "compiled_model": of(write, run),
    }


def measure_ratios(runnable: Runnable, rows: list[Any], num_blocks: int) -> dict[str, Any]:
    """The medians of all loops, and the runner's as multiples of the others'."""
    loops = loops_of(runnable, rows)
    samples: dict[str, list[int]] = {name: [] for name in loops}
    names = list(loops)
    gc.collect()
    gc.disable()
    try:
        for block in range(num_blocks):
            for name in names[block % len(names) :] + names[: block % len(names)]:
                samples[name] += loops[name](block * BLOCK_RUNS)
    finally:
        gc.enable()
    found: dict[str, Any] = {
        "p50_ns": {name: int(statistics.median(values)) for name, values in samples.items()}
    }
    for name in names[1:]:
        ratio = ratio_of_medians(samples[name], samples["runner"], paired=True)
        found[f"runner_to_{name}"] = {"ratio": ratio.ratio, "interval": [ratio.low, ratio.high]}
    return found


def measure_overhead(num_blocks: int) -> dict[str, Any]:
    """The runner's time per call beyond the bare loop's, with a model that does nothing."""
    model = NoModel()
    turn = Turn(Contestant("nothing", model, [0]), time.perf_counter_ns)
    spent: dict[str, list[float]] = {"runner": [], "bare": []}
    for _ in range(num_blocks):
        start = time.perf_counter_ns()
        runner_block(turn)
        middle = time.perf_counter_ns()
        bare_block(model.set_input, model.invoke, [0], 0)
        end = time.perf_counter_ns()
        spent["runner"].append((middle - start) / BLOCK_RUNS)
        spent["bare"].append((end - middle) / BLOCK_RUNS)
    medians = {name: statistics.median(values) for name, values in spent.items()}
    return {
        "per_call_ns": medians["runner"],
        "bare_per_call_ns": medians["bare"],
        "beyond_bare_ns": medians["runner"] - medians["bare"],
    }


def resident_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"^VmRSS:\s*(\d+) kB", status, re.MULTILINE)[1]) * 1024


def measure_memory(runnable: Runnable, rows: list[Any]) -> dict[str, Any]:
    """Resident memory before and after many calls; the samples take 8 bytes each."""
    turn = Turn(Contestant("memory", runnable.model, rows), time.perf_counter_ns)
    for _ in range(20):
        runner_block(turn)
    before, kept = resident_bytes(), len(turn.result.latencies_ns)
    for _ in range(MEMORY_RUNS // BLOCK_RUNS):
        runner_block(turn)
    samples = 8 * (len(turn.result.latencies_ns) - kept)
    growth = resident_bytes() - before
    return {
        "num_runs": MEMORY_RUNS,
        "growth_bytes": growth,
        "samples_bytes": samples,
        "beyond_samples_bytes": growth - samples,
    }


VALID_IDS = """
import sys
import numpy as np
from ai_edge_litert.tools import benchmark_litert_model as tool
tool.fill_random_input = lambda buffer, details: buffer.write(np.ones(details["shape"], np.int32))
sys.exit(tool.main())
"""


def run_litert_benchmark(path: str) -> dict[str, Any]:
    """LiteRT's own tool on the same file, as it is and with token ids that every vocabulary has."""
    module = ["-m", "ai_edge_litert.tools.benchmark_litert_model"]
    return {
        "as_it_is": run_tool(module, path),
        "with_valid_ids": run_tool(["-c", VALID_IDS], path),
    }


def run_tool(program: list[str], path: str) -> dict[str, Any]:
    """The tool's result, or what it said before it failed."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "result.json"
        command = [sys.executable, *program, f"--model={path}", "--num_runs=1000"]
        command += ["--warmup_runs=100", "--num_threads=1", f"--result_json={output}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        if done.returncode or not output.is_file():
            errors = re.findall(r"^\w*Error: .*$", done.stderr, re.MULTILINE)
            return {"error": errors[-1][:300] if errors else f"exit code {done.returncode}"}
        return {"result": json.loads(output.read_text())}


def measure(path: str, texts: list[str], num_blocks: int) -> dict[str, Any]:
    runnable = open_runnable(path)
    if runnable.artifact:
        given = texts or [example["text"] for example in runnable.artifact.golden["examples"]]
        rows = [np.ascontiguousarray(runnable.encode(text)) for text in given]
    else:
        rows = [np.zeros((1, runnable.model.sequence_length), np.int32)]
    model_path = runnable.artifact.model_path if runnable.artifact else path
    return {
        "name": runnable.name,
        "artifact": path,
        "runtime": f"{runnable.model.runtime} {runnable.model.runtime_version}",
        **measure_ratios(runnable, rows, num_blocks),
        "memory": measure_memory(runnable, rows),
        "litert_benchmark": run_litert_benchmark(model_path),
    }


def check(record: dict[str, Any]) -> list[str]:
    """What misses its limit."""
    missed = []
    if record["overhead"]["beyond_bare_ns"] >= MAX_OVERHEAD_NS:
        missed.append(f"overhead of {record['overhead']['beyond_bare_ns']:.0f} ns a call")
    for found in record["models"]:
        ratio, (low, high) = found["runner_to_bare"]["ratio"], found["runner_to_bare"]["interval"]
        if abs(ratio - 1) > MAX_DIFFERENCE and not low <= 1 <= high:
            missed.append(f"{found['artifact']}: ratio {ratio:.3f} to the bare loop")
        if found["memory"]["beyond_samples_bytes"] > MEMORY_SLACK_BYTES:
            missed.append(f"{found['artifact']}: memory grows, {found['memory']}")
    return missed


def markdown(record: dict[str, Any]) -> str:
    overhead, timer = record["overhead"], record["timer"]
    lines = [
        "# What measuring costs",
        "",
        "Made by `benchmarks/overhead.py`; its first lines say what is compared. Command:",
        "",
        f"    {record['command']}",
        "",
        f"{record['fingerprint']['cpu_model']}, {record['fingerprint']['num_cores']} cores, "
        f"{record['fingerprint']['os']}; load average {record['load_average'][0]:.1f} before and "
        f"{record['load_average'][1]:.1f} after.",
        "",
        f"- The runner takes {overhead['per_call_ns']:.0f} ns a call around a model that does "
        f"nothing, a bare loop {overhead['bare_per_call_ns']:.0f} ns: "
        f"{overhead['beyond_bare_ns']:.0f} ns more, none of it within what is timed.",
        f"- Two readings of the clock lie {timer['timer_overhead_ns']} ns apart; that is part of "
        "every sample of either loop.",
        "",
        "| artifact | runner p50 | runner / bare loop, same interpreter | runner / bare loop, own "
        "interpreter | runner / compiled model | litert-benchmark | memory beyond the samples |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for found in record["models"]:
        cells = [found["artifact"], f"{found['p50_ns']['runner'] / 1000:.1f} us"]
        for name in ("bare", "bare_own", "compiled_model"):
            ratio = found[f"runner_to_{name}"]
            low, high = ratio["interval"]
            cells.append(f"{ratio['ratio']:.3f} ({low:.3f} to {high:.3f})")
        cells.append(tool_median(found["litert_benchmark"]))
        memory = found["memory"]
        cells.append(f"{memory['beyond_samples_bytes'] / 1024:+.0f} KiB in {memory['num_runs']:,}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", EXPLANATION, ""])


def tool_median(found: dict[str, Any]) -> str:
    """Both results of the tool in one cell."""
    told = []
    for name, result in found.items():
        value = result.get("result", {}).get("latency", result.get("result", {}))
        median = next((v for key, v in value.items() if "median" in key), None)
        text = "fails" if median is None else f"{float(median) * 1000:.1f} us"
        told.append(f"{name.replace('_', ' ')}: {text}")
    return ", ".join(told)


EXPLANATION = """Ratios are of medians, with the 95 % interval of a paired block bootstrap
(`pipeline/compare/bootstrap.py`); blocks of 50 calls alternate, the first 5 of each are dropped. A
second interpreter of the same file has its tensors and packed weights at other addresses: what
differs there is the memory's doing, not the loop's.

`litert-benchmark`, of the ai-edge-litert package, times another API: `CompiledModel`, not
`Interpreter`. Each of its calls registers and synchronises buffers around the same kernels; the
column of the compiled model has what that costs, in our own loop, with the same inputs, in the same
process. The tool itself differs further: it runs alone and not in turn with what it is compared to,
feeds one tensor again and again, so that the looked-up rows stay in the cache, and tells hundredths
of a millisecond. Its tensor is random, token ids from -128 to 127: where a model looks these up, it
fails ("gather index out of bounds"); with ids of 1 in their place it runs."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artifacts", nargs="+")
    parser.add_argument("--texts", help="file of texts, .jsonl or plain lines")
    parser.add_argument("--blocks", type=int, default=200)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    from device_runner.texts import read_texts

    texts = list(read_texts(options.texts))[:2000] if options.texts else []
    load = machine.read_load_average() or 0.0
    record: dict[str, Any] = {
        "command": shlex.join(["python", *sys.argv]),
        "fingerprint": machine.read_fingerprint(),
        "timer": read_timer(),
        "overhead": measure_overhead(2000),
        "models": [measure(path, texts, options.blocks) for path in options.artifacts],
    }
    record["load_average"] = [load, machine.read_load_average() or 0.0]
    record["missed"] = check(record)
    if options.output:
        write_json_atomic(options.output, record)
    if options.markdown:
        write_file_atomic(options.markdown, markdown(record).encode())
    print(json.dumps(record, indent=1))
    return 1 if record["missed"] else 0


if __name__ == "__main__":
    sys.exit(main())
