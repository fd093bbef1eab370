"""An artifact for GPUs and what it made of texts on the CPU → whether a GPU makes the same."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from device_runner.loading import TARGET_DELEGATES
from tfpipe.run_model import ModelRun, run_model
from tfpipe.thresholds import MAX_GPU_ERROR

# A software GPU takes up to 0.2 s for an unrolled LSTM.
GPU_EXAMPLES = 32


def verify_on_gpu(artifact: Path, target: str, ran: ModelRun) -> tuple[dict[str, Any], list[str]]:
    """Runs the first texts again on this machine's GPU, real or software, every op there.

    Args:
        artifact: The artifact folder.
        target: Its target; only those for GPUs are run.
        ran: The same file on the CPU.

    Returns:
        {"gpu": {"adapter", "max_abs_error", "num_examples"}}, and what failed; both are empty for
        other targets.

    Raises:
        ValueError: There is no GPU, or it does not take the whole model.
    """
    if TARGET_DELEGATES.get(target) != "gpu":
        return {}, []
    token_ids = ran.token_ids[:GPU_EXAMPLES]
    with tempfile.TemporaryDirectory() as work:
        found = run_model(artifact, Path(work), token_ids=token_ids, delegate="gpu")
    error = float(np.abs(found.outputs - ran.outputs[: len(token_ids)]).max())
    failures = []
    if not error <= MAX_GPU_ERROR:  # so that NaN fails
        failures.append(
            f"on the GPU {found.adapter} outputs differ from the CPU's by up to {error:.3g}, "
            f"allowed are {MAX_GPU_ERROR}"
        )
    figures = {
        "adapter": found.adapter,
        "max_abs_error": error if np.isfinite(error) else None,
        "num_examples": len(token_ids),
    }
    return {"gpu": figures}, failures
