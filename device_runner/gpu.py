"""A .tflite file → a ready model on LiteRT's GPU accelerator, wholly there or not at all."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import sys
import tempfile
import time
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import numpy as np

from device_runner.delegation import count_nodes
from device_runner.interpreter import check_model_file, check_num_threads
from device_runner.loaded_model import LoadedModel
from device_runner.runtimes import RuntimeNotFoundError, import_runtime, runtime_version

# What the accelerator says about itself; there is no other way to ask it (LiteRT 2.3.0).
_ADAPTER = re.compile(r"Selected adapter: (.+?), arch=.*?adapterType=(.+)")
_REFUSED_OPS = re.compile(
    r"operations are not supported by GPU delegate:\n(.+?)\n\s*\d+ operations will run", re.DOTALL
)
_SOFTWARE = "CPU / Software"


@dataclass(eq=False)
class GpuModel(LoadedModel):
    """One .tflite file, every op of it on a GPU: the attributes of `interpreter.Model`, and

    Attributes:
        adapter: Name of the GPU, as the runtime says it.
        is_software: Whether that GPU is a program on the CPU: then its times mean nothing.
        path: The file.
    """

    runtime: str
    runtime_version: str
    delegate: str
    num_threads: int
    init_ns: int
    sequence_length: int
    num_classes: int
    adapter: str
    is_software: bool
    path: str
    compiled: Any = field(repr=False)
    inputs: Any = field(repr=False)
    outputs: Any = field(repr=False)
    output: np.ndarray[Any, Any] = field(init=False, repr=False)

    def set_input(self, token_ids: np.ndarray[Any, Any]) -> None:
        """Copies int32 (1, T) token ids into the input; they are not checked again here."""
        self.inputs[0].write(np.ascontiguousarray(token_ids))

    def invoke(self) -> None:
        """Runs the model and reads its output: before that, the GPU is not done.

        Raises:
            RuntimeError: The accelerator fails.
        """
        self.compiled.run_by_index(0, self.inputs, self.outputs)
        self.output = self.outputs[0].read(self.num_classes, np.float32)

    def get_output(self) -> np.ndarray[Any, Any]:
        """Returns a copy of the last output, float32 (C,)."""
        return np.array(self.output, np.float32).reshape(-1)

    def count_nodes(self) -> Optional[Dict[str, Any]]:
        """Returns that the GPU took every node of the file, in pieces that it does not tell."""
        found = count_nodes(import_runtime(self.runtime)[2](model_path=self.path))
        whole = {"delegate": "gpu", "partitions": None}
        return found and dict(found, delegated=found["total"], **whole)

    def explain(self, error: Exception, token_ids: np.ndarray[Any, Any]) -> str:
        """Returns what a failed call means, and what to do."""
        return f"the GPU {self.adapter} failed: {error}. Use another device or --delegate cpu."


def load_gpu_model(model_path: str | os.PathLike[str], num_threads: int = 1) -> GpuModel:
    """Compiles a .tflite file for the GPU; nothing of it may be left to the CPU.

    Args:
        model_path: The file; one int32 input (1, T) and one float32 output (1, C).
        num_threads: Recorded alone: a GPU has none.

    Raises:
        RuntimeNotFoundError: ai-edge-litert, which alone has the accelerator, is not installed.
        ValueError: There is no GPU, or it does not take the whole model: the message has the ops.
        OSError: The file cannot be read.
    """
    check_num_threads(num_threads)
    path = os.fspath(model_path)
    check_model_file(path)
    compiled_class, gpu = _import_accelerator()
    start = time.perf_counter_ns()
    compiled, log = _with_log(lambda: compiled_class.from_file(path, hardware_accel=gpu))
    init_ns = time.perf_counter_ns() - start
    adapter = _ADAPTER.search(log)
    if adapter is None:
        raise ValueError(
            f"{path}: delegate=gpu, but LiteRT's GPU accelerator found no GPU that it can use. "
            "Install a Vulkan driver, or the software GPU that comes with Chromium (Debian: "
            "apt-get install chromium), or use --delegate cpu."
        )
    if compiled is None or not compiled.is_fully_accelerated():
        raise ValueError(
            f"{path}: the GPU {adapter[1]} does not take the whole model: {_reasons(log)}. Export "
            "it with --target gpu, or use --delegate cpu."
        )
    sequence_length, num_classes = _widths(path, compiled)
    return GpuModel(
        runtime="ai-edge-litert",
        runtime_version=runtime_version("ai-edge-litert") or "unknown",
        delegate="gpu",
        num_threads=num_threads,
        init_ns=init_ns,
        sequence_length=sequence_length,
        num_classes=num_classes,
        adapter=adapter[1],
        path=path,
        is_software=_SOFTWARE in adapter[2],
        compiled=compiled,
        inputs=compiled.create_input_buffers(0),
        outputs=compiled.create_output_buffers(0),
    )


def _import_accelerator() -> Tuple[Any, Any]:
    """Returns the class of compiled models and the flag that asks for the GPU alone."""
    try:
        models = importlib.import_module("ai_edge_litert.compiled_model")
        accelerators = importlib.import_module("ai_edge_litert.hardware_accelerator")
    except ImportError as error:
        raise RuntimeNotFoundError(
            f"delegate=gpu needs ai-edge-litert, which does not work here ({error}). Install it: "
            "python -m pip install ai-edge-litert"
        ) from error
    return models.CompiledModel, accelerators.HardwareAccelerator.GPU


def _with_log(compile_model: Callable[[], Any]) -> Tuple[Any, str]:
    """Returns the compiled model, None where the runtime refuses, and what it logged meanwhile."""
    compiled = None
    with _captured_stderr() as lines:
        try:
            compiled = compile_model()
        except RuntimeError as error:  # it says where in its source, not why
            lines.append(str(error))
    return compiled, "".join(lines)


@contextlib.contextmanager
def _captured_stderr() -> Iterator[List[str]]:
    """Gives a list that holds, after the block, what the process wrote to file descriptor 2."""
    lines: List[str] = []
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield lines
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            lines.insert(0, file.read().decode("utf-8", "replace"))


def _reasons(log: str) -> str:
    """Returns the ops that the accelerator refuses, each with its reason."""
    found = _REFUSED_OPS.search(log)
    if found:
        return "; ".join(" ".join(line.split()) for line in found[1].split("\n") if line)
    # Plugins for other chips fail to load on every machine; that is no reason.
    errors = [line for line in log.split("\n") if "ERROR" in line and "plugin" not in line]
    return " ".join((errors or ["it does not say why"])[0].split())[:300]


def _widths(path: str, compiled: Any) -> Tuple[int, int]:
    """Returns T and C of a model with one int32 input (1, T) and one float32 output (1, C)."""
    signature = next(iter(compiled.get_signature_list()))
    widths = []
    for side, details, dtype in (
        ("input", compiled.get_input_tensor_details(signature), "int32"),
        ("output", compiled.get_output_tensor_details(signature), "float32"),
    ):
        tensors = [(str(item["dtype"]), list(item["shape"])) for item in details.values()]
        if len(tensors) != 1 or tensors[0][0] != dtype or len(tensors[0][1]) != 2:
            raise ValueError(
                f"{path}: {side}s are {tensors}, expected one {dtype} [1, N]. Export a text "
                "classifier of batch 1, with float output."
            )
        widths.append(int(tensors[0][1][1]))
    return widths[0], widths[1]
