"""Models + TFLite's benchmark_model + a phone without Python → latencies, and what is not known."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from device_runner.artifact import read_artifact
from device_runner.files import write_file_atomic
from device_runner.profiles import Profile
from tfpipe.bench.benchmark_log import parse_delegate, parse_log
from tfpipe.bench.file import SAMPLES, format_record, write_to_runs
from tfpipe.bench.subject import subject_of
from tfpipe.check.parse import read_model
from tfpipe.devices import DeviceLostError
from tfpipe.devices.address import parse_address
from tfpipe.devices.phone import Phone

# Loading the model, beside what the profile takes.
_START_S = 60.0
# What the runner would say and this tool does not.
_UNKNOWN = (
    "warmup_ns measure_ns p90_ns p95_ns p99_ns p99_9_ns end_to_end_p50_ns end_to_end_p90_ns "
    "tokenize_p50_ns decode_p50_ns timer_overhead_ns load_average_before load_average_after "
    "peak_memory_bytes baseline_memory_bytes runtime_version cycles_per_inference cycles_reason "
    "nodes buckets"
).split()


@dataclass(frozen=True)
class Input:
    """The one input of a model.

    Attributes:
        name: Of its tensor.
        length: Token ids of one text.
        token_ids: int32, what the tool feeds in every call.
        source: "goldens" or "zeros".
    """

    name: str
    length: int
    token_ids: bytes
    source: str


def bench_with_tool(
    paths: Sequence[Path],
    device: str,
    tool: Path,
    *,
    profile: Profile,
    num_threads: int = 1,
    output: Path | None = None,
) -> dict[str, Any]:
    """Measures with Google's benchmark_model, for Android devices without Python.

    The tool computes with one input again and again and never shows a result: that the file
    computes there what it does here is not verified, and every result says so.

    Args:
        paths: Artifact folders and bare .tflite files.
        device: "adb" or "adb:SERIAL".
        tool: benchmark_model, built for the device.
        profile: "quick" or "mlperf": fewest runs and shortest time.
        num_threads: CPU threads.
        output: Where to write the results; without it they go to RUN/bench of each run.

    Returns:
        The record of `tfpipe.bench`; what the tool does not say is None.

    Raises:
        ValueError: An artifact is not verified here, another kind of device or profile, or the
            tool fails on every model.
        DeviceLostError: The phone went away.
        OSError: A file cannot be read or written, or adb is not installed.
    """
    address = parse_address(device)
    if address.kind != "adb" or profile.rate_hz or profile.duration_ns:
        raise ValueError(
            f"device={device!r} with profile={profile.name!r}, expected adb with quick or mlperf. "
            "Any other is measured by the device's Python, without --benchmark-model."
        )
    subjects = [subject_of(Path(path), None) for path in paths]
    phone = Phone(address)
    program = phone.push(tool.read_bytes(), executable=True)
    failures, results = [], []
    for subject in subjects:
        try:
            results.append(_measure(phone, program, subject.path, profile, num_threads))
        except DeviceLostError:
            raise
        except ValueError as error:
            failures.append({"artifact": str(subject.path), "error": f"{subject.path}: {error}"})
    if not results:
        raise ValueError("\n".join(failure["error"] for failure in failures))
    record = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": {
            "artifacts": [str(path) for path in paths],
            "device": address.name,
            "num_threads": num_threads,
            "profile": asdict(profile),
            "benchmark_model_sha256": hashlib.sha256(tool.read_bytes()).hexdigest(),
        },
        "failures": failures,
        "results": results,
    }
    if output is not None:
        write_file_atomic(output, format_record(record))
    else:
        write_to_runs(record, {str(item.path): item.run for item in subjects if item.run})
    return record


def _measure(
    phone: Phone, program: str, path: Path, profile: Profile, num_threads: int
) -> dict[str, Any]:
    artifact = read_artifact(path) if path.is_dir() else None
    data = Path(artifact.model_path).read_bytes() if artifact else path.read_bytes()
    nothing: dict[str, Any] = {"text": "", "token_ids": None}
    example = artifact.golden["examples"][0] if artifact else nothing
    given = _input_of(data, example["token_ids"])
    log = _run_tool(phone, program, data, given, profile, num_threads)
    manifest = artifact.manifest if artifact else None
    emulated = "1" in phone.shell(["getprop", "ro.boot.qemu"])
    record = {
        "artifact": str(path),
        "name": manifest.name if manifest else path.stem,
        "scheme": manifest.scheme if manifest else None,
        "target": manifest.target if manifest else None,
        "lowering": manifest.lowering if manifest else None,
        "model_sha256": hashlib.sha256(data).hexdigest(),
        "model_size_bytes": len(data),
        "sequence_length": given.length,
        "runtime": "benchmark_model",
        "delegate": parse_delegate(log),
        "num_threads": num_threads,
        "profile": profile.name,
        "input_source": given.source,
        "num_inputs": 1,
        "inputs_sha256": hashlib.sha256(example["text"].encode()).hexdigest(),
        "mean_tokens": float(np.count_nonzero(np.frombuffer(given.token_ids, "<i4"))),
        **dict.fromkeys(_UNKNOWN),
        **parse_log(log),
        "dropped_runs": 0,
        "capped": [],
        "end_to_end_runs": 0,
        "fingerprint": _fingerprint(phone),
        "validity": "degraded",
        "validity_reasons": [
            "the file's numerics were not verified on that phone: benchmark_model shows no outputs",
            "every call has the same input",
        ],
        "device": phone.address.name,
        "device_kind": "emulated" if emulated else "native",
    }
    return {**record, **{key: [] for key in SAMPLES}}


def _run_tool(
    phone: Phone, program: str, data: bytes, given: Input, profile: Profile, num_threads: int
) -> str:
    """Returns the tool's log; its parameters: tensorflow/lite/tools/benchmark/README.md."""
    values = phone.push(given.token_ids)
    seconds = profile.measure_ns / 1e9
    words = [program, f"--graph={phone.push(data)}", f"--num_threads={num_threads}"]
    words += [f"--num_runs={profile.num_runs}", f"--min_secs={seconds}", "--warmup_min_secs=0.5"]
    words += [f"--warmup_runs={profile.warmup_runs}", f"--max_secs={profile.max_ns / 1e9:.0f}"]
    words += [f"--input_layer={given.name}", f"--input_layer_shape=1,{given.length}"]
    # The tool's own escape for a colon in a name.
    words += [f"--input_layer_value_files={given.name.replace(':', '::')}:{values}"]
    return phone.shell(words, time_limit_s=_START_S + 2 * profile.max_ns / 1e9)


def _input_of(data: bytes, token_ids: list[int] | None) -> Input:
    graph = read_model(data).graphs[0]
    tensors = [graph.tensor(index) for index in graph.inputs]
    tensor = tensors[0] if tensors else None
    if len(tensors) != 1 or tensor is None or tensor.dtype != "int32" or len(tensor.shape) != 2:
        found = ", ".join(f"{item.dtype} {list(item.shape)}" for item in tensors if item)
        raise ValueError(
            f"the model's inputs are {found or 'none'}, expected one int32 [1, N]. Export a text "
            "classifier of batch 1."
        )
    length = tensor.shape[1]
    values = np.zeros(length, "<i4") if token_ids is None else np.array(token_ids, "<i4")
    source = "zeros" if token_ids is None else "goldens"
    return Input(tensor.name, length, values.tobytes(), source)


def _fingerprint(phone: Phone) -> dict[str, Any]:
    """Returns the keys of the runner's fingerprint that a shell without Python can tell."""

    def ask(*words: str) -> str | None:
        try:
            return phone.shell(words).strip() or None
        except DeviceLostError:
            raise
        except ValueError:
            return None

    maker, model = ask("getprop", "ro.product.manufacturer"), ask("getprop", "ro.product.model")
    release, cores = ask("getprop", "ro.build.version.release"), ask("nproc")
    return {
        "machine": ask("uname", "-m"),
        "cpu_model": ask("getprop", "ro.soc.model") or ask("getprop", "ro.board.platform"),
        "board": " ".join(filter(None, (maker, model))) or None,
        "num_cores": int(cores) if cores and cores.isdigit() else None,
        "os": f"Android {release}" if release else None,
        "python": None,
    }
