"""An artifact with graphs for shorter texts → whether each of them makes what the longest makes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_runner.manifest import Manifest
from tfpipe.devices import Device
from tfpipe.metrics import predict_labels
from tfpipe.run_model import run_in_every_bucket
from tfpipe.thresholds import Threshold
from tfpipe.verify.comparison import finite

# Texts of the test split that run in every graph which they fit, beside one of every length.
MAX_EXAMPLES = 500


def verify_buckets(
    artifact: Path,
    manifest: Manifest,
    token_ids: NDArray[np.int32],
    *,
    threshold: Threshold,
    device: Device,
) -> tuple[dict[str, Any], list[str]]:
    """Runs texts in every graph that they fit, those of the test split and one of every length.

    Args:
        artifact: The artifact folder.
        manifest: Its manifest; without graphs for shorter texts, nothing is run.
        token_ids: int32 `(n, sequence_length)`, the test split's.
        threshold: How near the graphs must come to the longest one: what the whole file must
            reach against its Keras model.
        device: Where the file is run.

    Returns:
        {"buckets": [{"sequence_length", "num_examples", "agreement", "max_abs_error",
        "mean_abs_error"}]} of the shorter graphs against the longest, and what failed; both are
        empty for an artifact with one graph, and in a browser.

    Raises:
        ValueError: The runner refuses the artifact or fails.
    """
    lengths = manifest.bucket_lengths
    if not lengths or device.kind == "browser":  # a page runs the first graph alone
        return {}, []
    inputs = np.concatenate([token_ids[:MAX_EXAMPLES], texts_of_every_length(token_ids)])
    with tempfile.TemporaryDirectory() as work:
        *shorter, full = run_in_every_bucket(artifact, Path(work), token_ids=inputs, device=device)
    figures: list[dict[str, Any]] = []
    failures: list[str] = []
    for length, outputs in zip(lengths, shorter, strict=False):
        fitting = ~inputs[:, length:].any(1)
        found = describe(outputs[fitting], full[fitting], multi_label=manifest.multi_label)
        figures.append({"sequence_length": length, **found})
        failures += check_bucket(length, found, threshold)
    return {"buckets": figures}, failures


def texts_of_every_length(token_ids: NDArray[np.int32]) -> NDArray[np.int32]:
    """Returns int32 `(sequence_length + 1, sequence_length)`: row n has n real tokens, taken from
    the texts in turn."""
    length = token_ids.shape[1]
    tokens = token_ids[token_ids > 0]
    if not len(tokens):
        return np.zeros((1, length), np.int32)
    rows = np.resize(tokens, (length + 1, length))
    return np.where(np.arange(length)[None] < np.arange(length + 1)[:, None], rows, 0)


def describe(
    outputs: NDArray[np.float32], full: NDArray[np.float32], *, multi_label: bool
) -> dict[str, Any]:
    """Returns how far a graph's outputs lie from the longest one's, `(n, num_classes)` both."""
    same = predict_labels(outputs, multi_label=multi_label) == predict_labels(
        full, multi_label=multi_label
    )
    errors = np.abs(outputs - full)
    return {
        "num_examples": len(outputs),
        "agreement": float((same.all(1) if multi_label else same).mean()),
        "max_abs_error": finite(errors.max()),
        "mean_abs_error": finite(errors.mean()),
    }


def check_bucket(length: int, found: dict[str, Any], threshold: Threshold) -> list[str]:
    """Returns one sentence for each limit that a graph misses."""
    failures = []
    # One flipped text is never a failure: a short graph is fed with few texts.
    flips = (1 - found["agreement"]) * found["num_examples"]
    if found["agreement"] < threshold.min_agreement and flips > 1.5:
        failures.append(
            f"bucket {length}: agreement={found['agreement']:.4f} with the full length is below "
            f"{threshold.min_agreement}"
        )
    error = found["mean_abs_error"]
    if error is None or error > threshold.max_mean_error:
        failures.append(
            f"bucket {length}: mean_abs_error={error} from the full length is not within "
            f"{threshold.max_mean_error:g}"
        )
    return failures
