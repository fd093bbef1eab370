"""A model and a number → the same model whose tables and kernels hold that many values each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfpipe.compress.fine_tune import FineTuner, Method
from tfpipe.compress.prune import compressible
from tfpipe.models.classifier import LOGITS
from tfpipe.models.rounding import on_grid

# Lloyd's iterations: the centroids of a million weights move by less than a thousandth after them.
ITERATIONS = 50


class KeepZeros(Method):
    """Holds at zero what is zero when it begins: sparsity survives (TF-MOT's prune-preserving)."""

    def begin(self, trainer: FineTuner) -> None:
        self._weights, self._averaged = (
            compressible(model) for model in (trainer.model, trainer.averaged)
        )
        self._masks = [tf.cast(weight != 0, weight.dtype) for weight in self._weights]

    def hold(self, variables: Sequence[tf.Variable], updates: Any) -> None:
        for weight, mask in zip(self._weights, self._masks, strict=True):
            weight.assign(weight * mask)


class KeepClusters(Method):
    """Holds together the weights of a tensor that are equal when it begins: they move as one.

    They end on the grid of an int8 tensor with one scale, where so few values cannot share their
    rounding errors out: each is that of many weights, in a product all of them add up, and outputs
    whose grids differ get different sums. So a file holds those very values.

    After each update a cluster takes the mean of its weights, TF-MOT's
    `GradientAggregation.AVG`; the cluster of zeros stays at zero. The averaged weights have the
    same clusters, being means of weights that do.
    """

    def begin(self, trainer: FineTuner) -> None:
        self._weights = compressible(trainer.model)
        self._averaged = compressible(trainer.averaged)
        self._clusters = [find_clusters(weight) for weight in self._weights]

    def hold(self, variables: Sequence[tf.Variable], updates: Any) -> None:
        for weight, (members, moves) in zip(self._weights, self._clusters, strict=True):
            means = tf.math.unsorted_segment_mean(
                tf.reshape(weight, [-1]), tf.reshape(members, [-1]), moves.shape[0]
            )
            weight.assign(tf.gather(means * moves, members))

    def settle(self) -> None:
        for weight in self._averaged:
            weight.assign(on_grid(weight.numpy(), one_scale=True))


class Cluster(KeepClusters):
    """Weight clustering (Han et al. 2016): each table and kernel gets so many values, then they are
    trained on as one weight each; see `is_clustered` for the one that does not.

    One of the values is zero and stays it, so that padding rows and pruned weights survive
    (TF-MOT's `preserve_sparsity`).

    Args:
        num_clusters: Values of each tensor, at least 2.
    """

    def __init__(self, num_clusters: int) -> None:
        self._num_clusters = num_clusters

    def begin(self, trainer: FineTuner) -> None:
        for model in (trainer.model, trainer.averaged):
            for weight in filter(is_clustered, compressible(model)):
                values = cluster_values(weight.numpy(), self._num_clusters)
                weight.assign(on_grid(values, one_scale=True))
        super().begin(trainer)


def is_clustered(weight: tf.Variable) -> bool:
    """Returns whether a table or kernel shares its values: that of the logits does not.

    It is the most sensitive one and a hundredth of the bytes. An LSTM of 20 Newsgroups lost 0.7
    points of the test split with it clustered, 0.3 without (docs/compression.md, "Clustering").
    """
    return not weight.name.startswith(f"{LOGITS}/")


def find_clusters(weight: tf.Variable) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the cluster of each weight, int32 of its shape, and 0 for the clusters that stay at
    zero, else 1, float32 `(clusters,)`. Without clusters each weight is one of its own."""
    values = weight.numpy()
    if is_clustered(weight):
        values, members = np.unique(values, return_inverse=True)
    else:
        values, members = values.ravel(), np.arange(values.size)
    members = members.reshape(weight.shape).astype(np.int32)
    return tf.constant(members), tf.constant(values != 0, tf.float32)


def cluster_values(weights: NDArray[np.float32], num_clusters: int) -> NDArray[np.float32]:
    """Returns the weights, each replaced by the nearest of at most `num_clusters` values.

    One value is zero, which exact zeros keep; the others are the centroids of the rest, found by
    Lloyd's algorithm from evenly spaced ones (TF-MOT's CentroidInitialization.LINEAR).
    """
    rest = np.sort(weights[weights != 0].astype(np.float64))
    if not len(rest):
        return weights
    centroids = np.linspace(rest[0], rest[-1], num_clusters - 1)
    sums = np.concatenate([[0.0], np.cumsum(rest)])
    for _ in range(ITERATIONS):
        edges = np.searchsorted(rest, (centroids[1:] + centroids[:-1]) / 2)
        edges = np.concatenate([[0], edges, [len(rest)]])
        counts = np.diff(edges)
        means = np.diff(sums[edges]) / np.maximum(counts, 1)
        centroids = np.sort(np.where(counts > 0, means, centroids))
    borders = (centroids[1:] + centroids[:-1]) / 2
    nearest = centroids[np.searchsorted(borders, weights)]
    return np.where(weights == 0, 0, nearest).astype(np.float32)
