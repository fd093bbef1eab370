"""A .tflite file or an artifact folder → what will happen to it on a target and a runtime."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from device_runner.artifact import read_artifact
from device_runner.interpreter import check_model_file
from tfpipe.check.advice import find_advice
from tfpipe.check.context import BRANCHES, LOOPS, Subject
from tfpipe.check.findings import SEVERITIES, Finding
from tfpipe.check.flatbuffer import DamagedFileError
from tfpipe.check.kernels import find_kernels
from tfpipe.check.loading import find_loading
from tfpipe.check.macs import has_calls, multiply_adds
from tfpipe.check.memory import arena_bytes
from tfpipe.check.model import Model
from tfpipe.check.parse import read_model
from tfpipe.check.running import find_running
from tfpipe.check.runtimes import Runtime, min_runtimes, min_tensorflow, parse_runtime
from tfpipe.check.sparse import find_sparse
from tfpipe.check.targets import CHECK_TARGETS, coverage, find_target
from tfpipe.sizes import file_sizes

DEFAULT_TARGET = "cpu"


def check(
    path: str | Path, *, target: str | None = None, runtime: str | None = None
) -> dict[str, Any]:
    """Reads a file, without running it, and says whether it loads and runs whole.

    Args:
        path: A .tflite file, of anybody's, or an artifact folder.
        target: A key of `CHECK_TARGETS`; None is the artifact's own, or "cpu".
        runtime: "NAME==VERSION"; None is the ai-edge-litert that is installed.

    Returns:
        "ok": whether no finding is an error; "target"; "runtime"; "min_runtime": the release, as
        TensorFlow counts, that has every builtin op (None: no known one has), "min_runtimes": the
        same for each runtime in its own count; "ops": {name: count}; "bytes_by_dtype": {dtype:
        bytes of constants}; "bytes_by_kind": {kind: bytes of the file}; "duplicate_bytes": bytes
        of constants that stand in the file once more; "findings": [{"code", "severity",
        "message", "fix"}], errors first; "coverage": for each target the ops that run and those
        that do not; "arena_bytes": least peak of the activations (None: too large to plan);
        "multiply_adds": {op name: count of one run}, "loops": whether a loop's repetitions are
        left out of it, "branches": whether every branch is in it; "inputs" and "outputs";
        "model_size_bytes", "zip_size_bytes" and "zstd_size_bytes", see `tfpipe.sizes`.

    Raises:
        ValueError: Not a .tflite file, a damaged one, or an unknown target or runtime.
        OSError: It cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        artifact = read_artifact(path)
        own = artifact.manifest.target
        target = target or (own if own in CHECK_TARGETS else None)
        path = Path(artifact.model_path)
    target = target or DEFAULT_TARGET
    if target not in CHECK_TARGETS:
        raise ValueError(f"target={target!r} is unknown. Use one of {sorted(CHECK_TARGETS)}.")
    return check_file(path, target, parse_runtime(runtime))


def check_file(path: Path, target: str, runtime: Runtime) -> dict[str, Any]:
    """Returns what `check` returns, of one file.

    Raises:
        ValueError: Not a .tflite file, or a damaged one.
        OSError: It cannot be read.
    """
    check_model_file(str(path))
    data = path.read_bytes()
    try:
        return describe(Subject(read_model(data), target, runtime), data)
    except DamagedFileError as error:
        raise ValueError(
            f"{path} ({len(data)} bytes) is damaged: {error}. Copy or export it again."
        ) from error


def describe(subject: Subject, data: bytes) -> dict[str, Any]:
    """Returns all facts and findings of a file."""
    model = subject.model
    findings = find_all(subject)
    return {
        "ok": not any(finding.severity == "error" for finding in findings),
        "target": subject.target,
        "runtime": str(subject.runtime),
        "min_runtime": min_tensorflow(model.codes),
        "min_runtimes": min_runtimes(model.codes),
        "ops": count_ops(model),
        "bytes_by_dtype": count_bytes(model),
        "bytes_by_kind": count_kinds(model),
        "duplicate_bytes": count_duplicates(model),
        "findings": [finding.to_json() for finding in findings],
        "coverage": coverage(subject),
        "arena_bytes": arena_bytes(subject),
        "multiply_adds": multiply_adds(subject),
        "loops": has_calls(subject, LOOPS),
        "branches": has_calls(subject, BRANCHES),
        **describe_boundary(model),
        **file_sizes(data),
    }


def find_all(subject: Subject) -> list[Finding]:
    """Returns the findings, errors first, otherwise in the order of the rules."""
    rules = (find_loading, find_running, find_kernels, find_sparse, find_target, find_advice)
    unique = list(dict.fromkeys(found for rule in rules for found in rule(subject)))
    return sorted(unique, key=lambda entry: SEVERITIES.index(entry.severity))


def count_ops(model: Model) -> dict[str, int]:
    """Returns {op name: count} over all subgraphs, the most frequent first."""
    counts = Counter(operator.name for graph in model.graphs for operator in graph.operators)
    return dict(counts.most_common())


def count_bytes(model: Model) -> dict[str, int]:
    """Returns {dtype: bytes of constants}; a buffer that several tensors share counts once."""
    sizes: Counter[str] = Counter()
    seen = set()
    for graph in model.graphs:
        for tensor in graph.tensors:
            if tensor.data is not None and tensor.buffer not in seen:
                seen.add(tensor.buffer)
                sizes[tensor.dtype] += len(tensor.data)
    return {name: size for name, size in sizes.most_common() if size}


def count_kinds(model: Model) -> dict[str, int]:
    """Returns {"constants", "metadata", "graph"}: the file's bytes. "graph" is all that is neither:
    tensors, ops, shapes, quantization parameters, names and padding."""
    constants = sum(count_bytes(model).values())
    metadata = sum(map(len, model.metadata.values()))
    graph = model.size_bytes - constants - metadata
    return {"constants": constants, "metadata": metadata, "graph": graph}


def count_duplicates(model: Model) -> int:
    """Returns the bytes of constants that the file holds once more: equal content of one type in
    another buffer. Writing each once would save them."""
    buffers = {
        tensor.buffer: (tensor.dtype, bytes(tensor.data))
        for graph in model.graphs
        for tensor in graph.tensors
        if tensor.data is not None
    }
    return sum(
        len(content) * (count - 1) for (_, content), count in Counter(buffers.values()).items()
    )


def describe_boundary(model: Model) -> dict[str, list[dict[str, Any]]]:
    """Returns the name, type and shape (-1: known at run time) of inputs and outputs."""
    graph = model.graphs[0]
    sides = {"inputs": graph.inputs, "outputs": graph.outputs}
    return {
        side: [
            {"name": tensor.name, "dtype": tensor.dtype, "shape": list(tensor.signature)}
            for tensor in map(graph.tensor, indices)
            if tensor is not None
        ]
        for side, indices in sides.items()
    }


def inspect_tflite(path: Path) -> dict[str, Any]:
    """Returns `check` of a file on CPUs with the runtime that is installed.

    Raises:
        ValueError: Not a .tflite file, or a damaged one.
        OSError: It cannot be read.
    """
    return check(path, target=DEFAULT_TARGET)
