"""An Edge TPU artifact → a ready model: lookup on the host, tail on the Edge TPU or the CPU."""

from __future__ import annotations

import importlib
import os
import sys
import time
from dataclasses import dataclass, field
from typing import Any, Dict, Optional, Tuple

import numpy as np

from device_runner.delegation import count_nodes
from device_runner.interpreter import check_model_file, check_num_threads, without_delegates
from device_runner.loaded_model import LoadedModel
from device_runner.lookup import HostLookup, read_lookup
from device_runner.runtimes import RUNTIMES, import_runtime

COMPILED_FILE = "model_edgetpu.tflite"
# pycoral's names (pycoral/utils/edgetpu.py).
_LIBRARIES = {"darwin": "libedgetpu.1.dylib", "win32": "edgetpu.dll"}
_LIBRARY = "libedgetpu.so.1"
# What a runtime or the delegate says → what to do about it, from reports of the Coral projects.
ADVICE = (
    (
        "cannot open shared object file",
        "the Edge TPU runtime is not installed: install libedgetpu1-std",
    ),
    (
        "Failed to load delegate",
        "the library found no Edge TPU: plug it in, wait until it is enumerated, and let the user "
        "read it (group plugdev)",
    ),
    (
        "Unsupported data type in custom op handler",
        "tflite-runtime and libedgetpu are of different ages: install versions of one release",
    ),
    ("kTfLiteUInt8", "this Edge TPU runtime is too old for int8: install version 13 or newer"),
    (
        "num_intermediate_tensors == 5",
        "an LSTM op was left to a runtime that is too old for it: install a newer tflite-runtime",
    ),
    (
        "edgetpu-custom-op",
        "a compiled file runs with the Edge TPU's delegate alone: use the uncompiled model.tflite",
    ),
)


@dataclass(eq=False)
class TailModel(LoadedModel):
    """The attributes of `interpreter.Model` for a model whose lookup stays on the host.

    A call spans the lookup, handing its rows over, and the tail; the host's part is work too.
    """

    runtime: str
    runtime_version: str
    delegate: str
    num_threads: int
    init_ns: int
    sequence_length: int
    num_classes: int
    lookup: HostLookup = field(repr=False)
    interpreter: Any = field(repr=False)
    input_indices: Dict[str, int] = field(repr=False)
    output_index: int = field(repr=False)
    output_scale: Tuple[float, int] = field(repr=False)
    token_ids: np.ndarray[Any, Any] = field(init=False, repr=False)

    adapter = None
    is_software = False

    def set_input(self, token_ids: np.ndarray[Any, Any]) -> None:
        """Keeps int32 (1, T) token ids for the next call; they are not checked again here."""
        self.token_ids = token_ids

    def invoke(self) -> None:
        """Looks the token ids up and runs the tail on what was found.

        Raises:
            RuntimeError: The runtime fails.
        """
        found = self.lookup.inputs(self.token_ids)
        for name, index in self.input_indices.items():
            self.interpreter.set_tensor(index, found[name])
        self.interpreter.invoke()

    def get_output(self) -> np.ndarray[Any, Any]:
        """Returns the last output, float32 (C,), from the file's int8."""
        scale, zero_point = self.output_scale
        quanta = self.interpreter.get_tensor(self.output_index).reshape(-1).astype(np.float32)
        output: np.ndarray[Any, Any] = (quanta - zero_point) * np.float32(scale)
        return output

    def count_nodes(self) -> Optional[Dict[str, Any]]:
        """Returns what the Edge TPU, or XNNPACK, really took of the tail."""
        return count_nodes(self.interpreter)

    def explain(self, error: Exception, token_ids: np.ndarray[Any, Any]) -> str:
        """Returns what a failed call means, and what to do."""
        return (
            f"the runtime {self.runtime} {self.runtime_version} failed on token ids from "
            f"{token_ids.min()} to {token_ids.max()}: {advise(str(error))}"
        )


def load_tail_model(folder: str, num_threads: int, delegate: str) -> TailModel:
    """Loads an artifact of the target edgetpu.

    Args:
        folder: The artifact folder, its digests checked.
        num_threads: CPU threads for what is not on the Edge TPU.
        delegate: "edgetpu" runs the compiled file there; "cpu" the uncompiled one, and "none" too,
            without XNNPACK.

    Raises:
        RuntimeNotFoundError: No TFLite runtime is installed.
        ValueError: There is no Edge TPU or no compiled file, or the runtime refuses the file.
        OSError: A file cannot be read.
    """
    check_num_threads(num_threads)
    on_tpu = delegate == "edgetpu"
    path = os.path.join(folder, COMPILED_FILE if on_tpu else "model.tflite")
    if on_tpu and not os.path.isfile(path):
        raise ValueError(
            f"delegate=edgetpu, but {folder} has no {COMPILED_FILE}: it was exported without the "
            "compiler, or for several Edge TPUs. Export it with edgetpu_compiler on PATH."
        )
    check_model_file(path)
    name, version, interpreter_class = import_runtime()
    lookup = read_lookup(folder)
    options = without_delegates(name, version, interpreter_class) if delegate == "none" else {}
    start = time.perf_counter_ns()
    try:
        if on_tpu:
            options["experimental_delegates"] = [_load_delegate(name)]
        interpreter = interpreter_class(model_path=path, num_threads=num_threads, **options)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError, OSError, SystemError) as error:
        raise ValueError(f"{path} on {name} {version}: {advise(str(error))}") from error
    init_ns = time.perf_counter_ns() - start
    inputs = {
        details["name"].split(":")[0].split("classify_")[-1]: details
        for details in interpreter.get_input_details()
    }
    (output,) = interpreter.get_output_details()
    return TailModel(
        runtime=name,
        runtime_version=version,
        delegate=delegate,
        num_threads=num_threads,
        init_ns=init_ns,
        sequence_length=int(inputs["vectors"]["shape"][2]),
        num_classes=int(output["shape"][-1]),
        lookup=lookup,
        interpreter=interpreter,
        input_indices={key: int(details["index"]) for key, details in inputs.items()},
        output_index=int(output["index"]),
        output_scale=output["quantization"],
    )


def advise(said: str) -> str:
    """Returns a runtime's words with what to do about them, where that is known."""
    text = " ".join(said.split())[:400].rstrip(".")
    for sign, advice in ADVICE:
        if sign in said:
            return f"{text}: {advice}, or use --delegate cpu."
    return f"{text}. Export the artifact again, or use --delegate cpu."


def _load_delegate(runtime: str) -> Any:
    """Returns the Edge TPU's delegate, made by the runtime that will use it."""
    module = importlib.import_module(RUNTIMES[runtime][0])
    # A delegate that cannot be loaded prints a traceback of its own when it is thrown away.
    if hasattr(module, "Delegate") and not hasattr(module.Delegate, "_library"):
        module.Delegate._library = None
    load = (
        module.lite.experimental.load_delegate if runtime == "tensorflow" else module.load_delegate
    )
    return load(_LIBRARIES.get(sys.platform, _LIBRARY))
