"""A model → how long each kind of op takes in it, and what a delegate took, as the runtime says."""

from __future__ import annotations

import time
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from device_runner.buckets import BucketedModel
from device_runner.interpreter import Model
from device_runner.litert_c import ProfiledModel, ProfilerError, names_of
from device_runner.percentiles import percentile
from device_runner.runnable import Runnable, open_runnable
from device_runner.texts import read_texts
from device_runner.turn import Contestant, Turn

WARMUP_RUNS = 20
MAX_TEXTS = 200
_PHASE, _OP, _DELEGATE_OPS = 1, 2, (4, 8)
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

    The runtime's own profiler is asked, LiteRT's, which its compiled model has and its
    interpreter has not: the same kernels behind another interface. It reads the clock around each
    op and tells whole microseconds. An op of the interpreter is the difference of two readings, so
    that its mean over many calls is right however short it is. Of an op within XNNPACK the
    difference itself is rounded down: what is short is told too short, below a microsecond as
    nothing. `short_ops` counts those. Writing the events down makes a profiled call longer than
    a plain one and leaves its caches colder: the shares are what to read, not the times.

    Args:
        path: Artifact folder or .tflite file.
        num_threads: CPU threads.
        num_runs: Calls that are profiled, at least 1, after a warm-up of 20; the faster half of
            them is averaged.
        texts: File of texts; without it an artifact's goldens, and zeros for a bare .tflite.
        delegate: None or "cpu": the profiler knows no other.

    Returns:
        `method`: "runtime". `num_runs`, `averaged_runs`. `ops`: for each kind of op, slowest
        first, `op`, `kernel` (what runs it), `where` ("interpreter" or "delegate"), `count` in a
        call, `mean_ns` (all of them together) and `share` of `attributed_ns`, the sum.
        `short_ops`: how many ops of the delegate are too short to be seen. `profiled_call_ns`: a
        whole call under the profiler; `plain_call_ns`: median of calls without it. `nodes`: as
        `delegation.count_nodes`. `model_sha256`, runtime, its version, threads.

    Raises:
        ProfilerError: The runtime has no profiler that is known here.
        ValueError: The artifact is not whole, the compiled model computes something else than the
            interpreter, or its calls are not alike.
    """
    if num_runs < 1:
        raise ValueError(f"num_runs={num_runs}, expected at least 1. Use 500.")
    runnable = open_runnable(path, num_threads, delegate=delegate)
    model = runnable.model
    if isinstance(model, BucketedModel):
        model.use_full_length()
    is_known = isinstance(model, Model) and model.runtime == "ai-edge-litert"
    if not is_known or model.delegate != "cpu":
        raise ProfilerError(
            f"{model.runtime} {model.runtime_version} on delegate {model.delegate} has no profiler "
            "in Python. Use ai-edge-litert 2.3.0 and --delegate cpu for per-op times."
        )
    inputs = _inputs(runnable, texts)
    profiled = _open_profiled(runnable, num_threads, inputs[0])
    names, kinds, means = _average(profiled, inputs, num_runs)
    record = summarize(names, kinds, means)
    record["plain_call_ns"] = _plain_call(runnable, inputs, num_runs)
    record.update(
        method="runtime",
        num_runs=num_runs,
        averaged_runs=(num_runs + 1) // 2,
        nodes=model.count_nodes(),
        model_sha256=runnable.model_sha256,
        runtime=model.runtime,
        runtime_version=model.runtime_version,
        num_threads=num_threads,
    )
    return record


def summarize(
    names: Sequence[str], kinds: np.ndarray[Any, Any], means_us: np.ndarray[Any, Any]
) -> Dict[str, Any]:
    """Returns `profiled_call_ns`, `attributed_ns`, `short_ops` and `ops` of one averaged call.

    Args:
        names: Of the events, in order.
        kinds: int64 (n, 2), type and node of each event.
        means_us: float64 (n,), mean microseconds of each.

    Raises:
        ValueError: No event is the call itself.
    """
    call_us, short_ops = 0.0, 0
    groups: Dict[Tuple[str, str], List[float]] = {}
    for name, kind, mean in zip(names, kinds[:, 0], means_us):
        if kind == _PHASE and name == "Invoke":
            call_us += float(mean)
        elif kind == _OP or kind in _DELEGATE_OPS:
            where = "interpreter" if kind == _OP else "delegate"
            groups.setdefault((name, where), []).append(float(mean))
            short_ops += kind != _OP and mean < 1
    attributed_us = sum(map(sum, groups.values()))
    if not call_us or not attributed_us:
        raise ValueError(
            f"the profiler told {len(names)} events and nothing that takes time, expected a call "
            "and its ops. Use ai-edge-litert 2.3.0, or a larger model."
        )
    ops: List[Dict[str, Any]] = [
        {
            "op": name.split(" (")[0],
            "kernel": name,
            "where": where,
            "count": len(found),
            "mean_ns": 1000 * sum(found),
            "share": sum(found) / attributed_us,
        }
        for (name, where), found in groups.items()
    ]
    ops.sort(key=lambda item: (-item["mean_ns"], item["kernel"]))
    return {
        "profiled_call_ns": 1000 * call_us,
        "attributed_ns": 1000 * attributed_us,
        "short_ops": int(short_ops),
        "ops": ops,
    }


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
    model, artifact = runnable.model, runnable.artifact
    path = artifact.model_path if artifact is not None else runnable.path
    shapes = ((1, model.sequence_length), (1, model.num_classes))
    profiled = ProfiledModel(path, shapes, num_threads)
    error = float(np.abs(profiled.run(token_ids) - model.run(token_ids)).max())
    if not error <= _ATOL:  # so that NaN fails
        raise ValueError(
            f"the compiled model's outputs differ from the interpreter's by {error:.3g}, at most "
            f"{_ATOL} is expected. Its per-op times would be those of another model."
        )
    return profiled


def _average(
    model: ProfiledModel, inputs: Sequence[np.ndarray[Any, Any]], num_runs: int
) -> Tuple[List[str], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Returns names, kinds and mean microseconds of the events of a call."""
    for run in range(WARMUP_RUNS):
        model.run(inputs[run % len(inputs)])
    model.take_events()
    model.run(inputs[0])
    first = model.take_events()
    kinds, elapsed = first[:, 1:3], [first[:, 3]]
    for run in range(1, num_runs):
        model.run(inputs[run % len(inputs)])
        events = model.take_events()
        if not np.array_equal(events[:, 1:3], kinds):
            raise ValueError(
                f"call {run} had {len(events)} events, the first had {len(first)}: calls of this "
                "model are not alike, so their ops have no mean. Run without per-op times."
            )
        elapsed.append(events[:, 3])
    return names_of(model, first), kinds, faster_half(np.stack(elapsed), kinds).mean(axis=0)


def faster_half(
    elapsed_us: np.ndarray[Any, Any], kinds: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """Returns the half of the calls whose ops took least altogether; one call stays.

    A mean takes in every interruption of the process. Where these fall on an op by chance, they
    say nothing of it.

    Args:
        elapsed_us: (calls, events), elapsed microseconds.
        kinds: (events, 2), type and node of each event.
    """
    are_ops = np.isin(kinds[:, 0], (_OP, *_DELEGATE_OPS))
    order = np.argsort(elapsed_us[:, are_ops].sum(axis=1), kind="stable")
    return elapsed_us[order[: (len(order) + 1) // 2]]
