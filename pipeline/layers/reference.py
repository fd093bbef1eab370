"""A model, its conversion job and a text → its layers' values, and where the graph has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
import tf_keras as keras
from numpy.typing import NDArray

from tfpipe.export.convert import GPU_TARGETS, build_function
from tfpipe.export.gpu_form import GPU_LAYERS
from tfpipe.export.lowering import LOWERED
from tfpipe.export.recurrence import RECURRENCES
from tfpipe.models.dropout import ResumableDropout
from tfpipe.models.embedding import embedding_behind
from tfpipe.models.folded_states import FoldedStates
from tfpipe.models.quantized import QuantizedModel
from tfpipe.models.recording import ComparingForm, Place, TracedForm, place_of
from tfpipe.models.rounded_layers import rounded_logits
from tfpipe.models.rounding import FIXED_RANGES, LEVELS

Values = dict[str, NDArray[np.float32]]
# A point's name → whether only the rows of the text's tokens count.
Skips = Callable[[str], bool]


class Reference(Protocol):
    """What a file is compared with.

    Attributes:
        name: What it is, in words.
        places: Where the graph has each value, filled by `trace`.
        replays: Whether `compute` takes the file's values.
    """

    name: str
    replays: bool
    places: list[Place]

    def trace(self, job: dict[str, Any], length: int) -> Any:
        """Returns the concrete function that the file is converted from; see `inference_form`."""

    def compute(self, token_ids: NDArray[np.int32], given: Mapping[str, Any]) -> Values:
        """Returns {name: value} of one text, int32 `(1, length)`; where the file's values are
        `given`, each is computed from those before it in the file."""

    def scale_of(self, name: str) -> float | None:
        """Returns the step between the values that a point can have; None of float32."""


class RoundedReference:
    """The quantization-aware form: every value that the integer kernels round.

    Args:
        model: With its ranges.
    """

    name = "the quantization-aware form, rounded in float32"
    replays = True

    def __init__(self, model: QuantizedModel) -> None:
        self._model = model
        self._compute: Any = tf.function(self._rounded, autograph=False)
        self.places: list[Place] = []

    def trace(self, job: dict[str, Any], length: int) -> Any:
        forms: list[TracedForm] = []

        def remember(ranges: dict[str, tuple[float, float]]) -> TracedForm:
            forms.append(TracedForm(ranges))
            return forms[-1]

        self._model.constant_form = remember
        function = build_function(self._model, job, None, length)
        self.places = forms[-1].places
        return function

    def _rounded(self, token_ids: Any, given: dict[str, Any]) -> dict[str, Any]:
        form = ComparingForm(self._model.ranges, self._model.names, given, token_ids.shape[1])
        form.per_tensor = form.blind.per_tensor = self._model.per_tensor
        rounded_logits(self._model.float_model, token_ids, form)
        return form.values

    def compute(self, token_ids: NDArray[np.int32], given: Mapping[str, Any]) -> Values:
        tensors = {name: tf.constant(value) for name, value in given.items()}
        values = self._compute(tf.constant(token_ids), tensors)
        return {name: value.numpy() for name, value in values.items()}

    def scale_of(self, name: str) -> float | None:
        kind = next((place.kind for place in self.places if place.name == name), "value")
        low, high = FIXED_RANGES.get(kind) or self._model.range_of().get(name, (0.0, 0.0))
        return (high - low) / LEVELS or None


class KerasReference:
    """The layers' outputs of a float model.

    Args:
        model: A functional model of `tfpipe.models`.
    """

    name = "the Keras layers' outputs, float32"
    replays = False

    def __init__(self, model: keras.Model) -> None:
        shown = [layer for layer in model.layers if is_shown(layer)]
        outputs = {layer.name: layer.output for layer in shown}
        self._model = model
        self._compute: Any = tf.function(keras.Model(model.input, outputs), autograph=False)
        self.places: list[Place] = []

    def trace(self, job: dict[str, Any], length: int) -> Any:
        self.places = []
        own = GPU_LAYERS if job["target"] in GPU_TARGETS else {}
        recurrence = RECURRENCES.get(job["lowering"])
        layers = {**LOWERED, **own}
        if recurrence is not None:
            layers[keras.layers.LSTM] = recurrence
        noting = {kind: self._note(lower) for kind, lower in layers.items()}
        return build_function(self._model, job, noting, length)

    def _note(self, lower: Callable[..., Any]) -> Callable[..., Any]:
        def lower_and_note(layer: Any, *inputs: Any) -> Any:
            outputs = lower(layer, *inputs)
            if isinstance(outputs, FoldedStates):
                self.places.append(Place(layer.name, "layer", None, None, (), in_loop=True))
            elif is_shown(layer):
                self.places.append(place_of(layer.name, "layer", outputs))
            return outputs

        return lower_and_note

    def compute(self, token_ids: NDArray[np.int32], given: Mapping[str, Any]) -> Values:
        values = self._compute(tf.constant(token_ids))
        return {name: np.asarray(value, np.float32) for name, value in values.items()}

    def scale_of(self, name: str) -> float | None:
        return None


def is_shown(layer: keras.layers.Layer) -> bool:
    """Returns whether a layer does something at inference."""
    return not isinstance(layer, keras.layers.InputLayer | ResumableDropout | keras.layers.Dropout)


def make_reference(model: Any) -> Reference:
    """Returns what the file of a model is compared with."""
    return RoundedReference(model) if isinstance(model, QuantizedModel) else KerasReference(model)


def skips_padding(model: Any, lowering: str) -> Skips:
    """Returns which points have rows that a loop never came to.

    A loop ends with the text. Behind it a layer that reads forwards would go on over the padding;
    the file leaves zeros there, and every reader masks them.

    Args:
        model: What the file was made of.
        lowering: How recurrences are written in it.
    """
    layers = getattr(model, "float_model", model).layers
    lstms = [layer for layer in layers if isinstance(layer, keras.layers.LSTM)]
    backwards = {layer.name for layer in lstms if layer.go_backwards}
    if lowering != "loop" or all(
        layer.go_backwards or embedding_behind(layer) is None for layer in lstms
    ):
        return lambda name: False
    return lambda name: name.partition("/")[0] not in backwards
