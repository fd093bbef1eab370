"""Token embeddings → the same plus a learned vector for each position."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras as keras


@keras.utils.register_keras_serializable("tfpipe")
class PositionEmbedding(keras.layers.Layer):  # type: ignore[misc]
    """Adds one learned vector per position.

    Args:
        sequence_length: Number of positions with a vector; the longest input.

    Call arguments:
        inputs: float `(batch, length, embedding_dim)`, length ≤ `sequence_length`.

    Returns:
        float `(batch, length, embedding_dim)`.
    """

    def __init__(self, sequence_length: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sequence_length = sequence_length

    def build(self, input_shape: Any) -> None:
        self.positions = self.add_weight(
            "positions",
            (self.sequence_length, int(input_shape[-1])),
            initializer=keras.initializers.RandomNormal(stddev=0.02),  # as in BERT (Devlin 2018)
        )
        super().build(input_shape)

    def call(self, inputs: Any) -> Any:
        return inputs + tf.cast(self.positions[: tf.shape(inputs)[1]], inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "sequence_length": self.sequence_length}
