"""LiteRT's C library + a .tflite file → a compiled model with the runtime's own profiler.

Python's interpreters have no profiler; LiteRT's compiled model has one, in the C interface alone
(google-ai-edge/LiteRT, litert/c/litert_compiled_model.h, litert_profiler.h). That interface
changes between versions, and a wrong call can end the process: call it in one that may die.
"""

from __future__ import annotations

import ctypes
import glob
import importlib.util
import os
from typing import Any, Callable, List, Optional, Sequence, Tuple

import numpy as np

_CPU = 1  # kLiteRtHwAcceleratorCpu
_READ, _WRITE = 0, 1  # LiteRtTensorBufferLockMode
_ELEMENT_TYPES = {np.dtype(np.float32): 1, np.dtype(np.int32): 2}  # LiteRtElementType
# An event is tag, type, start, elapsed, memory before and after, two metadata words, source. The
# memory is two times three words in ai-edge-litert 2.3, two times four in others.
_EVENT_WORDS = (13, 15)
_UNTOUCHED = 0xABABABABABABABAB


class _Layout(ctypes.Structure):
    _fields_ = [
        ("rank", ctypes.c_uint, 7),
        ("has_strides", ctypes.c_uint, 1),
        ("dimensions", ctypes.c_int32 * 8),
        ("strides", ctypes.c_uint32 * 8),
    ]


class _TensorType(ctypes.Structure):
    _fields_ = [("element_type", ctypes.c_int), ("layout", _Layout)]


class ProfilerError(RuntimeError):
    """This runtime has no profiler, or not the one that is known here."""


def find_library() -> Optional[str]:
    """Returns the path of LiteRT's C library in the installed ai-edge-litert, or None."""
    spec = importlib.util.find_spec("ai_edge_litert")
    folders = list(spec.submodule_search_locations or []) if spec is not None else []
    found = [path for folder in folders for path in glob.glob(os.path.join(folder, "libLiteRt.*"))]
    return sorted(found)[0] if found else None


class ProfiledModel:
    """A model with one int32 input (1, T) and one float32 output (1, C), run with the profiler on.

    Args:
        path: The .tflite file.
        shapes: Shape of the input and of the output.
        num_threads: CPU threads.

    Raises:
        ProfilerError: The library is not there, lacks a function or refuses the model.
    """

    def __init__(
        self, path: str, shapes: Tuple[Sequence[int], Sequence[int]], num_threads: int
    ) -> None:
        library = find_library()
        if library is None:
            raise ProfilerError(
                "ai-edge-litert is not installed, the only runtime with a profiler. Install it."
            )
        self._library = ctypes.CDLL(library)
        environment, model = ctypes.c_void_p(), ctypes.c_void_p()
        self._compiled, self._profiler = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("CreateEnvironment", 0, None, ctypes.byref(environment))
        encoded = os.fsencode(path)
        try:
            self._call("CreateModelFromFile", environment, encoded, ctypes.byref(model))
        except ProfilerError as error:
            raise ProfilerError(
                f"LiteRT's compiled model, which alone has a profiler, does not take {path} "
                f"({error.args[0].split(',')[0]}): it takes no op that keeps a state from call to "
                "call, as the fused LSTM does. With --lowering loop it is taken."
            ) from error
        options = self._options(num_threads)
        self._call("CreateCompiledModel", environment, model, options, ctypes.byref(self._compiled))
        self._call("CompiledModelGetProfiler", self._compiled, ctypes.byref(self._profiler))
        if not self._profiler:
            raise ProfilerError(f"{library} gives no profiler. Use ai-edge-litert 2.3.0.")
        self._input = self._buffer(environment, "Input", np.dtype(np.int32), shapes[0])
        self._output = self._buffer(environment, "Output", np.dtype(np.float32), shapes[1])
        self._num_outputs = int(np.prod(shapes[1]))
        one = ctypes.c_void_p * 1
        self._inputs, self._outputs = one(self._input), one(self._output)
        self._call("StartProfiler", self._profiler)

    def run(self, token_ids: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Returns the output, float32 (C,), for int32 (1, T) token ids."""
        self._with_memory(
            self._input,
            _WRITE,
            lambda at: ctypes.memmove(at, token_ids.ctypes.data, token_ids.nbytes),
        )
        one, zero = ctypes.c_size_t(1), ctypes.c_size_t(0)
        arguments = (self._compiled, zero, one, self._inputs, one, self._outputs)
        self._call("RunCompiledModel", *arguments)
        output = np.empty(self._num_outputs, np.float32)
        self._with_memory(
            self._output, _READ, lambda at: ctypes.memmove(output.ctypes.data, at, output.nbytes)
        )
        return output

    def take_events(self) -> np.ndarray[Any, Any]:
        """Returns what the profiler has seen since the last call, and empties it.

        Returns:
            int64 (n, 4): address of the name, type of event (1 a phase, 2 an op, 4 and 8 an op
            within a delegate), index of the node, elapsed whole microseconds.

        Raises:
            ProfilerError: The events have a layout that is not known here.
        """
        count = ctypes.c_int()
        self._call("GetNumProfilerEvents", self._profiler, ctypes.byref(count))
        raw = np.full(count.value * 32, _UNTOUCHED, np.uint64)
        address = raw.ctypes.data_as(ctypes.c_void_p)
        self._call("GetProfilerEvents", self._profiler, count, address)
        self._call("ResetProfiler", self._profiler)
        self._call("StartProfiler", self._profiler)  # resetting stops it
        written = int(np.flatnonzero(raw != _UNTOUCHED).max(initial=-1)) + 1
        words = written / max(1, count.value)
        if words not in _EVENT_WORDS:
            raise ProfilerError(
                f"the profiler's events have {words:g} words, expected one of {_EVENT_WORDS}. Use "
                "ai-edge-litert 2.3.0."
            )
        events = raw[:written].reshape(count.value, int(words))
        kinds = events[:, 1] & np.uint64(0xFFFFFFFF)
        return np.stack(
            [events[:, 0], kinds, events[:, int(words) - 3], events[:, 3]], axis=1
        ).astype(np.int64)

    def name_at(self, address: int) -> str:
        """Returns the name that an event points to; it may be gone after the next call."""
        return ctypes.string_at(address).decode("utf-8", "replace")

    def _call(self, name: str, *arguments: Any) -> None:
        try:
            status = getattr(self._library, "LiteRt" + name)(*arguments)
        except AttributeError as error:
            raise ProfilerError(f"LiteRt{name} is missing. Use ai-edge-litert 2.3.0.") from error
        if status != 0:
            raise ProfilerError(
                f"LiteRt{name} gave status {status}, expected 0. The profiler's interface does "
                "not take this model; run without per-op times."
            )

    def _options(self, num_threads: int) -> ctypes.c_void_p:
        options = ctypes.c_void_p()
        self._call("CreateOptions", ctypes.byref(options))
        self._call("SetOptionsHardwareAccelerators", options, _CPU)
        system = ctypes.CDLL(None)
        system.strdup.restype = ctypes.c_void_p
        free = ctypes.cast(system.free, ctypes.c_void_p)
        for name, text in (
            (b"runtime_options_string", "enable_profiling = true\n"),
            (b"xnnpack", f"num_threads = {num_threads}\n"),
        ):
            payload, option = ctypes.c_void_p(system.strdup(text.encode())), ctypes.c_void_p()
            self._call("CreateOpaqueOptions", name, payload, free, ctypes.byref(option))
            self._call("AddOpaqueOptions", options, option)
        return options

    def _buffer(
        self, environment: Any, side: str, dtype: np.dtype[Any], shape: Sequence[int]
    ) -> ctypes.c_void_p:
        needs, buffer, kind = ctypes.c_void_p(), ctypes.c_void_p(), _TensorType()
        zero = ctypes.c_size_t(0)
        self._call(
            f"GetCompiledModel{side}BufferRequirements",
            *(self._compiled, zero, zero, ctypes.byref(needs)),
        )
        kind.element_type = _ELEMENT_TYPES[dtype]
        kind.layout.rank = len(shape)
        kind.layout.dimensions[: len(shape)] = list(shape)
        self._call(
            "CreateManagedTensorBufferFromRequirements",
            *(environment, ctypes.byref(kind), needs, ctypes.byref(buffer)),
        )
        return buffer

    def _with_memory(self, buffer: Any, mode: int, use: Callable[[Any], Any]) -> None:
        at = ctypes.c_void_p()
        self._call("LockTensorBuffer", buffer, ctypes.byref(at), mode)
        use(at)
        self._call("UnlockTensorBuffer", buffer)


def names_of(model: ProfiledModel, events: np.ndarray[Any, Any]) -> List[str]:
    """Returns the name of every event."""
    return [model.name_at(int(address)) for address in events[:, 0]]
