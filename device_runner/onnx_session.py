"""A .onnx file → a ready model on ONNX Runtime, with the attributes of `interpreter.Model`."""

from __future__ import annotations

import importlib
import os
import time
from dataclasses import dataclass, field
from typing import Any, Dict, Optional, Tuple

import numpy as np

from device_runner.interpreter import check_num_threads
from device_runner.loaded_model import LoadedModel
from device_runner.runtimes import RuntimeNotFoundError

ONNX_SUFFIX = ".onnx"
ONNXRUNTIME = "onnxruntime"
_ELEMENT_TYPES = {"input": "tensor(int32)", "output": "tensor(float)"}


@dataclass(eq=False)
class OnnxModel(LoadedModel):
    """One .onnx file, loaded and ready: one int32 input (1, T), one float32 output (1, C).

    Input and output are bound to fixed memory, so that a call copies nothing.

    Attributes:
        runtime: "onnxruntime".
        runtime_version: Its version.
        delegate: "cpu": no other execution provider is ever asked for.
        num_threads: Threads within one operator; operators run one after another.
        init_ns: Loading and optimising the graph, in nanoseconds.
        sequence_length: T, token ids of one input.
        num_classes: C, numbers of one output.
    """

    runtime: str
    runtime_version: str
    delegate: str
    num_threads: int
    init_ns: int
    sequence_length: int
    num_classes: int
    session: Any = field(repr=False)
    binding: Any = field(repr=False)
    input_value: Any = field(repr=False)
    output_value: Any = field(repr=False)
    errors: Tuple[Any, ...] = field(repr=False)

    # What a GPU has to say: see `gpu.GpuModel`.
    adapter = None
    is_software = False

    def set_input(self, token_ids: np.ndarray[Any, Any]) -> None:
        """Copies int32 (1, T) token ids into the input; they are not checked again here."""
        self.input_value.update_inplace(np.ascontiguousarray(token_ids))

    def invoke(self) -> None:
        """Runs the model on the input that was set.

        Raises:
            RuntimeError: ONNX Runtime fails.
        """
        try:
            self.session.run_with_iobinding(self.binding)
        except self.errors as error:
            raise RuntimeError(" ".join(str(error).split())[:400]) from error

    def get_output(self) -> np.ndarray[Any, Any]:
        """Returns a copy of the last output, float32 (C,)."""
        output: np.ndarray[Any, Any] = self.output_value.numpy()
        return np.array(output, np.float32).reshape(-1)


def load_onnx_model(
    model_path: str | os.PathLike[str], num_threads: int = 1, runtime: Optional[str] = None
) -> OnnxModel:
    """Loads a .onnx file with ONNX Runtime, on the CPU.

    Args:
        model_path: The file; one int32 input of a fixed shape (1, T) and one float32 output (1, C).
        num_threads: CPU threads, from 1 to 256.
        runtime: "onnxruntime", or None for the same.

    Raises:
        RuntimeNotFoundError: ONNX Runtime is not installed.
        ValueError: ONNX Runtime refuses the file, it has other inputs and outputs, another runtime
            was asked for, or `num_threads` is outside its range.
        OSError: The file cannot be read.
    """
    check_num_threads(num_threads)
    if runtime not in (None, ONNXRUNTIME):
        raise ValueError(
            f"runtime={runtime!r} does not read {os.fspath(model_path)}. Use {ONNXRUNTIME!r}, or "
            "a .tflite file."
        )
    path = os.fspath(model_path)
    os.path.getsize(path)  # a file that is not there is an OSError, whatever the runtime says
    onnxruntime, errors = _import_onnxruntime()
    start = time.perf_counter_ns()
    session = _open_session(path, num_threads, onnxruntime, errors)
    init_ns = time.perf_counter_ns() - start
    widths = {
        side: _single_width(path, side, values)
        for side, values in (("input", session.get_inputs()), ("output", session.get_outputs()))
    }
    make_value = onnxruntime.OrtValue.ortvalue_from_numpy
    given = make_value(np.zeros((1, widths["input"]), np.int32))
    output = make_value(np.zeros((1, widths["output"]), np.float32))
    binding = session.io_binding()
    binding.bind_ortvalue_input(session.get_inputs()[0].name, given)
    binding.bind_ortvalue_output(session.get_outputs()[0].name, output)
    return OnnxModel(
        runtime=ONNXRUNTIME,
        runtime_version=str(onnxruntime.__version__),
        delegate="cpu",
        num_threads=num_threads,
        init_ns=init_ns,
        sequence_length=widths["input"],
        num_classes=widths["output"],
        session=session,
        binding=binding,
        input_value=given,
        output_value=output,
        errors=errors,
    )


def _open_session(path: str, num_threads: int, onnxruntime: Any, errors: Tuple[Any, ...]) -> Any:
    """Returns the session of a file, or ONNX Runtime's refusal as one ValueError."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised; warnings are no one's data
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except errors as error:
        said = " ".join(str(error).split())[:400].rstrip(".")
        raise ValueError(
            f"{path} ({os.path.getsize(path)} bytes) was refused by {ONNXRUNTIME} "
            f"{onnxruntime.__version__}: {said}. Expected a whole ONNX model of an opset that this "
            "version has: copy it or export it again, or install a newer onnxruntime."
        ) from error


def _import_onnxruntime() -> Tuple[Any, Tuple[Any, ...]]:
    """Returns the module and the exceptions that it raises, which have no base class of their own.

    Raises:
        RuntimeNotFoundError: It is not installed, or cannot be loaded.
    """
    try:
        onnxruntime = importlib.import_module("onnxruntime")
        state = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    except ImportError as error:
        raise RuntimeNotFoundError(
            f"a .onnx file needs ONNX Runtime, which does not work here ({error}). Install it: "
            "pip install 'tfpipe[onnx]', on a device python -m pip install onnxruntime"
        ) from error
    found: Dict[str, Any] = vars(state)
    errors = [
        value
        for value in found.values()
        if isinstance(value, type) and issubclass(value, Exception)
    ]
    return onnxruntime, (*errors, RuntimeError, ValueError)


def _single_width(path: str, side: str, values: Any) -> int:
    """Returns the width of the one input or output."""
    given = [f"{value.type} {value.shape}" for value in values]
    shape = list(values[0].shape) if len(values) == 1 else []
    fits = len(shape) == 2 and shape[0] == 1 and isinstance(shape[1], int) and shape[1] >= 1
    if not fits or values[0].type != _ELEMENT_TYPES[side]:
        raise ValueError(
            f"{path}: {side}s are {', '.join(given) or 'none'}, expected one "
            f"{_ELEMENT_TYPES[side]} [1, N] of a fixed size. Export a text classifier of batch 1."
        )
    return int(shape[1])
