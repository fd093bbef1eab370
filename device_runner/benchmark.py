"""Paths of artifacts and models + texts → one record of latencies, settings and verdict each."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np

from device_runner import machine, validity
from device_runner.cycles import measure_cycles
from device_runner.encode import Tokenizer
from device_runner.latency import measure, read_timer
from device_runner.profiles import Profile, as_profile
from device_runner.record import (
    describe_inputs,
    describe_measurement,
    doubts,
    identity,
    input_notes,
    samples,
)
from device_runner.runnable import Runnable, check_goldens, open_runnable
from device_runner.texts import read_texts, read_token_ids
from device_runner.turn import Contestant

# Enough that no run meets an input again soon, few enough that a slow board tokenizes them fast.
MAX_INPUTS = 2000
SEED = 1


def benchmark(
    paths: Sequence[str],
    *,
    texts: Sequence[str] = (),
    token_ids: Optional[str] = None,
    profile: Union[Profile, str] = "quick",
    progress: Callable[[str], None] = lambda phase: None,
    **loading: Any,
) -> List[Dict[str, Any]]:
    """Measures artifacts and bare .tflite files, interleaved, in this process.

    Args:
        paths: Artifact folders and .tflite files.
        texts: Files of texts for the artifacts (`read_texts`): none, one for all, or one for each
            path, "" where it has none.
        token_ids: .npy file of token ids for bare .tflite files; without it they get zeros.
        profile: A key of `PROFILES`, or what `choose_profile` returns.
        progress: Told the name of the phase after every block of calls.
        **loading: Of `open_runnable`: `num_threads`, `runtime` and `delegate`, for all.

    Returns:
        One record for each path, in order. `validity` says what it is worth.

    Raises:
        ValueError: An artifact is not whole or fails its goldens (then nothing is measured), or
            an input file does not fit.
        RuntimeNotFoundError: No TFLite runtime is installed.
        OSError: A file cannot be read.
    """
    profile = as_profile(profile)
    runnables = [_open_checked(path, loading) for path in paths]
    fed = [
        _feed(runnable, chosen, token_ids)
        for runnable, chosen in zip(runnables, choose_texts(texts, runnables))
    ]
    contestants = [contestant for contestant, _ in fed]
    before = validity.read_state()
    measurements = measure(contestants, profile, progress=progress)
    after = validity.read_state()
    timer = read_timer()
    shared = {
        "profile": profile.name,
        **timer,
        "load_average_before": before.load_average,
        "load_average_after": after.load_average,
        "fingerprint": machine.read_fingerprint(),
    }
    records = []
    for runnable, (contestant, source), measurement in zip(runnables, fed, measurements):
        record = identity(runnable)
        fed_with = describe_inputs(runnable, contestant.inputs, contestant.texts)
        record.update(input_source=source, **fed_with, **shared)
        numbers = describe_measurement(measurement, profile)
        record.update(numbers)
        # After the measurement, which must not know of it.
        record.update(measure_cycles(runnable.model, contestant.inputs))
        verdict, reasons = validity.judge(
            measurement,
            before,
            after,
            num_threads=runnable.model.num_threads,
            num_cores=machine.count_usable_cores(),
            notes=[*input_notes(runnable, source), *doubts(numbers, timer["timer_overhead_ns"])],
        )
        record.update(validity=verdict, validity_reasons=reasons, **samples(measurement))
        records.append(record)
    return records


def measure_memory(path: str, num_runs: int = 50, **loading: Any) -> Dict[str, Any]:
    """Returns the peak memory of this process after loading a model and calling it.

    To be run in a process of its own, since the peak of a process never falls.

    Args:
        path: Artifact folder or .tflite file.
        num_runs: Calls after the first one.
        **loading: As for `benchmark`.

    Returns:
        `peak_memory_bytes`: of the whole process, with Python, NumPy and the runtime.
        `baseline_memory_bytes`: before the runtime was loaded. Both None where the system does
        not say.

    Raises:
        ValueError: As for `open_runnable`.
    """
    baseline = machine.read_peak_memory()
    runnable = open_runnable(path, **loading)
    token_ids = np.zeros((1, runnable.model.sequence_length), np.int32)
    if runnable.artifact is not None:
        token_ids[0] = runnable.artifact.golden["examples"][0]["token_ids"]
    for _ in range(1 + num_runs):
        runnable.model.run(token_ids)
    return {
        "artifact": path,
        "model_sha256": runnable.model_sha256,
        "peak_memory_bytes": machine.read_peak_memory(),
        "baseline_memory_bytes": baseline,
    }


def _open_checked(path: str, loading: Dict[str, Any]) -> Runnable:
    """No latency of a model that computes something else than the host did."""
    runnable = open_runnable(path, **loading)
    if runnable.artifact is not None:
        golden = check_goldens(runnable)
        if not golden["passed"]:
            raise ValueError(
                f"{path} is not measured: {'; '.join(golden['failures'][:3])}. Use another "
                "runtime version, or export it again for this one."
            )
    return runnable


def choose_texts(files: Sequence[str], runnables: Sequence[Runnable]) -> List[List[str]]:
    """Returns for each model at most `MAX_INPUTS` texts, shuffled as every Python repeats it.

    Args:
        files: Files of texts: none, one for all, or one for each model, "" where it has none.
        runnables: The models.

    Raises:
        ValueError: Another number of files, one without texts, or nothing but bare .tflite files.
        OSError: A file cannot be read.
    """
    if len(files) > 1 and len(files) != len(runnables):
        raise ValueError(
            f"{len(files)} files of texts for {len(runnables)} models, expected one for all or one "
            'for each. Give --texts once, or once for each model ("" for none).'
        )
    if any(files) and all(runnable.artifact is None for runnable in runnables):
        raise ValueError(
            f"texts={files[0]}, but every model is a bare .tflite without a vocabulary. Give token "
            "ids as a .npy file, or artifact folders."
        )
    chosen = {file: _shuffled_texts(file) for file in set(files) if file}
    for_each = list(files) if len(files) == len(runnables) else list(files) * len(runnables)
    return [chosen.get(file, []) for file in for_each or [""] * len(runnables)]


def _shuffled_texts(path: str) -> List[str]:
    every = list(read_texts(path))
    if not every:
        raise ValueError(f"{path} has no texts, expected at least 1. Give a file with texts.")
    # RandomState's stream is frozen (NEP 19), in NumPy 1 and 2 alike.
    order = np.random.RandomState(SEED).permutation(len(every))[:MAX_INPUTS]
    return [every[index] for index in order]


def _feed(runnable: Runnable, texts: List[str], token_ids: Optional[str]) -> Tuple[Contestant, str]:
    """Returns the contestant with its inputs, and where they came from."""
    if runnable.artifact is not None:
        inputs, used, source = inputs_of(runnable, texts)
        contestant = Contestant(
            runnable.name, runnable.model, inputs, used, runnable.encode, runnable.decode
        )
        return contestant, source
    if token_ids is None:
        rows, source = np.zeros((1, runnable.model.sequence_length), np.int32), "zeros"
    else:
        rows, source = read_token_ids(token_ids), "token_ids"
        rows = rows[np.random.RandomState(SEED).permutation(len(rows))[:MAX_INPUTS]]
    runnable.check_token_ids(rows)
    return Contestant(runnable.name, runnable.model, _split_rows(rows)), source


def inputs_of(
    runnable: Runnable, texts: Sequence[str]
) -> Tuple[List[np.ndarray[Any, Any]], Sequence[str], str]:
    """Returns what an artifact is fed with: token ids of each text, int32 (1, T), the texts, and
    where they are from, "texts" or, without any given, "goldens"."""
    artifact: Any = runnable.artifact
    used = texts or [example["text"] for example in artifact.golden["examples"]]
    # A tokenizer of its own: the artifact's must not have met the words of the end-to-end runs.
    tokenizer = Tokenizer(artifact.tokenizer.spec, artifact.tokenizer.vocabulary)
    length = runnable.model.sequence_length
    rows = np.stack([tokenizer.encode_padded(text, length) for text in used])
    runnable.check_token_ids(rows)
    return _split_rows(rows), used, "texts" if texts else "goldens"


def _split_rows(rows: np.ndarray[Any, Any]) -> List[np.ndarray[Any, Any]]:
    return [rows[index : index + 1] for index in range(len(rows))]
