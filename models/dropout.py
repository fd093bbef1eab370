"""Activations → the same with a random share zeroed in training, reproducible across a restart."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras as keras


@keras.utils.register_keras_serializable("tfpipe")
class ResumableDropout(keras.layers.Layer):  # type: ignore[misc]
    """Inverted dropout whose masks depend only on `seed` and a counter that is saved as a weight.

    Keras' own Dropout keeps its random state outside the checkpoint, so a training that was killed
    and resumed would see other masks than one that ran through.

    Args:
        rate: Fraction dropped, in [0, 1). The rest is scaled by 1 / (1 - rate).
        seed: First half of the stateless seed; give each layer its own.
        noise_axes: Axes along which the mask varies; it is shared along the others. `(0, 1)` on
            `(batch, sequence_length, embedding_dim)` drops whole tokens, `(0, 2)` whole features.

    Call arguments:
        inputs: float tensor of any shape.
        training: Whether to drop; the identity otherwise.
    """

    def __init__(
        self, rate: float, seed: int, noise_axes: tuple[int, ...] | None = None, **kwargs: Any
    ) -> None:
        if not 0 <= rate < 1:
            raise ValueError(f"rate={rate} must lie in [0, 1): 0 drops nothing, 0.5 drops half.")
        super().__init__(**kwargs)
        self.rate = rate
        self.seed = seed
        self.noise_axes = None if noise_axes is None else tuple(noise_axes)

    def build(self, input_shape: Any) -> None:
        self.calls = self.add_weight(
            name="calls", shape=(), dtype=tf.int64, trainable=False, initializer="zeros"
        )
        super().build(input_shape)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        if not training or self.rate == 0:
            return inputs
        calls = self.calls.assign_add(1)
        shape = tf.shape(inputs)
        if self.noise_axes is not None:
            varies = [axis in self.noise_axes for axis in range(inputs.shape.rank)]
            shape = tf.where(varies, shape, tf.ones_like(shape))
        noise = tf.random.stateless_uniform(
            shape, seed=tf.stack([tf.constant(self.seed, tf.int64), calls])
        )
        keep = tf.cast(noise >= self.rate, inputs.dtype)
        return inputs * keep / tf.cast(1 - self.rate, inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        config = {"rate": self.rate, "seed": self.seed, "noise_axes": self.noise_axes}
        return {**super().get_config(), **config}
