"""A model's file, a delegate and a runtime → the loaded model, whichever kind it is."""

from __future__ import annotations

import os
from typing import Optional, Union

from device_runner.buckets import with_buckets
from device_runner.edgetpu import COMPILED_FILE, TailModel, load_tail_model
from device_runner.gpu import GpuModel, load_gpu_model
from device_runner.interpreter import Model, load_model
from device_runner.lookup import EMBEDDING_FILE
from device_runner.manifest import Manifest
from device_runner.onnx_session import ONNX_SUFFIX, OnnxModel, load_onnx_model

AnyModel = Union[Model, GpuModel, OnnxModel, TailModel]
# What a model can be asked to run on: "cpu" leaves it to the runtime, which gives XNNPACK what that
# takes; "xnnpack" insists that it takes something; "none" does without.
DELEGATES = ("cpu", "xnnpack", "none", "gpu", "edgetpu")
# Target → what runs its artifacts when nothing else is said.
TARGET_DELEGATES = {"gpu": "gpu"}


def default_delegate(manifest: Manifest) -> str:
    """Returns what runs an artifact that is left to itself: one for Edge TPUs that was not
    compiled can only run on the CPU."""
    if COMPILED_FILE in manifest.files:
        return "edgetpu"
    return TARGET_DELEGATES.get(manifest.target, "cpu")


def load_any_model(
    path: str, num_threads: int = 1, runtime: Optional[str] = None, delegate: str = "cpu"
) -> AnyModel:
    """Loads a model with what the delegate, the name's ending and the files beside it ask for.

    A .tflite with an embedding table beside it is the tail of a model whose lookup stays on the
    host.

    Args:
        path: The .tflite or .onnx file.
        num_threads: CPU threads.
        runtime: A runtime's name to use that one; None takes the first that is installed.
        delegate: One of `DELEGATES`: that runs the model, or nothing does.

    Raises:
        ValueError: An unknown delegate, or one that does not run such a file or takes nothing of
            it; and as `load_model` and its like.
        RuntimeNotFoundError: The runtime is not installed.
        OSError: A file cannot be read.
    """
    if delegate not in DELEGATES:
        raise ValueError(f"delegate={delegate!r} is unknown. Use one of: {', '.join(DELEGATES)}.")
    is_onnx = path.endswith(ONNX_SUFFIX)
    folder = os.path.dirname(path)
    is_tail = not is_onnx and os.path.isfile(os.path.join(folder, EMBEDDING_FILE))
    runs = {"cpu": True, "gpu": not is_onnx and not is_tail, "edgetpu": is_tail}
    if not runs.get(delegate, not is_onnx):
        kind = "an ONNX file" if is_onnx else "the tail of a model" if is_tail else "a whole model"
        raise ValueError(
            f"delegate={delegate!r} does not run {path}: it is {kind}. Use --delegate cpu, or an "
            f"artifact of --target {delegate}."
        )
    if is_onnx:
        return load_onnx_model(path, num_threads, runtime)
    if delegate == "gpu":
        return load_gpu_model(path, num_threads)
    how = "cpu" if delegate == "xnnpack" else delegate
    model: Union[Model, TailModel]
    if is_tail:
        model = load_tail_model(folder, num_threads, how)
    else:
        model = with_buckets(load_model(path, num_threads, runtime, how))
    if delegate == "xnnpack" and (model.count_nodes() or {}).get("delegate") != delegate:
        raise ValueError(
            f"delegate='xnnpack', but in {model.runtime} {model.runtime_version} it takes none of "
            f"the nodes of {path}. Use --delegate cpu, or another runtime."
        )
    return model
