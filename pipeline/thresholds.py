"""A scheme → how near its file must come to the Keras model, and why."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Threshold:
    """What a scheme's file must reach against the Keras model on the same texts.

    Attributes:
        min_agreement: Least fraction of texts with the same prediction.
        max_metric_drop: How far the metric may fall below Keras', a fraction.
        max_mean_error: Largest mean of |probability - Keras' probability| over all outputs.
        reason: Why these numbers.
    """

    min_agreement: float
    max_metric_drop: float
    max_mean_error: float
    reason: str


THRESHOLDS = {
    "float32": Threshold(
        0.999,
        0.001,
        1e-4,
        "the same float32 operations in another order: a prediction may only flip on a tie",
    ),
    "float16": Threshold(
        0.995,
        0.005,
        2e-3,
        "weights rounded to 11 bits, computed in float32: only near-ties may flip",
    ),
    "dynamic_int8": Threshold(
        0.98,
        0.01,
        0.02,
        "weights rounded to 8 bits and activations at run time: MLPerf's line of 99 % of the float "
        "metric, and twice that share of flips, since flips go both ways",
    ),
    "int8": Threshold(
        0.95,
        0.02,
        0.05,
        "weights and activations in 8 bits with ranges from calibration: twice dynamic_int8's "
        "allowance; a recurrence rounds its state at every step",
    ),
}
