"""A scheme → how near its file must come to the Keras model, and why."""

from __future__ import annotations

from dataclasses import dataclass, replace

# How far an output on a GPU may be off. A phone's GPU computes in float16 whatever the types of the
# weights are: eleven bits, and a recurrence carries the rounding on.
MAX_GPU_ERROR = 0.02


@dataclass(frozen=True)
class Threshold:
    """What a scheme's file must reach against the Keras model on the same texts.

    Attributes:
        min_agreement: Least fraction of texts with the same prediction.
        max_metric_drop: How far the metric may fall below Keras', a fraction.
        max_mean_error: Largest mean of |probability - Keras' probability| over all outputs.
        reason: Why these numbers.
        max_median_error: Largest median over the texts of a text's largest such difference.
    """

    min_agreement: float
    max_metric_drop: float
    max_mean_error: float
    reason: str
    max_median_error: float = 1.0


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
        "weights and activations in 8 bits with ranges seen on real texts: twice dynamic_int8's "
        "allowance; a recurrence rounds its state at every step",
    ),
}
THRESHOLDS["dynamic_int4"] = replace(
    THRESHOLDS["dynamic_int8"],
    reason="weights of 4 bits, which the Keras model has as well, and activations rounded to 8 "
    "bits at run time as in dynamic_int8",
)

# For a quantization-aware variant, whose Keras model is the form that rounds.
QUANTIZATION_AWARE = Threshold(
    0.995,
    0.005,
    2 / 256,
    "the Keras model rounds every value where the file does, so only ties may fall otherwise: half "
    "of them two quanta of 1/256 away at most",
    max_median_error=2 / 256,
)


def threshold_of(scheme: str, *, quantization_aware: bool) -> Threshold:
    """Returns what a file of the scheme must reach against its variant's Keras model."""
    return QUANTIZATION_AWARE if quantization_aware else THRESHOLDS[scheme]
