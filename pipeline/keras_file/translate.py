"""A Keras model's calls → the description and weights of the same function in layers of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tfpipe.keras_file.description import Description
from tfpipe.keras_file.graph import Call, Walk
from tfpipe.keras_file.recurrent import RECURRENT, bidirectional, recurrence
from tfpipe.keras_file.vetting import PASSING
from tfpipe.models.imported import INPUT

MERGING = ("Add", "Average", "Concatenate", "Maximum", "Multiply", "Subtract")


def translate(model: Any, *, sequence_length: int, multi_label: bool) -> tuple[Any, Any]:
    """Describes a model whose logits are those of `model`.

    Args:
        model: A Keras 2 or 3 model with one input of token ids and one output, class probabilities
            or logits.
        sequence_length: Tokens of one text.
        multi_label: Whether a text may have several labels.

    Returns:
        The description for `build_imported`, with "activation", the one that was taken off its
        end; and {layer's name: its weights}.

    Raises:
        ValueError: Something in the model has no inference form; the message names the layer.
    """
    described = Description()
    walk = Walk(model)
    names = {walk.token_ids: INPUT}
    for call in walk.calls(model):
        names[call.output] = describe_call(described, call, [names[key] for key in call.inputs])
    output = names[walk.key(model.outputs[0])]
    shape = tuple(model.outputs[0].shape)
    if output == INPUT or len(shape) != 2:
        raise ValueError(
            f"model {model.name!r} gives shape {shape}, expected (batch, num_classes). End it with "
            "a pooling or a recurrence without sequences, and a Dense layer."
        )
    output, activation = describe_head(described, output, multi_label=multi_label)
    return {
        "sequence_length": sequence_length,
        "activation": activation,
        "layers": described.layers,
        "output": output,
    }, described.weights


def describe_call(described: Description, call: Call, sources: list[str]) -> str:
    """Describes one layer; returns the name of what it gives."""
    name = call.class_name
    if call.arguments or (len(sources) > 1 and name not in MERGING):
        extra = ", ".join(call.arguments) or f"{len(sources)} tensors"
        raise ValueError(
            f"{call.label} is called with {extra}, which has no inference form. Call it on one "
            "tensor alone, and save the model again."
        )
    if name in PASSING:
        return sources[0]
    if INPUT in sources and name != "Embedding":
        raise ValueError(
            f"{call.label} reads the model's input itself: the model takes features, not token "
            "ids. Only models that begin with an Embedding of token ids are taken."
        )
    if name in RECURRENT:
        return recurrence(described, call, sources[0])
    if name == "Bidirectional":
        return bidirectional(described, call, sources[0])
    if name == "TimeDistributed":
        inner = call.layer.layer
        if type(inner).__name__ != "Dense":
            raise ValueError(
                f"{call.label} holds a {type(inner).__name__}. Use a Dense layer in it, or none."
            )
        return dense(described, inner, sources)
    if name in MERGING:
        return merge(described, call, sources)
    describe = SIMPLE.get(name)
    if describe is None:
        raise ValueError(f"{call.label} has no inference form. Replace it, and save again.")
    return describe(described, call, sources)


def merge(described: Description, call: Call, sources: list[str]) -> str:
    """Describes a layer that joins equal shapes, or features."""
    axis = call.layer.get_config().get("axis", -1)
    if axis not in (-1, len(call.shape) - 1):
        raise ValueError(f"{call.label} has axis={axis}. Concatenate features: axis=-1.")
    return described.add(call.class_name, call.layer.name, sources)


def embedding(described: Description, call: Call, sources: list[str]) -> str:
    """Describes the lookup; its mask is described where it is used."""
    if sources != [INPUT]:
        raise ValueError(f"{call.label} does not read the model's input. Feed it the token ids.")
    (table,) = call.layer.get_weights()
    config = {"input_dim": table.shape[0], "output_dim": table.shape[1]}
    return described.add("Embedding", call.layer.name, sources, config, [table])


def dense(described: Description, layer: Any, sources: list[str]) -> str:
    """Describes a product, with a bias in any case."""
    config = layer.get_config()
    kernel, *bias = layer.get_weights()
    weights = [kernel, *(bias or [np.zeros(kernel.shape[1], np.float32)])]
    settings = {"units": kernel.shape[1], "activation": config["activation"]}
    return described.add("Dense", layer.name, sources, settings, weights)


def convolution(described: Description, call: Call, sources: list[str]) -> str:
    """Describes a convolution over time."""
    config = call.layer.get_config()
    if config.get("groups", 1) != 1 or config["data_format"] != "channels_last":
        raise ValueError(
            f"{call.label} has groups={config.get('groups')}, data_format="
            f"{config['data_format']!r}. Use groups=1 and 'channels_last'."
        )
    kernel, *bias = call.layer.get_weights()
    keys = ("filters", "kernel_size", "strides", "padding", "dilation_rate", "activation")
    weights = [kernel, *(bias or [np.zeros(kernel.shape[2], np.float32)])]
    settings = {key: config[key] for key in keys}
    return described.add("Conv1D", call.layer.name, sources, settings, weights)


def pooling(described: Description, call: Call, sources: list[str]) -> str:
    """Describes a maximum or mean over windows of time."""
    config = call.layer.get_config()
    if config.get("data_format", "channels_last") != "channels_last":
        raise ValueError(f"{call.label} has data_format='channels_first'. Use 'channels_last'.")
    settings = {key: config[key] for key in ("pool_size", "strides", "padding")}
    return described.add(call.class_name, call.layer.name, sources, settings)


def global_pooling(described: Description, call: Call, sources: list[str]) -> str:
    """Describes a maximum or mean over all time; a masked mean counts real tokens alone."""
    if call.layer.get_config().get("keepdims"):
        raise ValueError(f"{call.label} has keepdims=True. Use keepdims=False.")
    if call.masked and call.class_name == "GlobalAveragePooling1D":
        both = [sources[0], described.mask()]
        return described.add("MaskedPooling", call.layer.name, both, {"pooling": "mean"})
    return described.add(call.class_name, call.layer.name, sources)


def normalization(described: Description, call: Call, sources: list[str]) -> str:
    """Describes a norm over the features, with scale and shift in any case."""
    config = call.layer.get_config()
    axis = config["axis"][0] if isinstance(config["axis"], list | tuple) else config["axis"]
    if axis not in (-1, len(call.shape) - 1) or config.get("rms_scaling"):
        raise ValueError(f"{call.label} has axis={config['axis']}. Normalize features: axis=-1.")
    width = int(call.shape[-1] or 0)
    weights = list(call.layer.get_weights())
    gamma = weights.pop(0) if config["scale"] else np.ones(width, np.float32)
    beta = weights.pop(0) if config["center"] else np.zeros(width, np.float32)
    settings = {"epsilon": config["epsilon"]}
    return described.add(
        call.class_name, call.layer.name, sources, settings, [gamma, beta, *weights]
    )


def activation(described: Description, call: Call, sources: list[str]) -> str:
    """Describes a function of each value, or a softmax over the features."""
    config, name = call.layer.get_config(), call.class_name
    if name == "ReLU":
        wrong = [key for key in ("max_value", "negative_slope", "threshold") if config.get(key)]
        if wrong:
            raise ValueError(f"{call.label} has {wrong[0]}={config[wrong[0]]}. Use a plain ReLU.")
    if name == "Softmax" and config["axis"] not in (-1, len(call.shape) - 1):
        raise ValueError(f"{call.label} has axis={config['axis']}. Use axis=-1.")
    function = config["activation"] if name == "Activation" else name.lower()
    return described.add("Activation", call.layer.name, sources, {"activation": function})


SIMPLE: dict[str, Callable[[Description, Call, list[str]], str]] = {
    "Activation": activation,
    "AveragePooling1D": pooling,
    "BatchNormalization": normalization,
    "Conv1D": convolution,
    "Dense": lambda described, call, sources: dense(described, call.layer, sources),
    "Embedding": embedding,
    "Flatten": lambda described, call, sources: described.add("Flatten", call.layer.name, sources),
    "GlobalAveragePooling1D": global_pooling,
    "GlobalMaxPooling1D": global_pooling,
    "LayerNormalization": normalization,
    "MaxPooling1D": pooling,
    "ReLU": activation,
    "Softmax": activation,
}


def describe_head(described: Description, output: str, *, multi_label: bool) -> tuple[str, str]:
    """Takes the last activation off; returns the name of the layer that gives the logits, and the
    activation.

    One sigmoid of two classes becomes two logits, -z/2 and z/2: their softmax is 1 - p and p.

    Raises:
        ValueError: The activation does not fit the number of labels that a text may have.
    """
    found = described.remove_activation(output)
    width = output_width(described, output)
    if found not in ("linear", "softmax", "sigmoid"):
        raise ValueError(
            f"layer {output!r} ends the model with activation={found!r}: neither probabilities nor "
            "logits. End it with softmax, sigmoid or no activation."
        )
    if found == "softmax" and (multi_label or width == 1):
        raise ValueError(
            f"layer {output!r} ends the model with a softmax over {width} classes, one label a "
            "text. Leave --multi-label out, or end it with a sigmoid."
        )
    if found == "sigmoid" and width > 1 and not multi_label:
        raise ValueError(
            f"layer {output!r} ends the model with {width} sigmoids, several labels a text. Give "
            "--multi-label, or end it with a softmax."
        )
    if width > 1 or multi_label:
        return output, found
    kernel = np.array([[-0.5, 0.5]], np.float32)
    settings = {"units": 2, "activation": "linear"}
    weights = [kernel, np.zeros(2, np.float32)]
    return described.add("Dense", "two_logits", [output], settings, weights), found


def output_width(described: Description, name: str) -> int:
    """Returns the features of the described layer that ends the model."""
    entry = next(entry for entry in described.layers if entry["name"] == name)
    if entry["type"] == "Dense":
        return int(entry["config"]["units"])
    if entry["type"] == "Activation":
        return output_width(described, entry["inputs"][0])
    raise ValueError(
        f"layer {name!r} of class {entry['type']} ends the model, expected a Dense layer or an "
        "activation behind one. End it so, and save the model again."
    )
