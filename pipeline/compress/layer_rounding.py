"""A quantization-aware model and texts → what rounding each of its layers alone costs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfpipe.compress.sensitivity import choose_batches
from tfpipe.compress.source import Source
from tfpipe.compress.tensors import signal_to_noise_db
from tfpipe.metrics import deciding_score, predict_labels, score_predictions
from tfpipe.models.quantized import QuantizedModel

# Texts of the validation split that are looked at: a standard error of 1.3 points at 90 %; the
# signal-to-noise ratio of the logits needs far fewer.
ROUNDED_TEXTS = 500


def describe_rounding(model: Any, source: Source) -> dict[str, Any] | None:
    """Rounds the values and weights of one layer after the other, all others in float32.

    The sensitivity analysis of Wu, Judd, Zhang, Isaev and Micikevicius 2020 ("Integer Quantization
    for Deep Learning Inference: Principles and Empirical Evaluation", partial quantization).

    Args:
        model: A `QuantizedModel`; of any other nothing is said.
        source: The run's data; only the validation split is read, `ROUNDED_TEXTS` at most.

    Returns:
        "metric": "accuracy" or "micro_f1"; "num_examples"; "score" of the model that rounds
        nothing; "all" layers rounded: {"score", "drop", "agreement": share of texts that it
        predicts as the model that rounds nothing, "signal_to_noise_db" of the logits}; "layers":
        the same of each layer, with its "name", in the order of the model. None of a float model.
    """
    if not isinstance(model, QuantizedModel):
        return None
    split = source.splits["validation"]
    batches = choose_batches(split, ROUNDED_TEXTS, seed=source.content["seed"])
    targets = split.targets[np.concatenate(batches)]

    def run(infer: Callable[[Any], Any]) -> NDArray[np.float32]:
        call = tf.function(
            infer, input_signature=[tf.TensorSpec((None, None), tf.int32)], autograph=False
        )
        parts = [call(tf.constant(split.batch(batch))).numpy() for batch in batches]
        return np.concatenate(parts)

    exact = run(lambda token_ids: model.float_model(token_ids, training=False))
    layers = []
    for name in rounded_layer_names(model):
        rounded = run(functools.partial(model.logits_of_one_layer, layer=name))
        layers.append({"name": name, **compare_logits(exact, rounded, targets)})
    together = run(lambda token_ids: model(token_ids, training=False))
    return {
        "metric": "micro_f1" if targets.ndim == 2 else "accuracy",
        "num_examples": len(targets),
        "score": score_logits(exact, targets),
        "all": compare_logits(exact, together, targets),
        "layers": layers,
    }


def rounded_layer_names(model: QuantizedModel) -> list[str]:
    """Returns the layers that have values or weights to round, in the order of the model."""
    learned = {name.partition("/")[0] for name in model.names}
    return [
        layer.name
        for layer in model.float_model.layers
        if layer.name in learned or any(len(w.shape) == 2 for w in layer.trainable_weights)
    ]


def compare_logits(
    exact: NDArray[np.float32], rounded: NDArray[np.float32], targets: NDArray[Any]
) -> dict[str, Any]:
    """Returns what one entry of `describe_rounding` says.

    Args:
        exact: Logits without rounding, `(n, num_classes)`.
        rounded: Logits with it.
        targets: As in `tfpipe.data.Split`.
    """
    multi_label = targets.ndim == 2
    same = predicted(exact, multi_label) == predicted(rounded, multi_label)
    score = score_logits(rounded, targets)
    signal = float(np.square(exact, dtype=np.float64).sum())
    noise = float(np.square(exact - rounded, dtype=np.float64).sum())
    return {
        "score": score,
        "drop": round(score_logits(exact, targets) - score, 6),
        "agreement": float(same.all(1).mean() if multi_label else same.mean()),
        "signal_to_noise_db": signal_to_noise_db(signal, noise),
    }


def predicted(logits: NDArray[np.float32], multi_label: bool) -> NDArray[Any]:
    """Returns the labels of `predict_labels`, from logits `(n, num_classes)`."""
    scores = (tf.sigmoid(logits) if multi_label else tf.nn.softmax(logits)).numpy()
    return predict_labels(scores, multi_label=multi_label)


def score_logits(logits: NDArray[np.float32], targets: NDArray[Any]) -> float:
    """Returns the deciding score of logits `(n, num_classes)`."""
    labels = predicted(logits, targets.ndim == 2)
    return deciding_score(score_predictions(targets, labels, logits.shape[1]))
