"""A job file → a .tflite file; run as a process of its own, because the converter can abort."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfpipe.export.converter import REFUSAL_FILE
from tfpipe.export.lowering import INPUT_NAME, SIGNATURE_NAME, inference_form
from tfpipe.run_folder import RunFolder
from tfpipe.variant import load_model


def main(job_path: Path) -> None:
    """Reads {"run", "variant", "scheme", "lowering", "calibration", "output"} and writes the file.

    "calibration", for int8 of a float variant alone, is a .npy file of int32
    `(n, sequence_length)` real token ids; a quantization-aware variant brings its ranges.
    What is wrong with the run goes into REFUSAL_FILE; what the converter says, to stderr.
    """
    job = json.loads(job_path.read_text("utf-8"))
    try:
        # The trace remembers the variables that it read: the model has to outlive it.
        model, function = build_function(job)
    except ValueError as error:
        (job_path.parent / REFUSAL_FILE).write_text(str(error), "utf-8")
        sys.exit(1)
    module = tf.Module()
    saved = job_path.parent / "saved_model"
    tf.saved_model.save(module, str(saved), signatures={SIGNATURE_NAME: function})
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(saved), signature_keys=[SIGNATURE_NAME]
    )
    set_scheme(converter, job)
    if getattr(model, "per_tensor", False):
        # Both are needed: with the first alone dense kernels get a scale for each output.
        converter._experimental_disable_per_channel = True
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    Path(job["output"]).write_bytes(converter.convert())


def build_function(job: dict[str, str]) -> tuple[Any, Any]:
    """Returns the model of the job's variant and its inference form.

    Raises:
        ValueError: The weights do not fit the run, or a layer has no inference form.
    """
    folder = RunFolder(Path(job["run"]))
    content = folder.read()
    model = load_model(folder, job["variant"])
    function = inference_form(
        model,
        sequence_length=content["recipe"]["data"]["sequence_length"],
        lowering=job["lowering"],
        multi_label=content["multi_label"],
    )
    return model, function


def set_scheme(converter: Any, job: dict[str, str]) -> None:
    """Sets the types of weights and activations; Flex ops are never allowed."""
    scheme = job["scheme"]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if scheme == "float32":
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if scheme == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if "calibration" in job:
        calibration = np.load(job["calibration"], allow_pickle=False)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = lambda: ({INPUT_NAME: ids[None]} for ids in calibration)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
