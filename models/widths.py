"""A model → which unit of which of its widths each row and column of its weights belongs to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from numpy.typing import NDArray

from tfpipe.models.attention import SelfAttention
from tfpipe.models.classifier import LOGITS
from tfpipe.models.dropout import ResumableDropout
from tfpipe.models.embedding import EmbeddingProjection, ScaledEmbedding
from tfpipe.models.padding import POOLINGS, MaskedPooling, PaddingMask
from tfpipe.models.position import PositionEmbedding
from tfpipe.models.recurrent import Masked, ReverseTime

Labels = NDArray[np.int64]
FIXED = -1  # the label of what belongs to no unit: tokens, positions, classes


@dataclass(frozen=True)
class Width:
    """Units of one kind in one layer: what a smaller model may have fewer of.

    Attributes:
        key: The builder's argument that says how many there are.
        layer: The layer's name.
        start: Number of the first unit; they are numbered through the whole model.
        count: How many there are.
    """

    key: str
    layer: str
    start: int
    count: int


class Widths:
    """The units of a model, found by a walk over its layers.

    A unit is a column of the embedding with everything that reads and writes it (all along a
    residual stream), a unit of an LSTM with its four gates, an attention head, a neuron of a
    hidden layer or a filter.

    Args:
        model: A functional model of `tfpipe.models`.

    Attributes:
        num_units: Of all widths.
        axes: (weights, the labels of each of its axes) in the order of the walk. A label is the
            number of a unit or `FIXED`.

    Raises:
        ValueError: A layer is not known.
    """

    def __init__(self, model: keras.Model) -> None:
        self._found: list[Width] = []
        self._same: list[int] = []  # unit → the unit that it is one with
        given = self._walk(model)
        same = np.array([*self._same, FIXED])
        self.num_units = len(self._same)
        self.axes = [(weights, tuple(same[axis] for axis in axes)) for weights, axes in given]

    def _walk(self, model: keras.Model) -> list[tuple[tf.Variable, list[Labels]]]:
        tensors: dict[int, Any] = {id(model.input): None}
        given = []
        for layer in model.layers:
            if isinstance(layer, keras.layers.InputLayer):
                continue
            if type(layer) not in LABELLED:
                raise ValueError(
                    f"layer {layer.name!r} of type {type(layer).__name__} has no known units. "
                    f"Layers that have: {', '.join(sorted(kind.__name__ for kind in LABELLED))}. "
                    "Leave --shrink out, or add the layer to tfpipe.models.widths.LABELLED."
                )
            inputs = [tensors[id(tensor)] for tensor in tf.nest.flatten(layer.input)]
            axes, outputs = LABELLED[type(layer)](self, layer, *inputs)
            tensors[id(layer.output)] = outputs
            given += list(zip(layer.trainable_weights, axes, strict=True))
        return given

    def add(self, key: str, layer: keras.layers.Layer, count: int) -> Labels:
        """Returns the labels of new units."""
        start = len(self._same)
        self._found.append(Width(key, layer.name, start, count))
        self._same += range(start, start + count)
        return np.arange(start, start + count)

    def rename(self, units: Labels, key: str) -> None:
        """Gives the width of these units another key."""
        index = [width.start for width in self._found].index(int(units[0]))
        self._found[index] = replace(self._found[index], key=key)

    def join(self, first: Labels, second: Labels) -> Labels:
        """Makes the units of two summed tensors one; returns those of the first."""
        for one, other in zip(first.tolist(), second.tolist(), strict=True):
            self._same[other] = self._same[one]
        return first

    @property
    def found(self) -> list[Width]:
        """The widths, without those that were joined to another."""
        return [width for width in self._found if self._same[width.start] == width.start]


def fixed(count: int) -> Labels:
    """Returns the labels of an axis that keeps its size."""
    return np.full(count, FIXED)


def label_embedding(widths: Widths, layer: ScaledEmbedding, _: None) -> Any:
    """Table `(vocabulary_size, embedding_dim)`."""
    columns = widths.add("embedding_dim", layer, layer.output_dim)
    return [[fixed(layer.input_dim), columns]], columns


def label_projection(widths: Widths, layer: EmbeddingProjection, columns: Labels) -> Any:
    """Kernel `(embedding_rank, embedding_dim)`: what it reads are the table's columns."""
    widths.rename(columns, "embedding_rank")
    outputs = widths.add("embedding_dim", layer, layer.output_dim)
    return [[columns, outputs]], outputs


def label_positions(_: Widths, layer: PositionEmbedding, states: Labels) -> Any:
    """Vectors `(sequence_length, embedding_dim)`."""
    return [[fixed(layer.sequence_length), states]], states


def label_lstm(widths: Widths, layer: keras.layers.LSTM, inputs: Labels) -> Any:
    """Kernels `(features, 4 * units)` and `(units, 4 * units)`, bias `(4 * units,)`."""
    units = widths.add("units", layer, layer.units)
    gates = np.tile(units, 4)
    return [[inputs, gates], [units, gates], [gates]], units


def label_attention(widths: Widths, layer: SelfAttention, states: Labels, _: None) -> Any:
    """The columns of query, key and value of a head, and its rows of the output kernel."""
    head_dim = layer.output_kernel.shape[0] // layer.num_heads
    heads = np.repeat(widths.add("num_heads", layer, layer.num_heads), head_dim)
    outputs = widths.add("embedding_dim", layer, layer.output_kernel.shape[1])
    qkv = np.tile(heads, 3)
    return [[states, qkv], [qkv], [heads, outputs], [outputs]], outputs


def label_dense(widths: Widths, layer: keras.layers.Dense, inputs: Labels) -> Any:
    """Kernel `(features, units)`, bias `(units,)`; the last layer's outputs are the classes."""
    if layer.name == LOGITS:
        outputs = fixed(layer.units)
    else:
        outputs = widths.add("feed_forward_dim", layer, layer.units)
    return [[inputs, outputs], [outputs]], outputs


def label_convolution(widths: Widths, layer: keras.layers.Conv1D, inputs: Labels) -> Any:
    """Kernel `(tokens, features, filters)`, bias `(filters,)`."""
    filters = widths.add("filters", layer, layer.filters)
    return [[fixed(layer.kernel_size[0]), inputs, filters], [filters]], filters


def label_sum(widths: Widths, _: keras.layers.Add, first: Labels, second: Labels) -> Any:
    """A residual connection: what is added up has the same units."""
    return [], widths.join(first, second)


def label_pooling(_: Widths, layer: MaskedPooling, states: Labels, __: None) -> Any:
    """One vector, or two of the same units."""
    return [], np.tile(states, POOLINGS[layer.pooling])


LABELLED: dict[type, Callable[..., Any]] = {
    PaddingMask: lambda _, __, ___: ([], None),
    MaskedPooling: label_pooling,
    Masked: lambda _, __, states, ___: ([], states),
    PositionEmbedding: label_positions,
    ResumableDropout: lambda _, __, inputs: ([], inputs),
    EmbeddingProjection: label_projection,
    ScaledEmbedding: label_embedding,
    ReverseTime: lambda _, __, states: ([], states),
    SelfAttention: label_attention,
    keras.layers.Add: label_sum,
    keras.layers.Concatenate: lambda _, __, *parts: ([], np.concatenate(parts)),
    keras.layers.Conv1D: label_convolution,
    keras.layers.Dense: label_dense,
    keras.layers.LayerNormalization: lambda _, __, states: ([[states], [states]], states),
    keras.layers.LSTM: label_lstm,
}
