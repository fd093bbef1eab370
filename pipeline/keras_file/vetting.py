"""A model's configuration → one of stock layers and plain values alone, or the layer at fault.

Keras makes objects of whatever a configuration names, functions and code among them. What comes out
of here names known layers only, so that building it runs nothing that the file brings: weights
replace what initializers would have made, training aids are left out.
"""

from __future__ import annotations

from typing import Any

MODEL_CLASSES = {"Functional", "Model", "Sequential"}
# Layers that only training sees.
PASSING = {
    "ActivityRegularization", "AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise",
    "Identity", "SpatialDropout1D",
}  # fmt: skip
WRAPPERS = {"Bidirectional", "TimeDistributed"}
LOWERED = {
    "Activation", "Add", "Average", "AveragePooling1D", "BatchNormalization", "Concatenate",
    "Conv1D", "Dense", "Embedding", "Flatten", "GRU", "GlobalAveragePooling1D",
    "GlobalMaxPooling1D", "LSTM", "LayerNormalization", "MaxPooling1D", "Maximum", "Multiply",
    "ReLU", "SimpleRNN", "Softmax", "Subtract",
}  # fmt: skip
# Operations by which Keras 3 writes masks into a graph, and where they live.
MASK_OPERATIONS = {
    "Any", "Concatenate", "ExpandDims", "LogicalAnd", "LogicalOr", "NotEqual", "ZerosLike",
}  # fmt: skip
OPERATIONS_MODULE = "keras.src.ops.numpy"
# How Keras 2 writes a tuple into a SavedModel.
TUPLES = ("__tuple__", "TensorShape")
STRING_LAYERS = {"Hashing", "StringLookup", "TextVectorization"}
# Activations that mean the same in Keras 2 and 3.
ACTIVATIONS = {
    "elu", "exponential", "gelu", "linear", "relu", "selu", "sigmoid", "silu", "softmax",
    "softplus", "softsign", "swish", "tanh",
}  # fmt: skip
TRAINING_KEYS = ("_initializer", "_regularizer", "_constraint")
KEPT_KEYS = ("class_name", "config", "name", "inbound_nodes")
TENSOR_KEYS = ("shape", "dtype", "keras_history")
INPUT_DTYPES = (
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "string",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
)
DTYPES = ("float32", "mixed_float16", "mixed_bfloat16", "float16", "bfloat16", "float64")


def vet_model(model: dict[str, Any], *, keras_3: bool) -> dict[str, Any]:
    """Returns {"class_name", "config"} of the same model without anything that could run.

    Args:
        model: What stands in the file; it is not changed.
        keras_3: Whether Keras 3 builds it, which wants modules named.

    Raises:
        ValueError: A layer that has no inference form or that brings code; the message names it.
    """
    name, config = model["class_name"], model["config"]
    if isinstance(config, list):  # a Sequential of Keras before 2.2.3
        config = {"layers": config}
    if name not in MODEL_CLASSES or not isinstance(config, dict) or "layers" not in config:
        raise ValueError(
            f"the model is of class {name!r}, a class of its own, whose code no file holds. Build "
            "it from stock layers with keras.Model(inputs, outputs), and save it again."
        )
    kept = ("name", "input_layers", "output_layers", "build_input_shape")
    vetted = {key: config[key] for key in kept if key in config}
    if "build_input_shape" in vetted:
        vetted["build_input_shape"] = plain(name, "build_input_shape", vetted["build_input_shape"])
    vetted["layers"] = [vet_layer(layer, keras_3=keras_3) for layer in config["layers"]]
    vetted.setdefault("name", "model")
    return {"class_name": "Sequential" if name == "Sequential" else "Functional", "config": vetted}


def vet_layer(layer: Any, *, keras_3: bool) -> dict[str, Any]:
    """Returns a layer's entry with plain values alone."""
    if not isinstance(layer, dict) or not isinstance(layer.get("config"), dict):
        raise ValueError(f"the model's configuration has the layer {str(layer)[:100]!r}. {AGAIN}")
    class_name, config = str(layer.get("class_name")), layer["config"]
    label = str(layer.get("name") or config.get("name") or class_name)
    entry = {key: layer[key] for key in KEPT_KEYS if key in layer}
    if class_name in MODEL_CLASSES:
        nested = vet_model(layer, keras_3=keras_3)
        module = "keras" if class_name == "Sequential" else "keras.src.models.functional"
    else:
        module = "keras.layers"
        if class_name in MASK_OPERATIONS and layer.get("module") == OPERATIONS_MODULE:
            module = OPERATIONS_MODULE
        else:
            check_class(label, class_name, layer.get("registered_name"))
        nested = {"class_name": class_name, "config": vet_config(label, config, keras_3=keras_3)}
    if "inbound_nodes" in entry:
        entry["inbound_nodes"] = vet_calls(label, entry["inbound_nodes"])
    extra = {"module": module, "registered_name": None} if keras_3 else {}
    return {**entry, **nested, **extra}


AGAIN = "Save the whole model again with model.save('model.keras')."


def check_class(label: str, class_name: str, registered_name: Any) -> None:
    """Refuses a layer that cannot be lowered, with what to do about it."""
    if class_name in PASSING | WRAPPERS | LOWERED | {"InputLayer"}:
        if registered_name in (None, class_name):
            return
        class_name = str(registered_name)
    what = f"layer {label!r} of class {class_name}"
    if class_name in STRING_LAYERS:
        raise ValueError(
            f"{what} takes strings, which TensorFlow Lite's kernels do not. Save the model behind "
            "it: keras.Model(LAYER.output, model.output) or a Sequential of the later layers; give "
            "LAYER.get_vocabulary() as --vocabulary, and the runner makes the token ids."
        )
    if class_name == "Lambda":
        raise ValueError(
            f"{what} holds Python code, which is never run from a file. Replace it by stock "
            "layers, give them the old weights, and save the model again."
        )
    known = sorted(PASSING | WRAPPERS | LOWERED)
    raise ValueError(
        f"{what} has no inference form. Those that have one: {', '.join(known)}. Replace it by "
        "them, and save the model again."
    )


def vet_config(label: str, config: dict[str, Any], *, keras_3: bool) -> dict[str, Any]:
    """Returns a stock layer's settings with plain values alone."""
    vetted: dict[str, Any] = {}
    for key, value in config.items():
        if key.endswith(TRAINING_KEYS):
            continue
        if key in ("layer", "backward_layer"):
            vetted[key] = value if value is None else vet_layer(value, keras_3=keras_3)
        elif key.endswith("activation"):
            vetted[key] = vet_activation(label, value)
        elif key in ("quantization_config", "lora_rank") and value is not None:
            raise ValueError(
                f"layer {label!r} has {key}: Keras changed its weights. Save the model before "
                "quantize() or enable_lora(); --scheme makes integers of it."
            )
        elif key == "dtype":
            vetted[key] = vet_dtype(label, value)
        elif key != "quantization_config":
            vetted[key] = plain(label, key, value)
    return vetted


def vet_activation(label: str, value: Any) -> str:
    """Returns the name of a stock activation."""
    name = value
    if isinstance(value, dict):
        inner = value.get("config")
        name = inner if isinstance(inner, str) else value.get("class_name")
    name = "linear" if name is None else name
    if name not in ACTIVATIONS:
        raise ValueError(
            f"layer {label!r} has activation={name!r}, which has no inference form. Use one of "
            f"{', '.join(sorted(ACTIVATIONS))}, train again, and save the model."
        )
    return str(name)


def vet_dtype(label: str, value: Any) -> str:
    """Returns an input's or a mask's own type; else float32, in which the weights are read."""
    if isinstance(value, dict):
        value = (value.get("config") or {}).get("name")
    if value in DTYPES or value is None:
        return "float32"
    if value in INPUT_DTYPES:
        return str(value)
    raise ValueError(
        f"layer {label!r} has dtype={value!r}. Save the model in float32, before quantize()."
    )


def plain(label: str, key: str, value: Any) -> Any:
    """Returns a value of JSON without objects in it."""
    if isinstance(value, list | tuple):
        return [plain(label, key, item) for item in value]
    if isinstance(value, dict) and value.get("class_name") in TUPLES:
        return plain(label, key, value.get("items"))
    if isinstance(value, dict):
        raise ValueError(
            f"layer {label!r} has {key}={str(value)[:100]}, an object. Build the layer with plain "
            "values, and save the model again."
        )
    return value


def vet_calls(label: str, calls: Any) -> Any:
    """Returns the calls of a layer: lists, plain values, and tensors of other layers."""
    if isinstance(calls, list | tuple):
        return [vet_calls(label, item) for item in calls]
    if not isinstance(calls, dict):
        return calls
    if "class_name" not in calls:
        return {str(key): vet_calls(label, value) for key, value in calls.items()}
    if calls["class_name"] != "__keras_tensor__":
        raise ValueError(
            f"layer {label!r} is called with {str(calls)[:100]}, a constant. Build the model from "
            "layers alone, and save it again."
        )
    tensor = {key: plain(label, key, dict(calls.get("config", {})).get(key)) for key in TENSOR_KEYS}
    return {"class_name": "__keras_tensor__", "config": tensor}
