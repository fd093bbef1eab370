"""A compressed model → the size, the zeros and the rounding error of each of its tensors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from numpy.typing import NDArray

from tfpipe.compress.prune import compressible
from tfpipe.corpus import EncodedSplit
from tfpipe.models.quantized import QuantizedModel
from tfpipe.models.rounding import FIXED_RANGES, LEVELS, on_grid
from tfpipe.sizes import stored_sizes

# Texts whose values are looked at; one batch.
AUDITED_TEXTS = 256


def float_part(model: keras.Model) -> keras.Model:
    """Returns the float model of a quantization-aware one, or the model itself."""
    return model.float_model if isinstance(model, QuantizedModel) else model


def stored_weights(model: keras.Model) -> list[tuple[str, NDArray[np.float32], Any]]:
    """Returns (name, weights, rounded weights) of each trainable tensor; rounded is None where the
    file keeps float32."""
    found = []
    rounds = {id(variable) for variable in compressible(float_part(model))}
    for variable in float_part(model).trainable_variables:
        value, rounded = variable.numpy(), None
        if isinstance(model, QuantizedModel) and id(variable) in rounds:
            single = model.per_tensor or "embeddings" in variable.name
            rounded = on_grid(value, None if single else 0)
        found.append((variable.name.removesuffix(":0"), value, rounded))
    return found


def describe_weights(model: keras.Model) -> list[dict[str, Any]]:
    """Returns one entry a tensor: shape, share of zeros, distinct values, and for one that is
    rounded to int8 its error, see `error_figures`."""
    entries = []
    for name, value, rounded in stored_weights(model):
        kept = value if rounded is None else rounded
        entry = {
            "name": name,
            "shape": list(value.shape),
            "zeros": float(np.mean(kept == 0)),
            "distinct_values": len(np.unique(kept)),
        }
        if rounded is not None:
            error = np.abs(value - rounded, dtype=np.float64)
            squares = (float(np.square(value, dtype=np.float64).sum()), float((error**2).sum()))
            entry |= {"range": [float(value.min()), float(value.max())]}
            entry |= error_figures(float(error.mean()), float(error.max()), *squares)
        entries.append(entry)
    return entries


def describe_values(model: keras.Model, split: EncodedSplit) -> list[dict[str, Any]]:
    """Returns one entry for each op output that is rounded: its range, its scale and its error on
    texts of the validation split. Empty for a float model."""
    if not isinstance(model, QuantizedModel):
        return []
    rows = np.arange(min(AUDITED_TEXTS, len(split.lengths)))
    errors = model.audit(tf.constant(split.batch(rows)))
    learned = model.range_of()
    entries = []
    for name, figures in errors.items():
        low, high = learned.get(name, fixed_range(name))
        entry = {"name": name, "range": [low, high], "scale": (high - low) / LEVELS}
        entries.append(entry | error_figures(*figures))
    return entries


def fixed_range(name: str) -> tuple[float, float]:
    """Returns the range of a value that has the kernel's own, by the end of its name."""
    tanh = name.endswith(("candidate", "squashed_cell"))
    return FIXED_RANGES["tanh" if tanh else "sigmoid"]


def error_figures(mean: float, highest: float, signal: float, noise: float) -> dict[str, Any]:
    """Returns the figures of a tensor x rounded to q(x).

    "mean_error" and "max_error" are of |x - q(x)|; "signal_to_noise_db" is
    10 log10(sum x² / sum (x - q(x))²), the SQNR of Lin, Talathi and Annapureddy 2016 (Fixed Point
    Quantization of Deep Convolutional Networks), None where there is no error.

    >>> error_figures(0.1, 0.2, 100.0, 1.0)
    {'mean_error': 0.1, 'max_error': 0.2, 'signal_to_noise_db': 20.0}
    """
    ratio = None if not noise or not signal else round(10 * math.log10(signal / noise), 2)
    return {"mean_error": mean, "max_error": highest, "signal_to_noise_db": ratio}


def weight_sizes(model: keras.Model) -> dict[str, int]:
    """Returns `stored_sizes` of a model's weights as the file holds them: int8 where it rounds,
    float32 elsewhere."""
    parts = []
    for name, value, rounded in stored_weights(model):
        if rounded is None:
            parts.append(value.tobytes())
            continue
        axis = None if model.per_tensor or "embeddings" in name else 0
        limit = np.maximum(np.abs(value).max(axis), 1e-12)
        parts.append(np.round(rounded / limit * (LEVELS // 2)).astype(np.int8).tobytes())
    return stored_sizes(b"".join(parts))


def compare_sizes(before: keras.Model, after: keras.Model) -> dict[str, Any]:
    """Returns the sizes of both models' weights in bytes, and the compression efficiency of each
    way to store them: 1 - after / before (Han, Mao and Dally 2016 give its inverse, the rate)."""
    sizes = {"before": weight_sizes(before), "after": weight_sizes(after)}
    return {
        **sizes,
        "efficiency": {
            way: round(1 - sizes["after"][way] / sizes["before"][way], 4) for way in sizes["before"]
        },
    }
