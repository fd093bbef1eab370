"""A job file → a .tflite file; run as a process of its own, because the converter can abort."""

from __future__ import annotations

import contextlib
import functools
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.lite.python import lite
from tensorflow.lite.python.convert import mlir_quantize

from tfpipe.export.converter import KERAS_FILE, REFUSAL_FILE
from tfpipe.export.float_tables import widen_tables
from tfpipe.export.gpu_form import GPU_LAYERS
from tfpipe.export.lowering import INPUT_NAME, SIGNATURE_NAME, inference_form
from tfpipe.export.merge import merge_files
from tfpipe.run_folder import RunFolder
from tfpipe.variant import load_model

# A scale a channel in dense weights is FULLY_CONNECTED version 12, which TensorFlow 2.17 brought;
# tflite-runtime ended at 2.14, and crashes on ARM where such a layer has two int8 outputs.
WITHOUT_PER_CHANNEL_DENSE = "tflite-runtime"

# Left in float32 by int8, between a DEQUANTIZE and a QUANTIZE of one small vector: the mean over a
# text's tokens. tflite-runtime has no int8 DIV, and XNNPACK neither. The converter's own option for
# it stands in its debugger alone (tf.lite.experimental.QuantizationDebugOptions).
FLOAT_OPS = ("DIV",)


def main(job_path: Path) -> None:
    """Reads a job and writes the file "output" of its "run", "variant", "scheme" and "lowering",
    for its "runtime" (NAME==VERSION, or None for the host's).

    "calibration", for int8 of a float variant alone, is a .npy file of int32
    `(n, sequence_length)` real token ids; a quantization-aware variant brings its ranges.
    "buckets", if given, are lengths of texts that get a graph of their own beside the full one.
    "probe", if given, is another .npy file of ids; what Keras makes of them goes into KERAS_FILE
    beside the job.
    What is wrong with the run goes into REFUSAL_FILE there; what the converter says, to stderr.
    """
    job = json.loads(job_path.read_text("utf-8"))
    files = [convert_at(length, job, job_path) for length in (None, *job.get("buckets", ()))]
    if "probe" in job:
        np.save(job_path.with_name(KERAS_FILE), keras_probabilities(job))
    data = files[0]
    if job["target"] == "cpu":
        data = merge_files(files, job.get("buckets", ()))
    elif job["scheme"] == "float16":
        data = widen_tables(data)
    Path(job["output"]).write_bytes(data)


def convert_at(length: int | None, job: dict[str, Any], job_path: Path) -> bytes:
    """Returns the .tflite file of the job's model for one sequence length; None is its own."""
    with save_refusal(job_path):
        # The trace remembers the variables that it read: the model has to outlive it.
        layers = GPU_LAYERS if job["target"] == "gpu" else None
        model, function = build_function(job, layers, length)
    module = tf.Module()
    # A fused recurrence keeps its layer's variables, which must belong to what is saved.
    module.kept = list(function.graph.variables)
    saved = job_path.parent / f"saved_model-{length or 'full'}"
    tf.saved_model.save(module, str(saved), signatures={SIGNATURE_NAME: function})
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(saved), signature_keys=[SIGNATURE_NAME]
    )
    set_scheme(converter, job, length)
    if getattr(model, "per_tensor", False):
        # Both are needed: with the first alone dense kernels get a scale for each output.
        converter._experimental_disable_per_channel = True
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    return bytes(converter.convert())


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
    job: dict[str, str],
    layers: Mapping[type, Callable[..., Any]] | None = None,
    length: int | None = None,
) -> tuple[Any, Any]:
    """Returns the model of the job's variant and its inference form for texts of at most `length`
    tokens, None for the run's sequence length; `layers` as for `inference_form`. The form's trace
    remembers the model's variables: the model has to outlive it.

    Raises:
        ValueError: The weights do not fit the run, or a layer has no inference form.
    """
    folder = RunFolder(Path(job["run"]))
    content = folder.read()
    model = load_model(folder, job["variant"])
    function = inference_form(
        model,
        sequence_length=length or content["recipe"]["data"]["sequence_length"],
        lowering=job["lowering"],
        multi_label=content["multi_label"],
        layers=layers,
    )
    return model, function


def keras_probabilities(job: dict[str, str]) -> NDArray[np.float32]:
    """Returns what the trained model makes of the job's "probe", `(n, num_classes)`."""
    folder = RunFolder(Path(job["run"]))
    logits = load_model(folder, job["variant"])(np.load(job["probe"], allow_pickle=False))
    squash = tf.sigmoid if folder.read()["multi_label"] else tf.nn.softmax
    probabilities: NDArray[np.float32] = squash(logits).numpy()
    return probabilities


def set_scheme(converter: Any, job: dict[str, str], length: int | None = None) -> None:
    """Sets the types of weights and activations; Flex ops are never allowed. Ranges are measured on
    the first `length` ids of each calibration input, None for all."""
    scheme = job["scheme"]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if scheme == "float32":
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if (job["runtime"] or "").startswith(WITHOUT_PER_CHANNEL_DENSE):
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    if scheme == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if "calibration" in job:
        lite._mlir_quantize = functools.partial(mlir_quantize, denylisted_ops=set(FLOAT_OPS))
        calibration = np.load(job["calibration"], allow_pickle=False)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = lambda: (
            {INPUT_NAME: ids[None, :length]} for ids in calibration
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
