"""A model, a sparsity and validation texts → how much of each table and kernel can be pruned."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from numpy.typing import NDArray

from tfpipe.compress.options import CompressOptions
from tfpipe.compress.prune import block_of, check_blocks, compressible
from tfpipe.compress.source import Source
from tfpipe.metrics import deciding_score, predict_labels, score_predictions
from tfpipe.train.corpus import EncodedSplit
from tfpipe.train.inference import EVALUATION_BATCH, make_infer

# Texts of the validation split that are looked at: a standard error of 0.7 points at 90 %.
SCAN_TEXTS = 2000
PRUNED, LESS, LEFT_ALONE = "pruned", "less", "left alone"

Scorer = Callable[[], float]
Block = tuple[int, int]


def choose_sparsity(
    model: keras.Model, source: Source, options: CompressOptions, progress: Callable[[str], None]
) -> tuple[list[float], dict[str, Any]]:
    """Returns what to prune each of `compressible` to, and {"scan": what was found out for it}.

    Args:
        model: The model to prune.
        source: The run's data.
        options: `prune`, and whether to `scan`; without, every tensor gets what is asked for.
        progress: Told what is done.

    Raises:
        ValueError: No tensor bears any pruning.
    """
    check_blocks(model, options.block_size)
    if not options.scan:
        return [options.prune] * len(compressible(model)), {}
    progress("prune: looking at what each layer bears")
    scan = scan_sensitivity(model, source, options.prune, options.block_size)
    progress(describe_decisions(scan))
    return [layer["sparsity"] for layer in scan["layers"]], {"scan": scan}


def describe_decisions(scan: dict[str, Any]) -> str:
    """Returns what each layer is pruned to, those that get what was asked for in one, as a line."""
    asked = f"{100 * scan['asked']:.4g} %"
    told = [
        f"{layer['name']} left alone"
        if layer["decision"] == LEFT_ALONE
        else f"{layer['name']} to {100 * layer['sparsity']:.4g} %"
        for layer in scan["layers"]
        if layer["decision"] != PRUNED
    ]
    if not told:
        return f"prune: every layer to {asked}"
    rest = [f"the rest to {asked}"] * (len(told) < len(scan["layers"]))
    return f"prune: {', '.join([*told, *rest])}"


def scan_sensitivity(
    model: keras.Model, source: Source, sparsity: float, block_size: int = 1
) -> dict[str, Any]:
    """Prunes one tensor after the other, each alone and without training, and scores the model.

    The scan of Han, Pool, Tran and Dally 2015 ("Learning both Weights and Connections for Efficient
    Neural Networks"), for each embedding table and kernel. A tensor bears a sparsity if the score
    falls by at most `standard_error`: what so few texts cannot tell from chance, training is left
    to make good. One that does not bear what is asked for keeps twice the weights, then four times
    as many, until it bears it ("less"); one that bears nothing is left alone.

    Args:
        model: A float model; its weights are the same afterwards.
        source: The run's data; only the validation split is read, `SCAN_TEXTS` of it at most.
        sparsity: Share of zeros asked for, in (0, 1).
        block_size: Weights that go to zero together, see `block_of`.

    Returns:
        "metric": "accuracy" or "micro_f1"; "num_examples"; "score" of the model as it is; "limit":
        the largest drop that is borne; "asked": the sparsity; "seconds" it took; "together":
        {"score", "drop", "sparsity"} with all tensors pruned as decided, still untrained, and the
        zeros among their weights; "layers": [{"name", "num_weights", "block":
        [rows, columns] that go together, "tried": [{"sparsity", "score", "drop"}], the first as
        asked, "decision": "pruned", "less" or "left alone", "sparsity": what it is pruned to}].

    Raises:
        ValueError: No tensor bears any pruning.
    """
    started = time.monotonic()
    score, count = make_scorer(model, source)
    before = score()
    limit = standard_error(before, count)
    weights = compressible(model)
    blocks = [block_of(weight, block_size) for weight in weights]
    layers = [
        scan_tensor(weight, block, score, before - limit, sparsity)
        for weight, block in zip(weights, blocks, strict=True)
    ]
    for layer in layers:
        for entry in layer["tried"]:
            entry["drop"] = round(before - entry["score"], 6)
    if all(layer["decision"] == LEFT_ALONE for layer in layers):
        raise ValueError(refusal(layers, sparsity, limit, count))
    return {
        "metric": deciding_metric(source),
        "num_examples": count,
        "score": before,
        "limit": limit,
        "asked": sparsity,
        "together": score_together(weights, layers, blocks, score, before),
        "layers": layers,
        "seconds": round(time.monotonic() - started, 2),
    }


def refusal(layers: list[dict[str, Any]], sparsity: float, limit: float, count: int) -> str:
    """Returns what is said where nothing can be pruned."""
    least = min(entry["drop"] for layer in layers for entry in layer["tried"])
    return (
        f"prune={sparsity:g}: no layer bears it. Pruned alone and untrained, each lowers the "
        f"validation score (n={count}) by at least {100 * least:.1f} points; borne are "
        f"{100 * limit:.1f}, one standard error. Give a lower --prune, or --no-scan to prune all "
        "layers alike."
    )


def standard_error(share: float, count: int) -> float:
    """Returns the standard error of a share of `count` texts, in [0, 1].

    sqrt(p (1 - p) / (n + 4)) with p = (x + 2) / (n + 4), as in the interval of Agresti and Coull
    1998 ("Approximate Is Better than Exact for Interval Estimation of Binomial Proportions"): above
    zero where all texts are right. Micro-F1 is taken for a share, too.

    >>> round(standard_error(0.9, 400), 4), round(standard_error(1.0, 96), 4)
    (0.0152, 0.014)
    """
    smoothed = (share * count + 2) / (count + 4)
    return math.sqrt(smoothed * (1 - smoothed) / (count + 4))


def scan_tensor(
    weight: tf.Variable, block: Block, score: Scorer, needed: float, sparsity: float
) -> dict[str, Any]:
    """Returns the entry of one tensor, "drop" not yet in it; its weights are put back.

    Args:
        weight: The table or kernel.
        block: Rows and columns that are pruned together.
        score: Scores the model as it stands.
        needed: Score from which on a sparsity is borne.
        sparsity: The first that is tried; then each leaves twice the weights, while above 0.
    """
    kept = weight.numpy()
    tried: list[dict[str, float]] = []
    while sparsity > 0 and (not tried or tried[-1]["score"] < needed):
        weight.assign(without_smallest(kept, sparsity, block))
        tried.append({"sparsity": sparsity, "score": score()})
        sparsity = round(1 - 2 * (1 - sparsity), 6)
    weight.assign(kept)
    borne = tried[-1]["score"] >= needed
    decision = LEFT_ALONE if not borne else PRUNED if len(tried) == 1 else LESS
    return {
        "name": weight.name.removesuffix(":0"),
        "num_weights": int(kept.size),
        "block": list(block),
        "tried": tried,
        "decision": decision,
        "sparsity": tried[-1]["sparsity"] if borne else 0.0,
    }


def score_together(
    weights: list[tf.Variable],
    layers: list[dict[str, Any]],
    blocks: list[Block],
    score: Scorer,
    before: float,
) -> dict[str, float]:
    """Returns score, drop and share of zeros with all tensors pruned as decided."""
    kept = [weight.numpy() for weight in weights]
    pruned = [
        without_smallest(value, layer["sparsity"], block)
        for value, layer, block in zip(kept, layers, blocks, strict=True)
    ]
    for weight, value in zip(weights, pruned, strict=True):
        weight.assign(value)
    after = score()
    for weight, value in zip(weights, kept, strict=True):
        weight.assign(value)
    zeros = sum(int((value == 0).sum()) for value in pruned) / sum(value.size for value in pruned)
    return {"score": after, "drop": round(before - after, 6), "sparsity": round(zeros, 4)}


def without_smallest(
    weights: NDArray[np.float32], sparsity: float, block: Block = (1, 1)
) -> NDArray[np.float32]:
    """Returns the weights, that share of their blocks at zero: those of the smallest mean
    magnitude.

    What stays is all that is no smaller than the last one kept, as in TF-MOT's masks.

    Args:
        weights: `(..., columns)`; all axes but the last are rows.
        sparsity: In [0, 1).
        block: Rows and columns of a block; they divide those of the weights.
    """
    matrix, (high, wide) = np.abs(weights).reshape(-1, weights.shape[-1]), block
    magnitudes = matrix.reshape(len(matrix) // high, high, -1, wide).mean((1, 3))
    count = max(1, round(magnitudes.size * (1 - sparsity)))
    threshold = np.partition(magnitudes, -count, None)[-count]
    kept = np.kron(magnitudes >= threshold, np.ones(block, bool))
    return np.where(kept.reshape(weights.shape), weights, 0)


def deciding_metric(source: Source) -> str:
    """Returns the name of what `make_scorer` measures."""
    return "micro_f1" if source.splits["validation"].targets.ndim == 2 else "accuracy"


def make_scorer(model: keras.Model, source: Source) -> tuple[Scorer, int]:
    """Returns a function that scores the model as it stands on texts of the validation split, and
    how many texts that are."""
    split, num_classes = source.splits["validation"], len(source.dataset.labels)
    batches = choose_batches(split, SCAN_TEXTS, seed=source.content["seed"])
    rows = np.concatenate(batches)
    targets, multi_label = split.targets[rows], split.targets.ndim == 2
    infer = make_infer(model)

    def score() -> float:
        logits = tf.concat([infer(tf.constant(split.batch(batch))) for batch in batches], 0)
        scores = (tf.sigmoid(logits) if multi_label else tf.nn.softmax(logits)).numpy()
        predictions = predict_labels(scores, multi_label=multi_label)
        return deciding_score(score_predictions(targets, predictions, num_classes))

    return score, len(rows)


def choose_batches(split: EncodedSplit, limit: int, *, seed: int) -> list[NDArray[np.int64]]:
    """Returns at most `limit` rows of a split in batches of texts of like length."""
    rows = np.random.default_rng(seed).permutation(len(split.lengths))[:limit]
    rows = rows[np.argsort(split.lengths[rows], kind="stable")]
    return [rows[at : at + EVALUATION_BATCH] for at in range(0, len(rows), EVALUATION_BATCH)]
