"""A compressed model → the size, the zeros and the rounding error of each of its tensors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from numpy.typing import NDArray

from tfpipe.models.quantized import QuantizedModel
from tfpipe.models.rounding import FIXED_RANGES, LEVELS, NUM_BITS, grid_steps
from tfpipe.models.weight_rounding import is_kernel
from tfpipe.sizes import stored_sizes
from tfpipe.train.corpus import EncodedSplit
from tfpipe.variant import WEIGHT_BITS
from tfpipe.weight_schemes import HALF_BYTE, pack_halves

# Texts whose values are looked at; one batch.
AUDITED_TEXTS = 256


def float_part(model: keras.Model) -> keras.Model:
    """Returns the float model of a quantization-aware one, or the model itself."""
    return model.float_model if isinstance(model, QuantizedModel) else model


@dataclass(frozen=True)
class StoredTensor:
    """A trainable tensor as the file holds it.

    Attributes:
        name: Layer and weight.
        value: float32, as trained.
        steps: Its scale, one or one an output; None where the file keeps float32.
        bits: Of a number that has a scale.
    """

    name: str
    value: NDArray[np.float32]
    steps: NDArray[np.float32] | None
    bits: int = NUM_BITS

    @property
    def content(self) -> bytes:
        """The file's bytes of it."""
        packed = self.steps is not None and self.bits == HALF_BYTE
        return (pack_halves(self.stored) if packed else self.stored).tobytes()

    @property
    def stored(self) -> NDArray[Any]:
        """What the file holds: integers where the tensor has a scale, else float32."""
        if self.steps is None:
            return self.value
        return np.round(self.value / self.steps).astype(np.int8)


def stored_tensors(model: keras.Model) -> list[StoredTensor]:
    """Returns the trainable tensors of a model: of a quantization-aware one tables and kernels with
    their scales, all else float32."""
    found = []
    for variable in float_part(model).trainable_variables:
        value, steps, bits = variable.numpy(), None, getattr(model, WEIGHT_BITS, NUM_BITS)
        if isinstance(model, QuantizedModel) and value.ndim > 1:
            table = "embeddings" in variable.name or "positions" in variable.name
            steps = grid_steps(value, one_scale=table or model.per_tensor)
        elif hasattr(model, WEIGHT_BITS) and is_kernel(variable):
            steps = grid_steps(value, one_scale="embeddings" in variable.name, bits=bits)
        found.append(StoredTensor(variable.name.removesuffix(":0"), value, steps, bits))
    return found


def describe_weights(model: keras.Model) -> list[dict[str, Any]]:
    """Returns one entry a tensor: shape, share of zeros, distinct values; for one that is rounded
    to int8 also its range, its scale and its error, see `error_figures`.

    "scale" is [smallest, largest] of its "num_scales", one for each output or one in all: max |w| /
    127, of 4 bits max |w| / 7, see `grid_steps`. Figures are of the weights as trained: the file
    has a `ScaledEmbedding`'s factor in its table, and so in the table's scale.
    """
    entries = []
    for tensor in stored_tensors(model):
        value, steps = tensor.value, tensor.steps
        kept = value if steps is None else tensor.stored * steps
        entry = {
            "name": tensor.name,
            "shape": list(value.shape),
            "zeros": float(np.mean(kept == 0)),
            "distinct_values": len(np.unique(kept)),
        }
        if steps is not None:
            error = np.abs(value - kept, dtype=np.float64)
            squares = (float(np.square(value, dtype=np.float64).sum()), float((error**2).sum()))
            entry |= {
                "range": [float(value.min()), float(value.max())],
                "scale": [float(np.min(steps)), float(np.max(steps))],
                "num_scales": int(np.size(steps)),
            }
            entry |= error_figures(float(error.mean()), float(error.max()), *squares)
        entries.append(entry)
    return entries


def describe_values(model: keras.Model, split: EncodedSplit) -> list[dict[str, Any]]:
    """Returns one entry for each op output that is rounded: its range, its scale and its error on
    texts of the validation split, see `error_figures`. Empty for a float model.

    "scale" is (high - low) / 255, the S of r = S (q - Z) in Jacob et al. 2018 (Quantization and
    Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference), equation 1.
    """
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

    "mean_error" and "max_error" are of |x - q(x)|.

    >>> error_figures(0.1, 0.2, 100.0, 1.0)
    {'mean_error': 0.1, 'max_error': 0.2, 'signal_to_noise_db': 20.0}
    """
    ratio = signal_to_noise_db(signal, noise)
    return {"mean_error": mean, "max_error": highest, "signal_to_noise_db": ratio}


def signal_to_noise_db(signal: float, noise: float) -> float | None:
    """Returns 10 log10(sum x² / sum (x - q(x))²) in decibels, the SQNR of Lin, Talathi and
    Annapureddy 2016 (Fixed Point Quantization of Deep Convolutional Networks); None where there is
    no error, or nothing.

    Args:
        signal: Sum of x².
        noise: Sum of (x - q(x))².
    """
    return None if not noise or not signal else round(10 * math.log10(signal / noise), 2)


def weight_sizes(model: keras.Model) -> dict[str, int]:
    """Returns `stored_sizes` of a model's weights as the file holds them: integers where it
    rounds, two in a byte of 4 bits, float32 elsewhere."""
    return stored_sizes(b"".join(tensor.content for tensor in stored_tensors(model)))


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
