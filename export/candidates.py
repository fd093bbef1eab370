"""Lowerings that a request leaves open → the file that is right and fastest where it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfpipe.devices import Device, RunnerDiedError
from tfpipe.export.child import Child
from tfpipe.export.converter import KERAS_FILE, convert_each
from tfpipe.export.target import ExportError
from tfpipe.run_model import run_model
from tfpipe.thresholds import THRESHOLDS

PROBE_FILE = "probe.npy"
# Of files whose medians lie within this share of the fastest one's, the smallest is taken: a short
# measurement cannot tell them apart.
TIE = 1.05
MEASURE_SECONDS = 300.0


@dataclass
class Candidate:
    """One lowering of a model, and what became of it.

    Attributes:
        lowering: How a recurrence is written.
        model_size_bytes: Size of its file; None if there is none.
        mean_abs_error: Mean of |probability - Keras' probability| over real texts.
        p50_ns: Median of one invoke, one thread, the candidates in turn.
        num_runs: Invokes behind that median.
        error: Why it was left out; None if it was not.
    """

    lowering: str
    model_size_bytes: int | None = None
    mean_abs_error: float | None = None
    p50_ns: int | None = None
    num_runs: int | None = None
    error: str | None = None


def convert_fastest(
    job: dict[str, Any],
    work: Path,
    lowerings: Sequence[str],
    *,
    token_ids: NDArray[np.int32],
    device: Device,
    child: Child,
) -> tuple[Path, str, list[dict[str, Any]]]:
    """Converts a job in every lowering, runs all of them, and takes the fastest right one.

    Args:
        job: A conversion job without its lowering.
        work: Where the files are made.
        lowerings: At least one, the most promising first.
        token_ids: int32 `(n, sequence_length)` of real texts, to check and to measure with.
        device: Where the files are run.
        child: Where they are made.

    Returns:
        Its file, its lowering, and every `Candidate` as a dict.

    Raises:
        ExportError: None could be converted; the message is that of the first.
    """
    np.save(work / PROBE_FILE, token_ids)
    found = [Candidate(lowering) for lowering in lowerings]
    made = convert_each({**job, "probe": str(work / PROBE_FILE)}, work, lowerings, child)
    files = {}
    for candidate in found:
        path = made[candidate.lowering]
        if isinstance(path, ExportError):
            candidate.error = str(path)
        else:
            candidate.model_size_bytes = path.stat().st_size
            files[candidate.lowering] = path
    if not files:
        raise ExportError(str(found[0].error))
    able = [candidate for candidate in found if candidate.lowering in files]
    for candidate in able:
        check_candidate(candidate, files[candidate.lowering], job["scheme"], work, device)
    right = [candidate for candidate in able if candidate.error is None]
    measure(right, [files[candidate.lowering] for candidate in right], work / PROBE_FILE, device)
    # With none right, `tfpipe verify` will say by how much the nearest one fails.
    best = fastest(right) or min(able, key=lambda each: each.mean_abs_error or np.inf)
    return files[best.lowering], best.lowering, [asdict(candidate) for candidate in found]


def check_candidate(
    candidate: Candidate, path: Path, scheme: str, work: Path, device: Device
) -> None:
    """Runs a file in a process of its own against what Keras made of the same ids."""
    folder = work / candidate.lowering
    limit = THRESHOLDS[scheme].max_mean_error
    try:
        token_ids = np.load(work / PROBE_FILE)
        outputs = run_model(path, folder, token_ids=token_ids, device=device).outputs
    except ValueError as error:
        candidate.error = str(error)
        return
    candidate.mean_abs_error = float(np.abs(outputs - np.load(work / KERAS_FILE)).mean())
    if not candidate.mean_abs_error <= limit:
        candidate.error = f"mean_abs_error={candidate.mean_abs_error:.2g} is over {limit:g}"


def measure(
    candidates: Sequence[Candidate], paths: Sequence[Path], token_ids: Path, device: Device
) -> None:
    """Writes the medians of right candidates into them; one alone needs none."""
    if len(candidates) < 2:
        return
    arguments = ["bench", "--profile", "brief", "--token-ids", str(token_ids), "--"]
    try:
        said = device.run([*arguments, *map(str, paths)], time_limit_s=MEASURE_SECONDS)
    except RunnerDiedError as error:
        for candidate in candidates:
            candidate.error = f"not measured: {error}"
        return
    for candidate, record in zip(candidates, said["results"], strict=True):
        candidate.p50_ns, candidate.num_runs = record["p50_ns"], record["num_runs"]


def fastest(candidates: Sequence[Candidate]) -> Candidate | None:
    """Returns the smallest of the candidates within `TIE` of the fastest; the first if none was
    measured; None of none."""
    timed = [(each.p50_ns, each) for each in candidates if each.p50_ns is not None]
    if not timed:
        return candidates[0] if candidates else None
    limit = TIE * min(p50_ns for p50_ns, _ in timed)
    return min(
        (each for p50_ns, each in timed if p50_ns <= limit),
        key=lambda each: each.model_size_bytes or 0,
    )
