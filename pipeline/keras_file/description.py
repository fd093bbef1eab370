"""Layers one after another → what `tfpipe.models.imported` builds, and the weights."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfpipe.models.imported import INPUT

Weights = list[NDArray[np.float32]]


class Description:
    """A model that is being described.

    Attributes:
        layers: Entries of `build_imported`.
        weights: Name of a layer → its arrays in Keras' order.
    """

    def __init__(self) -> None:
        self.layers: list[dict[str, Any]] = []
        self.weights: dict[str, Weights] = {}
        self._names = {INPUT}
        self._mask: str | None = None

    def add(
        self,
        layer_type: str,
        label: str,
        inputs: Sequence[str],
        config: dict[str, Any] | None = None,
        weights: Sequence[NDArray[Any]] = (),
    ) -> str:
        """Adds a layer; returns its name, which is `label` as far as TensorFlow takes it."""
        plain = re.sub(r"[^A-Za-z0-9_.-]", "_", label).lstrip("_.-") or "layer"
        name, number = plain, 1
        while name in self._names:
            number += 1
            name = f"{plain}_{number}"
        self._names.add(name)
        self.layers.append(
            {"type": layer_type, "name": name, "config": config or {}, "inputs": list(inputs)}
        )
        if weights:
            self.weights[name] = [np.asarray(array, np.float32) for array in weights]
        return name

    def mask(self) -> str:
        """Returns the name of the layer that marks the real tokens."""
        if self._mask is None:
            self._mask = self.add("PaddingMask", "padding_mask", [INPUT])
        return self._mask

    def remove_activation(self, name: str) -> str:
        """Makes the activation of a described layer linear; returns what it was."""
        entry = next(entry for entry in self.layers if entry["name"] == name)
        found = str(entry["config"].get("activation", "linear"))
        if entry["type"] == "Activation" and found != "linear":
            entry["config"]["activation"] = "linear"
        elif entry["type"] == "Dense":
            entry["config"]["activation"] = "linear"
        else:
            found = "linear"
        return found
