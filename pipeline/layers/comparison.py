"""A trained model's form, its file and texts → how far apart they are, layer by layer."""

from __future__ import annotations

from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfpipe.layers.differences import Differences
from tfpipe.layers.file import OpenFile
from tfpipe.layers.reference import Reference, Skips, Values

RUNTIME = "ai-edge-litert"
Tensors = dict[str, list[int]]


class Comparison:
    """A reference beside a file, text after text.

    Args:
        reference: Traced.
        file: The artifact's.
        tensors: As `find_tensors` returns them.
        skips: Whether a loop leaves the padding's rows at zero, see `skips_padding`.
    """

    def __init__(
        self, reference: Reference, file: OpenFile, tensors: Tensors, *, skips: Skips
    ) -> None:
        self._reference, self._file, self._tensors, self._skips = reference, file, tensors, skips
        factors = {place.name: place.factor for place in reference.places}
        self._factors = {name: factors[name] for name in tensors}
        self._file_scales = {
            name: scaled(file.scale_of(found[-1]), factors[name]) for name, found in tensors.items()
        }
        self._scales = {
            name: reference.scale_of(name) or self._file_scales[name] for name in tensors
        }
        self._total = {name: Differences(scale) for name, scale in self._scales.items()}
        self._own = {name: Differences(scale) for name, scale in self._scales.items()}
        self._delegate: list[tuple[float, bool]] = []
        self._shapes: dict[str, list[int]] = {}

    def add(self, token_ids: NDArray[np.int32]) -> None:
        """Runs one text, int32 `(1, sequence_length)`, through both."""
        plain, shipped = self._file.run(token_ids), self._file.as_shipped(token_ids)
        same = bool(plain.argmax() == shipped.argmax())
        self._delegate.append((float(np.abs(plain - shipped).max()), same))
        expected = self._reference.compute(token_ids, {})
        found = {name: self._read(name, expected[name]) for name in self._tensors}
        self._shapes = {name: list(value.shape[1:]) for name, value in found.items()}
        self._add(self._total, expected, found, token_ids)
        if self._reference.replays:
            self._add(self._own, self._reference.compute(token_ids, found), found, token_ids)

    def _read(self, name: str, expected: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns the file's value in the shape of the reference's, or its last rows."""
        parts = [np.ravel(self._file.value(index)) for index in self._tensors[name]]
        value = np.concatenate(parts) * np.float32(self._factors[name])
        return value.reshape((1, -1, *expected.shape[2:]))

    def _add(
        self,
        sums: dict[str, Differences],
        expected: Values,
        found: Values,
        token_ids: NDArray[np.int32],
    ) -> None:
        for name, theirs in found.items():
            ours = expected[name][:, expected[name].shape[1] - theirs.shape[1] :]
            is_sequence = theirs.ndim == 3 and theirs.shape[1] == token_ids.shape[1]
            only_tokens = is_sequence and self._skips(name)
            rows = slice(int((token_ids > 0).sum()) if only_tokens else None)
            sums[name].add(ours[:, rows], theirs[:, rows])

    def result(self) -> dict[str, Any]:
        """Returns {"reference", "runtime", "runtime_version", "delegate", "layers": [{"name",
        "tensors", "shape", "scale", "file_scale", …}]}.

        Beside the figures of `Differences`, a layer has them as "own": of the value computed from
        what the file itself has before it, None of a float model.
        """
        errors, same = zip(*self._delegate, strict=True)
        return {
            "reference": self._reference.name,
            "runtime": RUNTIME,
            "runtime_version": metadata.version(RUNTIME),
            "delegate": {"max_abs_error": max(errors), "agreement": float(np.mean(same))},
            "layers": [self._describe(name) for name in self._tensors],
        }

    def _describe(self, name: str) -> dict[str, Any]:
        own = self._own[name].figures() if self._reference.replays else None
        return {
            "name": name,
            "tensors": len(set(self._tensors[name])),
            "shape": self._shapes[name],
            "scale": self._scales[name],
            "file_scale": self._file_scales[name],
            **self._total[name].figures(),
            "own": own,
        }


def scaled(scale: float | None, factor: float) -> float | None:
    """Returns a scale times a factor; None of none."""
    return None if scale is None else scale * factor
