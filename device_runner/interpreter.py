"""A .tflite file → a ready interpreter that says which runtime and delegate really run it."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Optional, Tuple

import numpy as np

from device_runner.delegation import count_nodes
from device_runner.loaded_model import LoadedModel
from device_runner.runtimes import import_runtime

# More than any device has cores: a mistyped number must not start a million threads.
MAX_THREADS = 256
_IDENTIFIER = b"TFL3"  # bytes 4 to 8 of every TFLite flatbuffer (tensorflow/lite/schema/schema.fbs)


@dataclass(eq=False)
class Model(LoadedModel):
    """One .tflite file, loaded and ready: one int32 input (1, T), one float32 output (1, C).

    Attributes:
        runtime: "ai-edge-litert", "tflite-runtime" or "tensorflow".
        runtime_version: Version of that package.
        delegate: Where it really runs: "cpu", where XNNPACK takes what it can, or "none", the
            runtime's own kernels alone.
        num_threads: CPU threads given to the interpreter.
        init_ns: Creating the interpreter and allocating its tensors, in nanoseconds.
        sequence_length: T, token ids of one input.
        num_classes: C, numbers of one output.
        interpreter: The runtime's own object.
        invoke: Runs the model on the input that was set; the runtime's own method, so that
            timing it times nothing of ours.
    """

    runtime: str
    runtime_version: str
    delegate: str
    num_threads: int
    init_ns: int
    sequence_length: int
    num_classes: int
    interpreter: Any = field(repr=False)
    input_index: int = field(repr=False)
    output_index: int = field(repr=False)
    invoke: Callable[[], None] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.invoke = self.interpreter.invoke

    # What a GPU has to say: see `gpu.GpuModel`.
    adapter = None
    is_software = False

    def set_input(self, token_ids: np.ndarray[Any, Any]) -> None:
        """Copies int32 (1, T) token ids into the input; they are not checked again here.

        What an op keeps from call to call is forgotten first: the fused LSTM that TensorFlow's
        converter makes of a Keras layer starts from the state that the text before it left.
        """
        self.interpreter.reset_all_variables()
        self.interpreter.set_tensor(self.input_index, token_ids)

    def get_output(self) -> np.ndarray[Any, Any]:
        """Returns a copy of the last output, float32 (C,)."""
        output: np.ndarray[Any, Any] = self.interpreter.get_tensor(self.output_index)
        return output.reshape(-1)

    def count_nodes(self) -> Optional[Dict[str, Any]]:
        """Returns what XNNPACK really took of the graph."""
        return count_nodes(self.interpreter)


def load_model(
    model_path: str | os.PathLike[str],
    num_threads: int = 1,
    runtime: Optional[str] = None,
    delegate: str = "cpu",
) -> Model:
    """Loads a .tflite file with the first TFLite runtime that is installed.

    Args:
        model_path: The file; one int32 input of a fixed shape (1, T) and one float32 output
            (1, C). A damaged file can make a runtime end the process: run it in a child.
        num_threads: CPU threads, from 1 to 256.
        runtime: A key of `RUNTIMES` to use that one; None takes the first that is installed.
        delegate: "cpu" is what the runtime does by itself, "none" does without XNNPACK.

    Raises:
        RuntimeNotFoundError: No runtime, or not the one asked for, is installed.
        ValueError: The file is truncated, no TFLite model, needs a newer runtime, or has other
            inputs and outputs; `num_threads` is outside its range; or the runtime cannot do without
            XNNPACK.
        OSError: The file cannot be read.
    """
    check_num_threads(num_threads)
    path = os.fspath(model_path)
    check_model_file(path)
    name, version, interpreter_class = import_runtime(runtime)
    options = without_delegates(name, version, interpreter_class) if delegate == "none" else {}
    start = time.perf_counter_ns()
    try:
        interpreter = interpreter_class(model_path=path, num_threads=num_threads, **options)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError, SystemError) as error:
        raise ValueError(_explain_refusal(path, name, version, str(error))) from error
    init_ns = time.perf_counter_ns() - start
    tensors = _single_tensors(path, interpreter)
    return Model(
        runtime=name,
        runtime_version=version,
        delegate=delegate,
        num_threads=num_threads,
        init_ns=init_ns,
        sequence_length=tensors["input"][1],
        num_classes=tensors["output"][1],
        interpreter=interpreter,
        input_index=tensors["input"][0],
        output_index=tensors["output"][0],
    )


def without_delegates(name: str, version: str, interpreter_class: Any) -> Dict[str, Any]:
    """Returns the argument with which a runtime's interpreter does without XNNPACK.

    Raises:
        ValueError: The runtime has none.
    """
    kinds = getattr(sys.modules[interpreter_class.__module__], "OpResolverType", None)
    if kinds is None:
        raise ValueError(
            f"delegate=none, but {name} {version} cannot do without XNNPACK. Install a newer "
            "runtime, such as ai-edge-litert, or use --delegate cpu."
        )
    return {"experimental_op_resolver_type": kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES}


def check_num_threads(num_threads: int) -> None:
    """Refuses a number of threads that no device has cores for.

    Raises:
        ValueError: Not from 1 to 256.
    """
    if not 1 <= num_threads <= MAX_THREADS:
        raise ValueError(
            f"num_threads={num_threads}, expected 1 to {MAX_THREADS}. Use the number of cores "
            "or fewer."
        )


def check_model_file(path: str) -> None:
    """Refuses a file that cannot be a TFLite model, before a runtime reads it.

    Raises:
        ValueError: Too short, or without the identifier "TFL3".
        OSError: The file cannot be read.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(8)
    if len(head) < 8 or head[4:8] != _IDENTIFIER:
        raise ValueError(
            f"{path} ({size} bytes) is not a TFLite model: bytes 4 to 8 are {head[4:8]!r}, "
            f"expected {_IDENTIFIER!r}. Give a .tflite file, or export the model again."
        )


def _explain_refusal(path: str, name: str, version: str, text: str) -> str:
    head = f"{path} ({os.path.getsize(path)} bytes) was refused by {name} {version}: "
    said = " ".join(text.split())[:400].rstrip(".")
    if "Didn't find op for builtin opcode" in text:
        return (
            f"{head}{said}. The file's ops are newer than this runtime: install a newer one, or "
            f"export again for this one: tfpipe export … --runtime {name}=={version}"
        )
    if "Select TensorFlow op" in text or "Flex" in text or "custom op" in text:
        return (
            f"{head}{said}. No device has TensorFlow's own ops: export the model with builtin "
            "ops only, as tfpipe export does."
        )
    return (
        f"{head}{said}. Expected a whole TFLite model: it may be cut off or damaged; copy it or "
        "export it again."
    )


def _single_tensors(path: str, interpreter: Any) -> Dict[str, Tuple[int, int]]:
    """Returns the tensor index and the width of the one input and the one output."""
    found: Dict[str, Tuple[int, int]] = {}
    for side, details, dtype in (
        ("input", interpreter.get_input_details(), np.int32),
        ("output", interpreter.get_output_details(), np.float32),
    ):
        given = [
            f"{np.dtype(item['dtype']).name} {[int(size) for size in item['shape_signature']]}"
            for item in details
        ]
        fits = len(details) == 1 and details[0]["dtype"] is dtype
        shape = [int(size) for size in details[0]["shape_signature"]] if fits else []
        if len(shape) != 2 or shape[0] != 1 or shape[1] < 1:
            raise ValueError(
                f"{path}: {side}s are {', '.join(given) or 'none'}, expected one "
                f"{np.dtype(dtype).name} [1, N] of a fixed size. Export a text classifier of "
                "batch 1, with float output."
            )
        found[side] = (int(details[0]["index"]), shape[1])
    return found
