"""A model and a sparsity → the same model with its smallest weights at zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from tfpipe.compress.fine_tune import FineTuner, Method
from tfpipe.models.weight_rounding import is_kernel

# Share of the epochs in which sparsity rises; in the rest the weights that are left get used to it.
RISING_SHARE = 0.6
# Times an epoch that the masks are chosen anew while it rises.
UPDATES_PER_EPOCH = 8


def compressible(model: keras.Model) -> list[tf.Variable]:
    """Returns the weights that pruning and clustering work on: embedding tables and kernels, those
    of convolutions too.

    Biases, norms and position vectors are a hundredth of the bytes and cost accuracy.
    """
    return [variable for variable in model.trainable_variables if is_kernel(variable)]


def block_of(weight: tf.Variable, block_size: int) -> tuple[int, int]:
    """Returns rows and columns of the blocks that a weight is pruned in.

    A kernel is (inputs, outputs), and a sparse kernel of TFLite multiplies a run of inputs of one
    output at once. Tables are looked up and not multiplied; they are pruned weight by weight, and
    so are kernels of convolutions, which have no sparse form there, and those whose inputs such
    runs do not divide, or of one run or one output, which TF-MOT's pooling does not take.

    Args:
        weight: One of `compressible`.
        block_size: Length of a run.
    """
    if not is_matrix(weight):
        return 1, 1
    rows, columns = weight.shape
    in_runs = rows % block_size == 0 and rows > block_size and columns > 1
    return (block_size, 1) if in_runs else (1, 1)


def is_matrix(weight: tf.Variable) -> bool:
    """Returns whether one of `compressible` is a kernel (inputs, outputs)."""
    return weight.shape.rank == 2 and "embeddings" not in weight.name


def check_blocks(model: keras.Model, block_size: int) -> None:
    """Refuses a length of runs that no kernel of a model can be pruned in.

    Raises:
        ValueError: It is above 1, and `block_of` every weight is (1, 1).
    """
    weights = compressible(model)
    if block_size > 1 and all(block_of(weight, block_size) == (1, 1) for weight in weights):
        inputs = [int(weight.shape[0]) for weight in filter(is_matrix, weights)]
        raise ValueError(
            f"block_size={block_size} divides the inputs of no kernel into several runs: they have "
            f"{inputs}. Give --block-size 4, for example, or leave it out."
        )


class Prune(Method):
    """TF-MOT's magnitude pruning (Zhu and Gupta 2017): its `PolynomialDecay` schedule and masks.

    `prune_low_magnitude` wraps whole layers and refuses ours and Bidirectional ones; the masks
    themselves work on any weight.

    Args:
        sparsity: Share of zeros at the end, in [0, 1), for each of `compressible`; 0 leaves that
            one alone.
        epochs: Passes over the training rows.
        block_size: Weights of an output that go to zero together, see `block_of`; their mean
            magnitude decides.
    """

    def __init__(self, sparsity: Sequence[float], *, epochs: int, block_size: int = 1) -> None:
        self._sparsity = sparsity
        self._block_size = block_size
        self._rising = max(1, round(RISING_SHARE * epochs))

    def begin(self, trainer: FineTuner) -> None:
        # Only here, since its import takes a second.
        from tensorflow_model_optimization.python.core.sparsity.keras.pruning_impl import Pruning
        from tensorflow_model_optimization.sparsity.keras import PolynomialDecay

        frequency = max(1, trainer.steps // UPDATES_PER_EPOCH)
        end = trainer.steps * self._rising // frequency * frequency
        self._weights, self._averaged = (
            [
                weight
                for weight, sparsity in zip(compressible(model), self._sparsity, strict=True)
                if sparsity
            ]
            for model in (trainer.model, trainer.averaged)
        )
        # A resumed training finds its masks in the weights that are zero.
        self._masks = [
            tf.Variable(tf.ones_like(weight), trainable=False) for weight in self._weights
        ]
        self._prunings = [
            Pruning(
                lambda: trainer.optimizer.iterations,
                [(weight, mask, tf.Variable(0.0, trainable=False))],
                PolynomialDecay(0.0, sparsity, 0, end, frequency=frequency),
                block_size=block_of(weight, self._block_size),
                block_pooling_type="AVG",
            )
            for weight, mask, sparsity in zip(
                self._weights, self._masks, filter(None, self._sparsity), strict=True
            )
        ]

    def resume(self) -> None:
        for weight, mask in zip(self._weights, self._masks, strict=True):
            mask.assign(tf.cast(weight != 0, mask.dtype))

    def hold(self, variables: Sequence[tf.Variable], updates: Any) -> None:
        for pruning in self._prunings:
            pruning.conditional_mask_update()
            pruning.weight_mask_op()

    def settle(self) -> None:
        for weight, mask in zip(self._averaged, self._masks, strict=True):
            weight.assign(weight * mask)

    def reached(self, epoch: int) -> bool:
        return epoch >= self._rising
