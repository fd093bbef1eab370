"""A job file → a .tflite file; run as a process of its own, because the converter can abort."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfpipe.export.converter import KERAS_FILE, REFUSAL_FILE
from tfpipe.export.float_tables import widen_tables
from tfpipe.export.gpu_form import GPU_LAYERS
from tfpipe.export.lowering import INPUT_NAME, SIGNATURE_NAME, inference_form
from tfpipe.export.observed import with_observed_ranges
from tfpipe.models.quantized import QuantizedModel
from tfpipe.models.rounded_layers import find_unknown
from tfpipe.run_folder import RunFolder
from tfpipe.variant import load_model

# A scale a channel in dense weights is FULLY_CONNECTED version 12, which TensorFlow 2.17 brought;
# tflite-runtime ended at 2.14, and crashes on ARM where such a layer has two int8 outputs.
WITHOUT_PER_CHANNEL_DENSE = "tflite-runtime"
# Targets whose files LiteRT's GPU accelerator takes: natively, and in a browser through WebGPU.
GPU_TARGETS = ("gpu", "web")


def main(job_path: Path) -> None:
    """Reads a job and writes the file "output" of its "run", "variant", "scheme" and "lowering",
    for its "runtime" (NAME==VERSION, or None for the host's).

    "calibration", for int8 of a float variant alone, is a .npy file of int32
    `(n, sequence_length)` real token ids; a quantization-aware variant brings its ranges.
    "probe", if given, is another; what Keras makes of it goes into KERAS_FILE beside the job.
    What is wrong with the run goes into REFUSAL_FILE there; what the converter says, to stderr.
    """
    job = json.loads(job_path.read_text("utf-8"))
    with save_refusal(job_path):
        # The trace remembers the variables that it read: the model has to outlive it.
        model, function = build_function(job, GPU_LAYERS if job["target"] in GPU_TARGETS else None)
    if "probe" in job:
        np.save(job_path.with_name(KERAS_FILE), keras_probabilities(job))
    module = tf.Module()
    # A fused recurrence keeps its layer's variables, which must belong to what is saved.
    module.kept = list(function.graph.variables)
    saved = job_path.parent / "saved_model"
    tf.saved_model.save(module, str(saved), signatures={SIGNATURE_NAME: function})
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(saved), signature_keys=[SIGNATURE_NAME]
    )
    set_scheme(converter, job, calibrate=not isinstance(model, QuantizedModel))
    if getattr(model, "per_tensor", False):
        # Both are needed: with the first alone dense kernels get a scale for each output.
        converter._experimental_disable_per_channel = True
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    data = converter.convert()
    if job["target"] in GPU_TARGETS and job["scheme"] == "float16":
        data = widen_tables(data)
    Path(job["output"]).write_bytes(data)


@contextlib.contextmanager
def save_refusal(job_path: Path) -> Iterator[None]:
    """Ends the process where the block raises a ValueError, its text in REFUSAL_FILE beside the
    job."""
    try:
        yield
    except ValueError as error:
        (job_path.parent / REFUSAL_FILE).write_text(str(error), "utf-8")
        sys.exit(1)


def build_function(
    job: dict[str, str], layers: Mapping[type, Callable[..., Any]] | None = None
) -> tuple[Any, Any]:
    """Returns the model of the job's variant and its inference form; `layers` as for
    `inference_form`. The form's trace remembers the model's variables: the model has to outlive it.

    Raises:
        ValueError: The weights do not fit the run, or a layer has no inference form.
    """
    folder = RunFolder(Path(job["run"]))
    content = folder.read()
    model = load_model(folder, job["variant"])
    if wants_observed_ranges(job, model):
        token_ids = np.load(job["calibration"], allow_pickle=False)
        model = with_observed_ranges(model, token_ids, per_tensor=needs_tensor_scales(job))
    function = inference_form(
        model,
        sequence_length=content["recipe"]["data"]["sequence_length"],
        lowering=job["lowering"],
        multi_label=content["multi_label"],
        layers=layers,
    )
    return model, function


def wants_observed_ranges(job: dict[str, str], model: Any) -> bool:
    """Returns whether an int8 file is made of rounded values; where not, the converter chooses."""
    is_integer = "calibration" in job and job["target"] == "cpu" and job["lowering"] != "fused"
    return is_integer and not isinstance(model, QuantizedModel) and find_unknown(model) is None


def needs_tensor_scales(job: dict[str, str]) -> bool:
    """Returns whether the job's runtime has no dense layers with a scale for each output."""
    return (job["runtime"] or "").startswith(WITHOUT_PER_CHANNEL_DENSE)


def keras_probabilities(job: dict[str, str]) -> NDArray[np.float32]:
    """Returns what the trained model makes of the job's "probe", `(n, num_classes)`."""
    folder = RunFolder(Path(job["run"]))
    logits = load_model(folder, job["variant"])(np.load(job["probe"], allow_pickle=False))
    squash = tf.sigmoid if folder.read()["multi_label"] else tf.nn.softmax
    probabilities: NDArray[np.float32] = squash(logits).numpy()
    return probabilities


def set_scheme(converter: Any, job: dict[str, str], *, calibrate: bool) -> None:
    """Sets the types of weights and activations; Flex ops are never allowed."""
    scheme = job["scheme"]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if scheme == "float32":
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if needs_tensor_scales(job):
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    if scheme == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if calibrate and "calibration" in job:
        calibration = np.load(job["calibration"], allow_pickle=False)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = lambda: ({INPUT_NAME: ids[None]} for ids in calibration)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
