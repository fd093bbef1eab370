"""The description of an imported Keras model → a tf_keras model of layers that can be lowered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tf_keras as keras

from tfpipe.models.attention import SelfAttention
from tfpipe.models.padded import FlagPadding, HoldLast
from tfpipe.models.padding import MaskedPooling, PaddingMask
from tfpipe.models.recurrent import Masked, ReverseTime

INPUT = "token_ids"  # the name of the model's input
# Every layer that a description may name; there is no other way into an imported model.
LAYERS: dict[str, type] = {
    layer.__name__: layer
    for layer in (
        keras.layers.Activation,
        keras.layers.Add,
        keras.layers.Average,
        keras.layers.AveragePooling1D,
        keras.layers.BatchNormalization,
        keras.layers.Concatenate,
        keras.layers.Conv1D,
        keras.layers.Dense,
        keras.layers.Embedding,
        keras.layers.Flatten,
        keras.layers.GlobalAveragePooling1D,
        keras.layers.GlobalMaxPooling1D,
        keras.layers.GRU,
        keras.layers.LayerNormalization,
        keras.layers.LSTM,
        keras.layers.Maximum,
        keras.layers.MaxPooling1D,
        keras.layers.Multiply,
        keras.layers.SimpleRNN,
        keras.layers.Subtract,
        FlagPadding,
        HoldLast,
        Masked,
        MaskedPooling,
        PaddingMask,
        ReverseTime,
        SelfAttention,
    )
}


def build_imported(description: Mapping[str, Any]) -> keras.Model:
    """Builds the model that a description says.

    Args:
        description: {"sequence_length", "layers": [{"type": key of `LAYERS`, "name", "config":
            constructor arguments, "inputs": names of layers before it, or `INPUT`}], "output":
            name of the layer that gives the logits}.

    Returns:
        int32 `(batch, sequence_length)` → logits float32 `(batch, num_classes)`.

    Raises:
        KeyError: A type or a name that is not there.
    """
    token_ids = keras.Input((description["sequence_length"],), dtype="int32", name=INPUT)
    tensors = {INPUT: token_ids}
    for entry in description["layers"]:
        layer = LAYERS[entry["type"]](name=entry["name"], **entry["config"])
        inputs = [tensors[name] for name in entry["inputs"]]
        tensors[entry["name"]] = layer(inputs[0] if len(inputs) == 1 else inputs)
    return keras.Model(token_ids, tensors[description["output"]], name="imported")
