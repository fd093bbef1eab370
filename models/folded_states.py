"""States of an LSTM that only a pooling reads → what the pooling is made of, in no order."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
import tf_keras as keras

from tfpipe.models.embedding import embedding_behind
from tfpipe.models.padding import FOLDS, MaskedPooling, join_folds, pool
from tfpipe.models.recurrent import ReverseTime


@dataclass(frozen=True)
class FoldedStates:
    """A text's states, folded: a loop that carries these need not keep the states themselves, nor
    turn them round or mask them afterwards.

    Attributes:
        folds: {"sum": …, "max": …}, those that are read, float32 `(1, units)`. Padding, whose
            states are zero, changes neither of them; the largest is at least zero.
    """

    folds: Mapping[str, Any]


# fold → what makes one of two.
PAIRWISE: dict[str, Callable[[Any, Any], Any]] = {"sum": tf.add, "max": tf.maximum}


def folds_of(layer: keras.layers.LSTM) -> tuple[str, ...]:
    """Returns which folds a pooling makes of a layer's states; none if something else reads them.

    Only of a layer that reads a text from behind: it meets the padding in its zero state, and
    leaves it in that (`ZeroPaddingRow`, `ZeroCandidateBias`).
    """
    reverse = only_reader(layer)
    pooling = only_reader(reverse) if isinstance(reverse, ReverseTime) else None
    if not (isinstance(pooling, MaskedPooling) and layer.go_backwards and embedding_behind(layer)):
        return ()
    return FOLDS.get(pooling.pooling, ())


def only_reader(layer: keras.layers.Layer) -> keras.layers.Layer | None:
    """Returns the layer that reads a layer's output, if it is one."""
    readers = [node.outbound_layer for node in layer.outbound_nodes]
    return readers[0] if len(readers) == 1 else None


def fold(made: Sequence[Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the folds of some states `(1, units)` and those before them."""
    return {name: functools.reduce(PAIRWISE[name], made, value) for name, value in before.items()}


def reverse_text(states: Any) -> Any:
    """Turns the states `(length, units)` of one text round; folded ones have no order."""
    return states if isinstance(states, FoldedStates) else tf.reverse(states, [0])


def pool_text(states: Any, mask: Any, pooling: str) -> Any:
    """Returns `pool` of the states of one text, `(length, units)` or folded, and its mask
    `(length, 1)`: float `(1, units)`, or twice as many for "mean_max"."""
    if isinstance(states, FoldedStates):
        return join_folds(states.folds, tf.reduce_sum(mask, 0, keepdims=True))
    return pool(states[None], mask[None], pooling)
