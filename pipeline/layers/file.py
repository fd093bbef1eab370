"""A .tflite file, texts and the tensors wanted → their values, from the runtime's plain kernels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray


class OpenFile:
    """A file whose every tensor can be read after a run.

    A delegate keeps the values between its ops to itself: here none is there, and the runtime's
    own kernels run every op. `as_shipped` is the same file with the default delegate, XNNPACK.

    Args:
        path: The .tflite file; subgraph 0 takes int32 `(1, sequence_length)`.
    """

    def __init__(self, path: Path) -> None:
        self._plain = Interpreter(
            str(path),
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=True,
        )
        self._shipped = Interpreter(str(path), num_threads=1)
        for interpreter in (self._plain, self._shipped):
            interpreter.allocate_tensors()
        self._details = {
            detail["index"]: detail for detail in self._plain.get_tensor_details(subgraph_index=0)
        }

    def run(self, token_ids: NDArray[np.int32]) -> NDArray[np.float32]:
        """Runs the plain kernels on one text, `(1, sequence_length)`; returns the output."""
        return invoke(self._plain, token_ids)

    def as_shipped(self, token_ids: NDArray[np.int32]) -> NDArray[np.float32]:
        """Runs one text with the default delegate; returns the output."""
        return invoke(self._shipped, token_ids)

    def value(self, index: int) -> NDArray[np.float32]:
        """Returns a tensor of the last `run` as numbers, whatever type it has."""
        value: NDArray[Any] = self._plain.get_tensor(index)
        scales, zeros = self._quantization(index)
        if len(scales):
            value = (value.astype(np.float32) - np.float32(zeros[0])) * np.float32(scales[0])
        return np.asarray(value, np.float32)

    def scale_of(self, index: int) -> float | None:
        """Returns the step between two values of a tensor; None of float32."""
        scales, _ = self._quantization(index)
        return float(scales[0]) if len(scales) else None

    def _quantization(self, index: int) -> tuple[Sequence[float], Sequence[int]]:
        found = self._details[index]["quantization_parameters"]
        return found["scales"], found["zero_points"]


def invoke(interpreter: Any, token_ids: NDArray[np.int32]) -> NDArray[np.float32]:
    """Returns the first output of a run."""
    interpreter.reset_all_variables()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], token_ids)
    interpreter.invoke()
    output: NDArray[np.float32] = interpreter.get_tensor(
        interpreter.get_output_details()[0]["index"]
    )
    return output
