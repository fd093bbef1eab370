"""A rounding point's name → its tensor in the converter's graph, its value in the rounded form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
import tf_keras as keras

from tfpipe.models.rounded_lstm import lstm_step, project, run_loop
from tfpipe.models.rounding import ConstantForm, RoundingForm

WEIGHTS = ("kernel", "table")


@dataclass(frozen=True)
class Place:
    """Where a value stands in the graph that the converter reads.

    Attributes:
        name: The rounding point's, or the layer's.
        kind: As for `Form`; "layer" for a layer's output.
        producer: Name of the op that makes the value; None if that op makes several.
        rounded: Name of the op that rounds it; None in a graph that does not round.
        shape: Of the value.
        factor: What the file's number is multiplied with to be the value.
        in_loop: Whether it stands in a loop's body.
    """

    name: str
    kind: str
    producer: str | None
    rounded: str | None
    shape: tuple[int, ...]
    factor: float = 1.0
    in_loop: bool = False


def place_of(
    name: str, kind: str, value: Any, *, rounded: str | None = None, **facts: Any
) -> Place:
    """Returns the place of a symbolic tensor."""
    producer = value.op.name if len(value.op.outputs) == 1 else None
    return Place(name, kind, producer, rounded, tuple(value.shape), **facts)


class TracedForm(ConstantForm):
    """`ConstantForm` that notes where each value stands in the graph.

    Attributes:
        places: In the order of the walk; a step of an unrolled recurrence has one each.
    """

    def __init__(self, ranges: dict[str, tuple[float, float]]) -> None:
        super().__init__(ranges)
        self.places: list[Place] = []
        self._graph: Any = None

    def hold(self, name: str, value: Any, kind: str) -> Any:
        held = super().hold(name, value, kind)
        if kind in WEIGHTS:
            return held
        # Logits leave int8 as half of them, doubled in float32.
        rounding, factor = (held.op.inputs[0].op, 2.0) if kind == "logits" else (held.op, 1.0)
        self._note(name, kind, rounding.inputs[0], rounded=rounding.name, factor=factor)
        return held

    def lookup(self, name: str, table: Any, scale: float, token_ids: Any) -> Any:
        vectors = super().lookup(name, table, scale, token_ids)
        self._note(name, "table", vectors)
        return vectors

    def _note(self, name: str, kind: str, value: Any, **facts: Any) -> None:
        self._graph = self._graph or value.graph
        in_loop = value.graph is not self._graph
        self.places.append(place_of(name, kind, value, in_loop=in_loop, **facts))


class ComparingForm(RoundingForm):
    """Values rounded as at inference, remembered; and, where a file's own are given, computed from
    those, so that a difference does not come from the values before it.

    Args:
        ranges: See `RoundingForm`.
        names: See `RoundingForm`.
        given: {name: the file's value, `(1, …)`}. Of a recurrence, which has no such value in its
            first steps, the last rows along axis 1.
        length: Tokens of the text.

    Attributes:
        values: {name: what this form makes of the value}.
    """

    recurrence: Any

    def __init__(
        self, ranges: Any, names: Sequence[str], given: Mapping[str, Any], length: int
    ) -> None:
        super().__init__(ranges, names, training=False)
        self.blind = RoundingForm(ranges, names, training=False)
        self.recurrence = compared_lstm
        self.given, self.length = given, length
        self.values: dict[str, Any] = {}

    def hold(self, name: str, value: Any, kind: str) -> Any:
        held = super().hold(name, value, kind)
        if kind == "kernel" or not held.shape.rank:
            return held
        self.values[name] = held
        theirs = self.given.get(name)
        if theirs is None:
            return held
        return tf.concat([held[:, : tf.shape(held)[1] - theirs.shape[1]], theirs], 1)


def compared_lstm(layer: keras.layers.LSTM, inputs: Any, form: ComparingForm) -> Any:
    """Shows `form` each value of all steps at once: computed from the file's states where it shows
    those of every step, and else from those of a loop.

    Args:
        inputs: float32 `(1, length, features)`.

    Returns:
        float32 `(1, length, units)`, in the order of Keras, or `(1, units)`.
    """
    projected, kernel = project(layer, inputs, form)
    states: Any = [form.given.get(f"{layer.name}/{part}") for part in ("hidden", "cell")]
    if any(state is None or state.shape[1] != form.length for state in states):
        states = run_loop(layer, projected, kernel, form.blind)
    before = [tf.pad(state[:, :-1], [[0, 0], [1, 0], [0, 0]]) for state in states]
    steps = tf.reverse(projected, [1]) if layer.go_backwards else projected
    hidden, _ = lstm_step(layer.name, steps, (before[0], before[1]), kernel, form)
    return form.passed(hidden if layer.return_sequences else hidden[:, -1])
