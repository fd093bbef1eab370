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

from tfpipe.export.converter import REFUSAL_FILE
from tfpipe.export.float_tables import widen_tables
from tfpipe.export.gpu_form import GPU_LAYERS
from tfpipe.export.lowering import INPUT_NAME, SIGNATURE_NAME, inference_form
from tfpipe.run_folder import RunFolder
from tfpipe.variant import load_model


def main(job_path: Path) -> None:
    """Reads {"run", "variant", "scheme", "lowering", "calibration", "output"} and writes the file.

    "calibration", for int8 alone, is a .npy file of int32 `(n, sequence_length)` real token ids.
    What is wrong with the run goes into REFUSAL_FILE; what the converter says, to stderr.
    """
    job = json.loads(job_path.read_text("utf-8"))
    with save_refusal(job_path):
        function = build_function(job, GPU_LAYERS if job["target"] == "gpu" else None)
    module = tf.Module()
    saved = job_path.parent / "saved_model"
    tf.saved_model.save(module, str(saved), signatures={SIGNATURE_NAME: function})
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(saved), signature_keys=[SIGNATURE_NAME]
    )
    set_scheme(converter, job)
    data = converter.convert()
    if job["target"] == "gpu" and job["scheme"] == "float16":
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
) -> Any:
    """Returns the inference form of the job's variant; `layers` as for `inference_form`.

    Raises:
        ValueError: The weights do not fit the run, or a layer has no inference form.
    """
    folder = RunFolder(Path(job["run"]))
    content = folder.read()
    return inference_form(
        load_model(folder, job["variant"]),
        sequence_length=content["recipe"]["data"]["sequence_length"],
        lowering=job["lowering"],
        multi_label=content["multi_label"],
        layers=layers,
    )


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
