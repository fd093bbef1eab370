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

from device_runner.files import write_file_atomic
from tfpipe.export.converter import KERAS_FILE, REFUSAL_FILE
from tfpipe.export.float_tables import widen_tables
from tfpipe.export.four_bits import halve_weights
from tfpipe.export.gpu_form import GPU_LAYERS
from tfpipe.export.lowering import INPUT_NAME, SIGNATURE_NAME, inference_form, lower_attention
from tfpipe.export.merge import merge_files
from tfpipe.export.observed import with_observed_ranges
from tfpipe.export.options import ONE_SCALE_RUNTIME
from tfpipe.export.small_kernels import widen_kernels
from tfpipe.models.attention import SelfAttention
from tfpipe.models.quantized import QuantizedModel
from tfpipe.models.rounded_layers import find_unknown
from tfpipe.run_folder import RunFolder
from tfpipe.variant import keras_probabilities, load_model

# Targets whose files LiteRT's GPU accelerator takes: natively, and in a browser through WebGPU.
GPU_TARGETS = ("gpu", "web")


def main(job_path: Path) -> None:
    """Reads a job and writes the file "output" of its "run", "variant", "scheme" and "lowering",
    for its "runtime" (NAME==VERSION, or None for the host's); or, in place of the two, "outputs",
    {lowering: file}, one after the other. A file is there once it is whole.

    "calibration", for int8 of a float variant alone, is a .npy file of int32
    `(n, sequence_length)` real token ids; a quantization-aware variant brings its ranges.
    "buckets", if given, are lengths of texts that get a graph of their own beside the full one.
    "probe", if given, is another .npy file of ids; what Keras makes of them goes into KERAS_FILE
    beside it.
    What is wrong with the run goes into REFUSAL_FILE beside the job; what the converter says, to
    stderr.
    """
    job = json.loads(job_path.read_text("utf-8"))
    outputs = job["outputs"] if "outputs" in job else {job["lowering"]: job["output"]}
    folder = RunFolder(Path(job["run"]))
    rounded: dict[bool, Any] = {}
    with save_refusal(job_path):
        trained = load_model(folder, job["variant"])
    if "probe" in job:
        probe = np.load(job["probe"], allow_pickle=False)
        scores = keras_probabilities(trained, probe, multi_label=folder.read()["multi_label"])
        np.save(Path(job["probe"]).with_name(KERAS_FILE), scores)
    for lowering, output in outputs.items():
        each = {**job, "lowering": lowering}
        with save_refusal(job_path):
            wanted = wants_observed_ranges(each, trained)
            if wanted not in rounded:
                rounded[wanted] = with_ranges(trained, each)
            forms = build_forms(rounded[wanted], each)
        work = Path(output).parent
        files = [convert_form(*form, rounded[wanted], each, work) for form in forms]
        with save_refusal(job_path):
            data = finish(files, each)
        write_file_atomic(output, data)


def build_forms(model: Any, job: dict[str, Any]) -> list[tuple[int, Any]]:
    """Returns (length, inference form) of the full graph, then of every bucket."""
    layers = dict(GPU_LAYERS) if job["target"] in GPU_TARGETS else {}
    if has_shared_values(model):
        layers[SelfAttention] = functools.partial(lower_attention, folded=False)
    return [(length, build_function(model, job, layers, length)) for length in lengths_of(job)]


def finish(files: list[bytes], job: dict[str, Any]) -> bytes:
    """Returns the one file that ships, of the converter's file for the full length and those of
    the buckets.

    Raises:
        ValueError: The variant's weights are not those of the scheme.
    """
    if job["scheme"] == "dynamic_int4":
        files = [halve_weights(data) for data in files]
    if job["target"] == "cpu":
        if job["scheme"] == "dynamic_int8":
            files = [widen_kernels(data) for data in files]
        return merge_files(files, job.get("buckets", ()))
    return widen_tables(files[0]) if job["scheme"] == "float16" else files[0]


def lengths_of(job: dict[str, Any]) -> list[int]:
    """Returns the run's sequence length, then those of the shorter graphs that are asked for."""
    content = RunFolder(Path(job["run"])).read()
    return [content["recipe"]["data"]["sequence_length"], *job.get("buckets", ())]


def convert_form(length: int, function: Any, model: Any, job: dict[str, Any], work: Path) -> bytes:
    """Returns the .tflite file of the model's inference form for texts of at most `length`
    tokens."""
    module = tf.Module()
    # A fused recurrence keeps its layer's variables, which must belong to what is saved.
    module.kept = list(function.graph.variables)
    saved = work / f"saved_model-{length}"
    tf.saved_model.save(module, str(saved), signatures={SIGNATURE_NAME: function})
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(saved), signature_keys=[SIGNATURE_NAME]
    )
    set_scheme(converter, job)
    if "calibration" in job and not isinstance(model, QuantizedModel):
        calibration = np.load(job["calibration"], allow_pickle=False)[:, :length]
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = lambda: ({INPUT_NAME: ids[None]} for ids in calibration)
    if hasattr(model, "weight_bits") or has_shared_values(model):
        # A norm's scale that is folded into a kernel would take it off the grid it was trained on.
        converter._experimental_disable_fuse_mul_and_fc = True
    if has_shared_values(model):
        # Both are needed: with the first alone dense kernels get a scale for each output.
        converter._experimental_disable_per_channel = True
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    return bytes(converter.convert())


def has_shared_values(model: Any) -> bool:
    """Returns whether the weights of a kernel were clustered, so that one scale must suit all."""
    return getattr(model, "per_tensor", False)


@contextlib.contextmanager
def save_refusal(job_path: Path) -> Iterator[None]:
    """Ends the process where the block raises a ValueError, its text in REFUSAL_FILE beside the
    job."""
    try:
        yield
    except ValueError as error:
        (job_path.parent / REFUSAL_FILE).write_text(str(error), "utf-8")
        sys.exit(1)


def build_model(job: dict[str, Any]) -> Any:
    """Returns the model of the job's variant, rounded where the job asks for that.

    Raises:
        ValueError: The weights do not fit the run.
    """
    return with_ranges(load_model(RunFolder(Path(job["run"])), job["variant"]), job)


def with_ranges(model: Any, job: dict[str, Any]) -> Any:
    """Returns the model, or the one that rounds its values where the job asks for that."""
    if not wants_observed_ranges(job, model):
        return model
    token_ids = np.load(job["calibration"], allow_pickle=False)
    per_tensor = has_shared_values(model) or needs_tensor_scales(job)
    return with_observed_ranges(model, token_ids, per_tensor=per_tensor)


def build_function(
    model: Any,
    job: dict[str, Any],
    layers: Mapping[type, Callable[..., Any]] | None,
    length: int,
) -> Any:
    """Returns the model's inference form for texts of at most `length` tokens; `layers` as for
    `inference_form`. The form's trace remembers the model's variables: the model has to outlive it.

    Raises:
        ValueError: A layer has no inference form.
    """
    return inference_form(
        model,
        sequence_length=length,
        lowering=job["lowering"],
        multi_label=RunFolder(Path(job["run"])).read()["multi_label"],
        layers=layers,
        branch_lengths=job["branch_lengths"] if job["lowering"] == "branches" else (),
    )


def wants_observed_ranges(job: dict[str, Any], model: Any) -> bool:
    """Returns whether an int8 file is made of rounded values; where not, the converter chooses."""
    is_integer = "calibration" in job and job["target"] in ("cpu", "web")
    return is_integer and job["lowering"] != "fused" and find_unknown(model) is None


def needs_tensor_scales(job: dict[str, Any]) -> bool:
    """Returns whether the job's runtime has no dense layers with a scale for each output."""
    return (job["runtime"] or "").startswith(ONE_SCALE_RUNTIME)


def set_scheme(converter: Any, job: dict[str, Any]) -> None:
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
