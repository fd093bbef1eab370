"""A float classifier and a range for each of its values → its quantization-aware form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from numpy.typing import NDArray

from tfpipe.models.observing import AuditingForm, ObservingForm, OneLayerForm
from tfpipe.models.rounded_layers import check_layers, rounded_logits
from tfpipe.models.rounded_lstm import ROUNDED_RECURRENCES, looped_lstm, observed_lstm
from tfpipe.models.rounding import GATE_LIMIT, MIN_WIDTH, ConstantForm, RoundingForm

# Share of a moving range that stays when the next batch is seen.
RANGE_DECAY = 0.95
# Batches that show their ranges: the moving average forgets the first of them by the last.
RANGE_BATCHES = 64
RANGE_BATCH_SIZE = 64


class QuantizedModel(keras.Model):  # type: ignore[misc]
    """A classifier whose every value is rounded where an int8 file of it rounds.

    Its trainable weights are the float model's. Ranges are a moving average of what batches show
    (`observe`) until nobody shows any more; then they are frozen.

    Args:
        model: A functional model of `tfpipe.models`, float32.
        ranges: What `ranges` of another model was, or that variable itself, which both then share;
            None begins without.
        per_tensor: Whether a kernel has one scale instead of one for each output: then the values
            that weights share before rounding are shared after it.

    Attributes:
        names: The values with a learned range.
        ranges: Variable float32 `(len(names), 2)`: the smallest and the largest value.
        constant_form: Makes the form of `constant_logits` of {name: range}.

    Raises:
        ValueError: A layer has no quantization-aware form, or `ranges` is another model's.
    """

    def __init__(self, model: keras.Model, ranges: Any = None, *, per_tensor: bool = False) -> None:
        check_layers(model)
        super().__init__(name=model.name)
        self.float_model = model
        self.per_tensor = per_tensor
        self.constant_form: Callable[[dict[str, tuple[float, float]]], ConstantForm] = ConstantForm
        form = self._observing(tf.zeros((1, 2), tf.int32))  # one walk finds the names
        self.names = list(form.seen)
        self._gates = np.array([kind == "gate" for kind, _, _ in form.seen.values()])
        if not isinstance(ranges, tf.Variable):
            initial = np.zeros((len(self.names), 2), np.float32) if ranges is None else ranges
            if np.shape(initial) != (len(self.names), 2):
                raise ValueError(
                    f"ranges of shape {np.shape(initial)} do not fit a model with "
                    f"{len(self.names)} values. Compress the run again with --overwrite."
                )
            ranges = tf.Variable(initial, trainable=False, name="ranges")
        self.ranges = ranges

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        form = RoundingForm(self.ranges, self.names, training=bool(training))
        form.per_tensor = self.per_tensor
        form.recurrence = looped_lstm
        return rounded_logits(self.float_model, inputs, form)

    def _observing(self, token_ids: Any) -> ObservingForm:
        form = ObservingForm()
        form.recurrence = observed_lstm
        rounded_logits(self.float_model, token_ids, form)
        return form

    def observe(self, token_ids: Any) -> None:
        """Moves the ranges towards those of one batch in float32, int32 `(batch, length)`."""
        seen = self._observing(token_ids).seen.values()
        low = tf.stack([low for _, low, _ in seen])
        high = tf.stack([high for _, _, high in seen])
        limit = tf.where(self._gates, GATE_LIMIT, np.inf)
        low, high = tf.maximum(low, -limit), tf.minimum(high, limit)
        found = tf.stack([low, tf.maximum(high, low + MIN_WIDTH)], 1)
        kept = tf.where(tf.reduce_any(self.ranges != 0), RANGE_DECAY, 0.0)
        self.ranges.assign(found + kept * (self.ranges - found))

    def audit(self, token_ids: Any) -> dict[str, tuple[float, ...]]:
        """Returns what rounding costs each value of one batch, see `AuditingForm.errors`."""
        form = AuditingForm(self.ranges, self.names)
        form.per_tensor = self.per_tensor
        form.recurrence = observed_lstm
        rounded_logits(self.float_model, token_ids, form)
        return form.errors

    def logits_of_one_layer(self, token_ids: Any, layer: str) -> Any:
        """Returns the logits of int32 `(batch, length)` with the values of one layer rounded, by
        its name, and all others in float32."""
        form = OneLayerForm(self.ranges, self.names, layer)
        form.per_tensor = self.per_tensor
        form.recurrence = looped_lstm
        return rounded_logits(self.float_model, token_ids, form)

    def constant_logits(self, token_ids: Any, *, lowering: str) -> Any:
        """Returns the logits of one text, int32 `(length,)` → `(1, num_classes)`, with weights and
        ranges as constants: the graph that an int8 file is converted from. `lowering` is how LSTMs
        are written, a key of `ROUNDED_RECURRENCES`."""
        with tf.init_scope():
            form = self.constant_form(self.range_of())
        form.per_tensor = self.per_tensor
        if lowering in ROUNDED_RECURRENCES:  # another one is that of a model without recurrence
            form.recurrence = ROUNDED_RECURRENCES[lowering]
        return rounded_logits(self.float_model, token_ids, form)

    def range_of(self) -> dict[str, tuple[float, float]]:
        """Returns {name: (smallest, largest)}."""
        values: NDArray[np.float32] = self.ranges.numpy()
        return {
            name: (low, high) for name, (low, high) in zip(self.names, values.tolist(), strict=True)
        }
