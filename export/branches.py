"""A text's ids and what makes logits of them → the same, from no more ids than the text needs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf


def run_shortest(
    logits_of: Callable[[Any], Any],
    token_ids: Any,
    *,
    branch_lengths: Sequence[int],
    num_classes: int,
) -> Any:
    """Writes a copy of the ops for each length, each behind an IF of its own: a text passes that of
    the shortest which holds its last token.

    The IFs stand one behind the other, not one in the other: TFLite allocates a branch's tensors
    and prepares its ops again at each call (kernels/if.cc releases its memory), and would do so
    once for every IF around it.

    Args:
        logits_of: From the first ids `(length,)` of a text to its logits `(1, num_classes)`.
        token_ids: int32 `(sequence_length,)`.
        branch_lengths: See `inference_form`.

    Returns:
        float32 `(1, num_classes)`.
    """
    if not branch_lengths:
        return logits_of(token_ids)
    positions = tf.range(1, token_ids.shape[0] + 1)
    num_tokens = tf.reduce_max(tf.minimum(token_ids, 1) * positions)
    logits = tf.zeros((1, num_classes))
    for shorter, length in itertools.pairwise([-1, *branch_lengths, token_ids.shape[0]]):
        logits = tf.cond(
            tf.logical_and(num_tokens > shorter, num_tokens <= length),
            lambda length=length: logits_of(token_ids[:length]),
            lambda logits=logits: logits,
        )
    return logits
