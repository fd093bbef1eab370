"""A job file → a full-int8 .tflite tail and the host's tables; run as a process of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from device_runner.lookup import EMBEDDING_FILE, POOLING_FILE
from tfpipe.check import inspect_tflite
from tfpipe.export.convert import has_shared_values, save_refusal
from tfpipe.export.converter import FACTS_FILE
from tfpipe.export.edgetpu_form import find_embedding, tail_form
from tfpipe.export.lowering import SIGNATURE_NAME, embedding_table
from tfpipe.run_folder import RunFolder
from tfpipe.variant import load_model


def main(job_path: Path) -> None:
    """Reads a job as `tfpipe.export.convert` does; writes the tail, the tables and FACTS_FILE."""
    job = json.loads(job_path.read_text("utf-8"))
    folder = RunFolder(Path(job["run"]))
    content = folder.read()
    length = content["recipe"]["data"]["sequence_length"]
    with save_refusal(job_path):
        model = load_model(folder, job["variant"])
        layer = find_embedding(model)
        tail = tail_form(model, sequence_length=length, multi_label=content["multi_label"])
    table = embedding_table(layer)
    calibration = np.load(job["calibration"], allow_pickle=False)
    path = Path(job["output"])
    saved = job_path.parent / "saved_model"
    per_tensor = has_shared_values(model)
    path.write_bytes(convert_tail(tail, table, calibration, saved, per_tensor=per_tensor))
    scales = read_scales(path)
    embedding = quantize(table, *scales["vectors"])
    np.save(job_path.parent / EMBEDDING_FILE, embedding)
    np.save(job_path.parent / POOLING_FILE, pooling_table(length, scales))
    facts = inspect_tflite(path)
    facts["bytes_by_dtype"]["int8"] = facts["bytes_by_dtype"].get("int8", 0) + embedding.nbytes
    (job_path.parent / FACTS_FILE).write_text(json.dumps(facts), "utf-8")


def convert_tail(
    tail: Any,
    table: NDArray[np.float32],
    calibration: NDArray[np.int32],
    saved: Path,
    *,
    per_tensor: bool = False,
) -> bytes:
    """Returns the tail as a .tflite file with int8 inputs and output, as old a dialect as can be.

    Args:
        tail: What `tail_form` returns.
        table: float32 (vocabulary, columns).
        calibration: int32 (n, sequence_length), ids of real texts.
        saved: Folder for a SavedModel.
        per_tensor: Whether convolutions have one scale a kernel, too.
    """
    tf.saved_model.save(tf.Module(), str(saved), signatures={SIGNATURE_NAME: tail})
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(saved), signature_keys=[SIGNATURE_NAME]
    )
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    names = [tensor.name.split(":")[0] for tensor in tail.inputs]
    converter.representative_dataset = lambda: (
        {name: inputs[name] for name in names} for inputs in float_inputs(table, calibration)
    )
    converter.inference_input_type = converter.inference_output_type = tf.int8
    # Per-channel dense weights need a FULLY_CONNECTED that is newer than the compiler.
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    converter._experimental_disable_per_channel = per_tensor
    return bytes(converter.convert())


def float_inputs(
    table: NDArray[np.float32], token_ids: NDArray[np.int32]
) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Yields what the host would hand over before quantization, one text at a time."""
    for row in token_ids:
        mask = (row > 0).astype(np.float32).reshape(1, 1, -1, 1)
        factor = np.float32(1 / np.sqrt(max(float(mask.sum()), 1.0)))
        yield {
            "vectors": table[row][None, None],
            "mask": mask,
            "mean_weights": mask * factor,
            "mean_scale": np.full((1, 1, 1, 1), factor),
        }


def read_scales(path: Path) -> dict[str, tuple[float, int]]:
    """Returns scale and zero point of each input of a tail."""
    interpreter = Interpreter(str(path))
    return {
        details["name"].split(":")[0].removeprefix(f"{SIGNATURE_NAME}_"): details["quantization"]
        for details in interpreter.get_input_details()
    }


def quantize(values: Any, scale: float, zero_point: int) -> NDArray[np.int8]:
    """Returns int8 values; what lies outside the range takes its end."""
    if not scale:  # the tail does not read this input
        return np.zeros(np.shape(values), np.int8)
    levels: NDArray[np.float32] = np.rint(values / np.float32(scale)) + zero_point
    return np.clip(levels, -128, 127).astype(np.int8)


def pooling_table(length: int, scales: dict[str, tuple[float, int]]) -> NDArray[np.int8]:
    """Returns the table that `device_runner.lookup.HostLookup` describes.

    Of all pairs of int8 factors near 1 / sqrt(n) each, row 1 + n holds the one whose product is
    nearest 1 / n: 8 bits of 1 / n itself would be off by a tenth at 40 tokens.
    """
    rows = np.zeros((2 + length, 3), np.int8)
    (mask_scale, mask_zero) = scales.get("mask", (0.0, 0))
    (weight_scale, weight_zero) = scales.get("mean_weights", (0.0, 0))
    (scale_scale, scale_zero) = scales.get("mean_scale", (0.0, 0))
    rows[0] = [
        quantize(np.float32(0), mask_scale, mask_zero),
        quantize(np.float32(0), weight_scale, weight_zero),
        quantize(np.float32(1), mask_scale, mask_zero),
    ]
    if not weight_scale or not scale_scale:
        return rows
    levels = np.arange(-128, 128)
    weights = (levels - weight_zero) * weight_scale
    factors = (levels - scale_zero) * scale_scale
    for count in range(length + 1):
        wanted = 1 / max(count, 1)
        near = np.abs(np.log(np.maximum(weights, 1e-9)) - np.log(wanted) / 2) < 0.35
        errors = np.abs(np.outer(weights, factors) - wanted)
        errors[~near] = np.inf
        best = np.unravel_index(errors.argmin(), errors.shape)
        rows[1 + count, :2] = levels[best[0]], levels[best[1]]
    return rows
