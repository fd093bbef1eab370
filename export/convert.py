"""A job file → a .tflite file; run as a process of its own, because the converter can abort."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from tfpipe.export.converter import KERAS_FILE, REFUSAL_FILE
from tfpipe.export.lowering import INPUT_NAME, SIGNATURE_NAME, inference_form
from tfpipe.run_folder import RunFolder
from tfpipe.variant import load_model


def main(job_path: Path) -> None:
    """Reads a job and writes the file "output" of its "run", "variant", "scheme" and "lowering".

    "calibration", for int8 alone, is a .npy file of int32 `(n, sequence_length)` real token ids.
    "probe", if given, is another; what Keras makes of it goes into KERAS_FILE beside the job.
    What is wrong with the run goes into REFUSAL_FILE there; what the converter says, to stderr.
    """
    job = json.loads(job_path.read_text("utf-8"))
    folder = RunFolder(Path(job["run"]))
    try:
        model = load_model(folder, job["variant"])
        function = build_function(model, folder, lowering=job["lowering"])
    except ValueError as error:
        (job_path.parent / REFUSAL_FILE).write_text(str(error), "utf-8")
        sys.exit(1)
    if "probe" in job:
        token_ids = np.load(job["probe"], allow_pickle=False)
        np.save(job_path.parent / KERAS_FILE, squash(folder, model(token_ids)).numpy())
    module = tf.Module()
    # A fused recurrence keeps its layer's variables, which must belong to what is saved.
    module.kept = list(function.graph.variables)
    saved = job_path.parent / "saved_model"
    tf.saved_model.save(module, str(saved), signatures={SIGNATURE_NAME: function})
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(saved), signature_keys=[SIGNATURE_NAME]
    )
    set_scheme(converter, job)
    Path(job["output"]).write_bytes(converter.convert())


def build_function(model: keras.Model, folder: RunFolder, *, lowering: str) -> Any:
    """Returns the inference form of a run's model.

    Raises:
        ValueError: A layer has no inference form.
    """
    content = folder.read()
    return inference_form(
        model,
        sequence_length=content["recipe"]["data"]["sequence_length"],
        lowering=lowering,
        multi_label=content["multi_label"],
    )


def squash(folder: RunFolder, logits: Any) -> Any:
    """Returns the probabilities of the run's task."""
    return tf.sigmoid(logits) if folder.read()["multi_label"] else tf.nn.softmax(logits)


def set_scheme(converter: Any, job: dict[str, str]) -> None:
    """Sets the types of weights and activations; Flex ops are never allowed."""
    scheme = job["scheme"]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if scheme == "float32":
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if scheme == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if scheme == "int8":
        calibration = np.load(job["calibration"], allow_pickle=False)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = lambda: ({INPUT_NAME: ids[None]} for ids in calibration)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
