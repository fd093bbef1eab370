"""A value's name → what a model's values are like: their ranges, or the cost of rounding them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfpipe.models.rounding import Form, RoundingForm


class ExactForm(Form):
    """Values as in float32."""

    def hold(self, name: str, value: Any, kind: str) -> Any:
        return value[0] if isinstance(value, tuple) else value


class ObservingForm(ExactForm):
    """Values as in float32, and the smallest and largest of each.

    Attributes:
        seen: {name of a learned range: (kind, smallest, largest)}, in the order of the walk.
    """

    def __init__(self) -> None:
        super().__init__()
        self.blind = ExactForm()
        self.seen: dict[str, tuple[str, Any, Any]] = {}

    def hold(self, name: str, value: Any, kind: str) -> Any:
        if kind in ("value", "gate", "logits"):
            _, low, high = self.seen.get(name, (kind, 0.0, 0.0))
            low = tf.minimum(low, tf.reduce_min(value))
            high = tf.maximum(high, tf.reduce_max(value))
            self.seen[name] = (kind, low, high)
        return super().hold(name, value, kind)


class OneLayerForm(RoundingForm):
    """Values of one layer rounded as at inference, all others as in float32.

    Args:
        ranges: As of `RoundingForm`.
        names: As of `RoundingForm`.
        layer: Its name, which the names of its values begin with.
    """

    def __init__(self, ranges: Any, names: Sequence[str], layer: str) -> None:
        super().__init__(ranges, names, training=False)
        self._layer = layer

    def hold(self, name: str, value: Any, kind: str) -> Any:
        if name.partition("/")[0] == self._layer:
            return super().hold(name, value, kind)
        return value[0] if isinstance(value, tuple) else value


class AuditingForm(RoundingForm):
    """Values rounded as at inference, and what that cost each.

    Attributes:
        errors: {name: (mean |x - q(x)|, largest |x - q(x)|, sum of x², sum of (x - q(x))²)}.
    """

    def __init__(self, ranges: Any, names: Sequence[str]) -> None:
        super().__init__(ranges, names, training=False)
        self.blind = RoundingForm(ranges, names, training=False)
        self.errors: dict[str, tuple[float, ...]] = {}

    def hold(self, name: str, value: Any, kind: str) -> Any:
        rounded = super().hold(name, value, kind)
        exact = value[0] if isinstance(value, tuple) else value
        if kind not in ("table", "kernel"):
            error = tf.abs(exact - rounded)
            sums = [tf.reduce_mean(error), tf.reduce_max(error)]
            sums += [tf.reduce_sum(tf.square(exact)), tf.reduce_sum(tf.square(error))]
            self.errors[name] = tuple(float(value) for value in sums)
        return rounded
