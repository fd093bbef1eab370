"""A .tflite file or an artifact, and texts or token ids → its outputs, from a child process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfpipe.devices import Device
from tfpipe.devices.local import LocalDevice

# The slowest honest case: 20,000 texts through a loop of 1,024 steps at about 20 ms each.
TIME_LIMIT_SECONDS = 900


@dataclass(frozen=True)
class ModelRun:
    """What a file made of its inputs, and what ran it.

    Attributes:
        token_ids: int32 `(n, sequence_length)`.
        outputs: float32 `(n, num_classes)`.
        runtime: "ai-edge-litert", "tflite-runtime" or "tensorflow", as the child found it.
        runtime_version: Version of that package.
        adapter: Name of the GPU that ran it; None for a CPU.
    """

    token_ids: NDArray[np.int32]
    outputs: NDArray[np.float32]
    runtime: str
    runtime_version: str
    adapter: str | None = None


def run_model(
    model: Path,
    folder: Path,
    *,
    texts: Path | None = None,
    token_ids: NDArray[np.int32] | None = None,
    delegate: str | None = "cpu",
    device: Device | None = None,
) -> ModelRun:
    """Runs every text through the file with `device_runner`, as a device would.

    A process of its own, because a runtime can end its process over a damaged or foreign file.

    Args:
        model: A .tflite file, or an artifact folder (whose digests are checked).
        folder: Where the child's input and output go.
        texts: JSON lines; the artifact's own tokenizer encodes them.
        token_ids: int32 `(n, sequence_length)`, instead of texts.
        delegate: What runs the file, one of `device_runner.loading.DELEGATES`; None is what an
            artifact is made for.
        device: Where the child runs; None is this machine.

    Raises:
        ValueError: The runner refused the file, was ended by a signal (RunnerDiedError), or took
            too long.
    """
    output = folder / "outputs.npz"
    source = f"--input={texts}"
    if token_ids is not None:
        np.save(folder / "token_ids.npy", token_ids)
        source = f"--token-ids={folder / 'token_ids.npy'}"
    chosen = [f"--delegate={delegate}"] if delegate else []
    said: dict[str, Any] = (device or LocalDevice()).run(
        ["run", source, f"--output={output}", *chosen, "--", str(model)],
        time_limit_s=TIME_LIMIT_SECONDS,
    )
    with np.load(output, allow_pickle=False) as arrays:
        return ModelRun(
            arrays["token_ids"],
            arrays["outputs"],
            said["runtime"],
            said["runtime_version"],
            said.get("adapter"),
        )


def run_in_every_bucket(
    artifact: Path, folder: Path, *, token_ids: NDArray[np.int32], device: Device
) -> NDArray[np.float32]:
    """Runs every input in each graph of an artifact with several that it fits.

    Args:
        artifact: The artifact folder.
        folder: Where the child's input and output go.
        token_ids: int32 `(n, sequence_length)`.
        device: Where the child runs.

    Returns:
        float32 `(graphs, n, num_classes)`, the shortest graph first; NaN where an input does not
        fit.

    Raises:
        ValueError: As for `run_model`.
    """
    output, source = folder / "outputs.npz", folder / "token_ids.npy"
    np.save(source, token_ids)
    options = [f"--token-ids={source}", f"--output={output}", "--delegate=cpu", "--every-bucket"]
    device.run(["run", *options, "--", str(artifact)], time_limit_s=TIME_LIMIT_SECONDS)
    with np.load(output, allow_pickle=False) as arrays:
        outputs: NDArray[np.float32] = arrays["bucket_outputs"]
    return outputs
