"""A model → how long each kind of op takes in it, and what a delegate took, as the runtime says."""

from __future__ import annotations

import time
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from device_runner.buckets import BucketedModel
from device_runner.interpreter import Model
from device_runner.litert_c import ProfiledModel, ProfilerError, names_of
from device_runner.op_prefixes import profile_prefixes
from device_runner.op_times import combine, faster_half, summarize
from device_runner.percentiles import percentile
from device_runner.runnable import Runnable, open_runnable
from device_runner.texts import read_texts
from device_runner.turn import Contestant, Turn

WARMUP_RUNS = 20
# A loop or a branch runs other ops for another text: each text is called several times.
MAX_TEXTS = 50
# Columns of `ProfiledModel.take_events`: type and node.
_KIND = slice(1, 3)
# Largest difference of an output from the interpreter's: the same kernels in the same order.
_ATOL = 1e-4


def profile_ops(
    path: str,
    *,
    num_threads: int = 1,
    num_runs: int = 500,
    texts: Optional[str] = None,
    delegate: Optional[str] = None,
) -> Dict[str, Any]:
    """Returns where the time of a call goes, op by op; of several graphs, that of full length.

    The runtime's own profiler is asked, where it has one: LiteRT's, in its compiled model, not in
    its interpreter: the same kernels behind another interface. It reads the clock around each
    op and tells whole microseconds. An op of the interpreter is the difference of two readings, so
    that its mean over many calls is right however short it is. Of an op within XNNPACK the
    difference itself is rounded down: what is short is told too short, below a microsecond as
    nothing. `short_ops` counts those. Writing the events down makes a profiled call longer than
    a plain one and leaves its caches colder: the shares are what to read, not the times.

    Args:
        path: Artifact folder or .tflite file.
        num_threads: CPU threads.
        num_runs: Calls that are profiled, at least 1, after a warm-up of 20; of each text's calls
            the faster half is averaged, and then those of all texts.
        texts: File of texts; without it an artifact's goldens, and zeros for a bare .tflite.
        delegate: None or "cpu": the profiler knows no other.

    Returns:
        `method`: "runtime", or "prefixes" where there is no profiler or it does not take the file
        (`no_profiler_reason`); see `op_prefixes`. `num_runs`, `averaged_runs`. `ops`: for each kind
        of op, slowest first, `op`, `kernel` (what runs it), `where` ("interpreter" or "delegate"),
        `count` in a call (the mean, rounded, where texts differ in it; ops within a loop each time
        that they run; a loop is one op by prefixes), `mean_ns` (all of them together) and `share`
        of `attributed_ns`, the sum. `short_ops`: how many ops of the delegate are too short to be
        seen. `profiled_call_ns`: a whole call under the profiler, or of the longest prefix;
        `plain_call_ns`: median of calls without it. `nodes`: as `delegation.count_nodes`.
        `model_sha256`, runtime, its version, threads.

    Raises:
        ProfilerError: Another delegate, or several graphs in a runtime without a profiler.
        ValueError: The artifact is not whole, the compiled model computes something else than the
            interpreter, or its calls are not alike.
    """
    if num_runs < 1:
        raise ValueError(f"num_runs={num_runs}, expected at least 1. Use 500.")
    runnable = open_runnable(path, num_threads, delegate=delegate)
    model = runnable.model
    if isinstance(model, BucketedModel):
        model.use_full_length()
    if not isinstance(model, Model) or model.delegate != "cpu":
        raise ProfilerError(
            f"{model.runtime} {model.runtime_version} on delegate {model.delegate} tells nothing "
            "of its ops. Use --delegate cpu for per-op times."
        )
    inputs = _inputs(runnable, texts)
    try:
        record = _ask_runtime(runnable, num_threads, inputs, num_runs)
    except ProfilerError as error:
        if isinstance(model, BucketedModel):  # its full length need not be the first graph
            raise
        record = profile_prefixes(model, _model_path(runnable), inputs, num_runs)
        record["no_profiler_reason"] = str(error)
    record["plain_call_ns"] = _plain_call(runnable, inputs, num_runs)
    record.update(
        num_runs=num_runs,
        nodes=model.count_nodes(),
        model_sha256=runnable.model_sha256,
        runtime=model.runtime,
        runtime_version=model.runtime_version,
        num_threads=num_threads,
    )
    return record


def _ask_runtime(
    runnable: Runnable, num_threads: int, inputs: Sequence[Any], num_runs: int
) -> Dict[str, Any]:
    """Returns what the runtime's own profiler tells; ProfilerError where there is none."""
    model = runnable.model
    if model.runtime != "ai-edge-litert":
        raise ProfilerError(f"{model.runtime} {model.runtime_version} has no profiler in Python.")
    profiled = _open_profiled(runnable, num_threads, inputs[0])
    averaged = _average(profiled, inputs, num_runs)
    record = combine([summarize(names, kinds, means) for names, kinds, means in averaged])
    return {"method": "runtime", "averaged_runs": (num_runs + 1) // 2, **record}


def _model_path(runnable: Runnable) -> str:
    artifact = runnable.artifact
    return artifact.model_path if artifact is not None else runnable.path


def _inputs(runnable: Runnable, texts: Optional[str]) -> List[np.ndarray[Any, Any]]:
    if runnable.artifact is None:
        return [np.zeros((1, runnable.model.sequence_length), np.int32)]
    if texts:
        given = [text for text, _ in zip(read_texts(texts), range(MAX_TEXTS))]
    else:
        given = [example["text"] for example in runnable.artifact.golden["examples"]]
    if not given:
        raise ValueError(f"{texts} has no texts, expected at least 1. Give a file with texts.")
    rows = [np.ascontiguousarray(runnable.encode(text), np.int32) for text in given]
    for row in rows:
        runnable.check_token_ids(row)
    return rows


def _plain_call(runnable: Runnable, inputs: Sequence[Any], num_runs: int) -> Optional[int]:
    """Returns the median of calls of the interpreter, None of too few."""
    turn = Turn(Contestant(runnable.name, runnable.model, inputs), time.perf_counter_ns)
    for _ in range(WARMUP_RUNS):
        turn.run_once()
    return percentile([turn.run_once() for _ in range(num_runs)], 50.0)


def _open_profiled(
    runnable: Runnable, num_threads: int, token_ids: np.ndarray[Any, Any]
) -> ProfiledModel:
    model = runnable.model
    shapes = ((1, model.sequence_length), (1, model.num_classes))
    profiled = ProfiledModel(_model_path(runnable), shapes, num_threads)
    error = float(np.abs(profiled.run(token_ids) - model.run(token_ids)).max())
    if not error <= _ATOL:  # so that NaN fails
        raise ValueError(
            f"the compiled model's outputs differ from the interpreter's by {error:.3g}, at most "
            f"{_ATOL} is expected. Its per-op times would be those of another model."
        )
    return profiled


def _average(
    model: ProfiledModel, inputs: Sequence[np.ndarray[Any, Any]], num_runs: int
) -> List[Tuple[List[str], np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """Returns, for each input, names, kinds and mean microseconds of the events of a call."""
    for run in range(WARMUP_RUNS):
        model.run(inputs[run % len(inputs)])
    model.take_events()
    calls: List[List[np.ndarray[Any, Any]]] = [[] for _ in inputs[:num_runs]]
    names: List[List[str]] = []
    for run in range(num_runs):
        place = run % len(inputs)
        model.run(inputs[place])
        calls[place].append(model.take_events())
        if run == place:
            # At once: a branch that is prepared again has its names elsewhere.
            names.append(names_of(model, calls[place][0]))
        first, last = calls[place][0], calls[place][-1]
        if not np.array_equal(first[:, _KIND], last[:, _KIND]):
            raise ValueError(
                f"call {run} had {len(last)} events, the first of the same text had {len(first)}: "
                "calls of this model are not alike, so their ops have no mean. Run without per-op "
                "times."
            )
    averaged = []
    for told, found in zip(names, calls):
        kinds = found[0][:, _KIND]
        elapsed = faster_half(np.stack([events[:, 3] for events in found]), kinds)
        averaged.append((told, kinds, elapsed.mean(axis=0)))
    return averaged
