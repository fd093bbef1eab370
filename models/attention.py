"""States of one padded sequence → states that have looked at each other."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras as keras

# Added to the score of a padded key. exp(-30) is 1e-13, nothing in float32 beside the largest
# term, and yet small enough to leave int8 scores a usable range.
PADDING_SCORE = -30.0


@keras.utils.register_keras_serializable("tfpipe")
class SelfAttention(keras.layers.Layer):  # type: ignore[misc]
    """Multi-head scaled dot-product self-attention (Vaswani et al. 2017) that ignores padding.

    Query, key and value share one kernel, in that order along its last axis, so that they are one
    matrix product in every form of the model.

    Args:
        num_heads: Number of heads. Must divide the inputs' last dimension, unless `head_dim` is
            given.
        head_dim: Width of a head; None shares the inputs' last dimension among the heads.

    Call arguments:
        inputs: A pair: float `(batch, sequence_length, embedding_dim)` and the mask
            `(batch, sequence_length, 1)` of `PaddingMask`.

    Returns:
        float `(batch, sequence_length, embedding_dim)`.
    """

    def __init__(self, num_heads: int, head_dim: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.head_dim = head_dim

    def build(self, input_shape: Any) -> None:
        embedding_dim = int(input_shape[0][-1])
        if self.num_heads < 1 or (self.head_dim is None and embedding_dim % self.num_heads):
            divisors = [n for n in range(1, embedding_dim + 1) if embedding_dim % n == 0]
            raise ValueError(
                f"num_heads={self.num_heads} does not divide embedding_dim={embedding_dim}. "
                f"Use one of {divisors}, or change embedding_dim."
            )
        width = self.num_heads * (self.head_dim or embedding_dim // self.num_heads)
        self.qkv_kernel = self.add_weight("qkv_kernel", (embedding_dim, 3 * width))
        self.qkv_bias = self.add_weight("qkv_bias", (3 * width,), initializer="zeros")
        self.output_kernel = self.add_weight("output_kernel", (width, embedding_dim))
        self.output_bias = self.add_weight("output_bias", (embedding_dim,), initializer="zeros")
        super().build(input_shape)

    def call(self, inputs: Any) -> Any:
        states, mask = inputs
        return attend(
            states,
            mask,
            num_heads=self.num_heads,
            qkv=(self.qkv_kernel, self.qkv_bias),
            output=(self.output_kernel, self.output_bias),
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_heads": self.num_heads, "head_dim": self.head_dim}


def attend(states: Any, mask: Any, *, num_heads: int, qkv: Any, output: Any) -> Any:
    """Returns `SelfAttention`'s function of `states`; `qkv` and `output` are (kernel, bias)."""
    batch, length = tf.shape(states)[0], tf.shape(states)[1]
    kernel, bias = (tf.cast(part, states.dtype) for part in qkv)
    width = kernel.shape[1] // 3
    head_dim = width // num_heads
    split = tf.reshape(states @ kernel + bias, [batch, length, 3, num_heads, head_dim])
    query, key, value = tf.unstack(tf.transpose(split, [2, 0, 3, 1, 4]))
    # (batch, num_heads, sequence_length, head_dim) each
    scores = tf.matmul(query * head_dim**-0.5, key, transpose_b=True)
    scores += (1 - tf.transpose(mask, [0, 2, 1])[:, None]) * PADDING_SCORE
    context = tf.transpose(tf.nn.softmax(scores) @ value, [0, 2, 1, 3])
    kernel, bias = (tf.cast(part, states.dtype) for part in output)
    return tf.reshape(context, [batch, length, width]) @ kernel + bias
