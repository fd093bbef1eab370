"""A Keras recurrence, masked or not → layers without a mask that give the same."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfpipe.keras_file.description import Description, Weights
from tfpipe.keras_file.graph import Call

RECURRENT = ("GRU", "LSTM", "SimpleRNN")
MERGES = {"ave": "Average", "concat": "Concatenate", "mul": "Multiply", "sum": "Add"}
# What the cells' kernels compute; another one would need another kernel.
ACTIVATIONS = {"activation": "tanh", "recurrent_activation": "sigmoid"}


def recurrence(described: Description, call: Call, source: str) -> str:
    """Describes an LSTM, GRU or SimpleRNN layer; returns the name of what it gives.

    Raises:
        ValueError: A setting that has no inference form.
    """
    config = checked_config(call.layer, call.label)
    if call.masked and config["go_backwards"] and config["return_sequences"]:
        raise ValueError(
            f"{call.label} reads backwards and returns masked sequences, whose order Keras and its "
            "mask see differently. Use Bidirectional, or mask_zero=False."
        )
    return one_direction(described, call.layer, source, masked=call.masked)


def bidirectional(described: Description, call: Call, source: str) -> str:
    """Describes a Bidirectional layer as two recurrences; returns the name of what it gives.

    Raises:
        ValueError: A setting or a layer in it that has no inference form.
    """
    layer = call.layer
    parts = (layer.forward_layer, layer.backward_layer)
    for part in parts:
        if type(part).__name__ not in RECURRENT:
            raise ValueError(f"{call.label} holds a {type(part).__name__}. {USE}")
        checked_config(part, call.label)
    if layer.merge_mode not in MERGES or parts[0].go_backwards or not parts[1].go_backwards:
        raise ValueError(
            f"{call.label} has merge_mode={layer.merge_mode!r} and go_backwards="
            f"{[part.go_backwards for part in parts]}. Use merge_mode='concat' and a forward layer "
            "that goes forwards."
        )
    names = [one_direction(described, part, source, masked=call.masked) for part in parts]
    if parts[1].return_sequences:
        names[1] = described.add("ReverseTime", f"{layer.name}_reverse", [names[1]])
    return described.add(MERGES[layer.merge_mode], layer.name, names)


USE = f"Use one of {', '.join(RECURRENT)}."


def checked_config(layer: Any, label: str) -> dict[str, Any]:
    """Returns a recurrent layer's settings.

    Raises:
        ValueError: One of them has no inference form.
    """
    config: dict[str, Any] = layer.get_config()
    wrong = {key: config[key] for key in ("stateful", "return_state") if config.get(key)}
    if config.get("time_major"):
        wrong["time_major"] = True
    wrong.update(
        {key: config[key] for key, name in ACTIVATIONS.items() if config.get(key, name) != name}
    )
    if wrong:
        said = ", ".join(f"{key}={value!r}" for key, value in wrong.items())
        raise ValueError(
            f"{label} has {said}, which has no inference form. Use activation='tanh', "
            "recurrent_activation='sigmoid', no state, and train again."
        )
    return config


def one_direction(described: Description, layer: Any, source: str, *, masked: bool) -> str:
    """Describes one recurrence; returns the name of its states, or of its final one.

    Padding stands on the right. A forward reader meets it last: its state of the last real token is
    picked, or held. A backward one meets it first: its kernel gets a row that keeps the zero state.
    """
    config, name, kind = layer.get_config(), layer.name, type(layer).__name__
    backwards, sequences = config["go_backwards"], config["return_sequences"]
    weights = with_bias(layer.get_weights(), config)
    inputs = [source]
    if masked and backwards:
        inputs = [described.add("FlagPadding", f"{name}_padding", [source, described.mask()])]
        weights[0] = np.concatenate([weights[0], neutral_row(weights, config)[None]])
    settings = {
        "units": config["units"],
        "return_sequences": sequences or (masked and not backwards),
        "go_backwards": backwards,
    }
    if kind == "GRU":
        settings["reset_after"] = config["reset_after"]
    states = described.add(kind, name, inputs, settings, weights)
    if not masked or backwards:
        return states
    both = [states, described.mask()]
    if not sequences:
        return described.add("MaskedPooling", f"{name}_last", both, {"pooling": "last"})
    held = "Masked" if getattr(layer, "zero_output_for_mask", False) else "HoldLast"
    return described.add(held, f"{name}_held", both)


def with_bias(weights: Weights, config: dict[str, Any]) -> Weights:
    """Returns kernel, recurrent kernel and bias, which is zero where the layer has none."""
    if config["use_bias"]:
        return list(weights)
    width = weights[0].shape[1]
    return [*weights, np.zeros((2, width) if config.get("reset_after") else width, np.float32)]


def neutral_row(weights: Weights, config: dict[str, Any]) -> Any:
    """Returns the kernel's row of `FlagPadding`'s feature: with it, and all else zero, a step that
    begins in the zero state ends in it.

    The biases cancel, so the candidate is tanh(0). A GRU that resets after the product adds its
    recurrent bias times the reset gate, which is then sigmoid(0) = 1/2.
    """
    bias = weights[2]
    if not config.get("reset_after"):
        return -bias
    units = config["units"]
    row = -(bias[0] + bias[1])
    row[2 * units :] = -(bias[0] + bias[1] / 2)[2 * units :]
    return row
