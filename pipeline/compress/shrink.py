"""A model and a share → a dense model without that share of each of its widths, and its tokens."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from numpy.typing import NDArray

from device_runner.encode import SPECIAL_TOKENS, Tokenizer
from device_runner.files import write_json_atomic
from tfpipe.compress.importance import count_weights, measure_importance
from tfpipe.compress.low_rank import with_low_rank
from tfpipe.compress.source import Source, encode_source
from tfpipe.models.widths import FIXED, Width, Widths
from tfpipe.variant import build_model

# Widths of at least two steps stay multiples of one: what a vector register holds of float32.
WIDTH_STEP = 4
# Rates of a recipe's [model] at which units, or a branch of them, are left out in training.
DROPOUTS = ("dropout", "embedding_dropout", "branch_dropout")


@dataclasses.dataclass(frozen=True)
class Kept:
    """What stays of a model.

    Attributes:
        units: Their numbers, ascending, see `Widths`.
        tokens: Their ids, ascending.
    """

    units: list[int]
    tokens: list[int]


def shrink(
    model: keras.Model, source: Source, share: float, work: Path, before: Sequence[str] = ()
) -> tuple[keras.Model, Source, dict[str, Any]]:
    """Removes the least important units of each width, and the tokens that no training text has.

    An embedding that only products read is written in fewer columns first, see `with_low_rank`: it
    may lose more than its share. One with zeros or clusters to hold is not, which would mix them.

    Args:
        model: A trained float model of `tfpipe.models`.
        source: The run's data.
        share: Of each width that goes, in (0, 1).
        work: Folder for what a killed call goes on from: the choice, and the texts encoded anew.
        before: The methods that made the model.

    Returns:
        The smaller model, the data as it reads them, and {"widths": {layer: {key, before, after}},
        "vocabulary_size": {before, after}}.

    Raises:
        ValueError: A layer's units are not known, or nothing would go.
    """
    widths = Widths(model)
    if not {"prune", "cluster"} & set(before):
        model = with_low_rank(model, source, kept_count(columns_of(widths).count, share))
        widths = Widths(model)
    kept = choose(model, widths, source, share, work / "kept.json")
    vocabulary_size = source.tokenizer.vocabulary_size
    if len(kept.units) == sum(width.count for width in widths.found) and (
        len(kept.tokens) == vocabulary_size
    ):
        sizes = {width.key: width.count for width in widths.found}
        raise ValueError(
            f"shrink={share:g} removes nothing of {sizes}, of which multiples of {WIDTH_STEP} "
            "stay. Give more, for example 0.5."
        )
    tokens = [source.tokenizer.vocabulary[index] for index in kept.tokens]
    units = np.zeros(widths.num_units + 1, bool)
    units[[*kept.units, FIXED]] = True
    recipe = smaller_recipe(source.recipe, widths.found, units, len(tokens))
    recipe["model"] |= less_dropout(recipe["model"], share)
    smaller = build_model(source.folder, recipe, len(tokens))
    copy_weights(model, smaller, units, kept.tokens)
    source = dataclasses.replace(
        source, recipe=recipe, tokenizer=Tokenizer(source.tokenizer.spec, tokens)
    )
    if len(tokens) < vocabulary_size:
        source = dataclasses.replace(source, splits=encode_source(source, work / "tokens"))
    counts = {
        width.layer: {"key": width.key, "before": width.count, "after": kept_of(width, units)}
        for width in widths.found
    }
    sizes = {"before": vocabulary_size, "after": len(tokens)}
    return smaller, source, {"widths": counts, "vocabulary_size": sizes}


def choose(model: keras.Model, widths: Widths, source: Source, share: float, file: Path) -> Kept:
    """Returns what stays; the choice of an earlier, killed call if `file` holds one."""
    if file.is_file():
        return Kept(**json.loads(file.read_text("utf-8")))
    importance = measure_importance(model, widths, source)
    filled = count_weights(widths) > 0
    units: list[int] = []
    for width in widths.found:
        own = slice(width.start, width.start + width.count)
        count = kept_count(width.count, share)
        if width == columns_of(widths):
            # Those beyond the embedding's rank have no weights, and go in any case.
            count = min(count, full_steps(width.count, filled[own].sum()))
        best = np.argsort(-importance[own], kind="stable")[:count]
        units += sorted((width.start + best).tolist())
    kept = Kept(units, used_tokens(source))
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json_atomic(file, dataclasses.asdict(kept))
    return kept


def columns_of(widths: Widths) -> Width:
    """Returns the width of the embedding's table, the first that a text meets."""
    return widths.found[0]


def kept_count(count: int, share: float) -> int:
    """Returns how many units of a width stay.

    >>> [kept_count(64, 0.4), kept_count(4, 0.5), kept_count(3, 0.9)]
    [40, 2, 1]
    """
    step = step_of(count)
    return min(count, max(step, step * round(count * (1 - share) / step)))


def full_steps(count: int, filled: int) -> int:
    """Returns the smallest width with room for so many units.

    >>> [full_steps(64, 6), full_steps(64, 64), full_steps(3, 0)]
    [8, 64, 1]
    """
    step = step_of(count)
    return min(count, max(step, step * -(-filled // step)))


def step_of(count: int) -> int:
    """Returns what the widths smaller than `count` are multiples of."""
    return WIDTH_STEP if count >= 2 * WIDTH_STEP else 1


def kept_of(width: Width, units: NDArray[np.bool_]) -> int:
    """Returns how many of a width's units stay."""
    return int(units[width.start : width.start + width.count].sum())


def used_tokens(source: Source) -> list[int]:
    """Returns the ids of the special tokens, of those in training texts, and of single characters,
    which every unknown word is cut into."""
    tokenizer = source.tokenizer
    counts = source.splits["train"].count_tokens(tokenizer.vocabulary_size)
    special = len(SPECIAL_TOKENS[tokenizer.spec.kind])
    return [
        index
        for index, token in enumerate(tokenizer.vocabulary)
        if index < special or counts[index] or len(token.removeprefix("##")) == 1
    ]


def smaller_recipe(
    recipe: dict[str, Any], found: Sequence[Width], units: NDArray[np.bool_], vocabulary_size: int
) -> dict[str, Any]:
    """Returns the recipe's sections with the dimensions of the smaller model."""
    dimensions = {width.key: kept_of(width, units) for width in found}
    settings = dict(recipe["model"])
    if "num_heads" in dimensions:
        # Heads keep their width, so that it is no longer the embedding's shared among them.
        own = settings["embedding_dim"] // settings["num_heads"]
        settings["head_dim"] = settings.get("head_dim") or own
    tokenizer = {**recipe["tokenizer"], "vocabulary_size": vocabulary_size}
    return {**recipe, "tokenizer": tokenizer, "model": {**settings, **dimensions}}


def less_dropout(settings: Mapping[str, Any], share: float) -> dict[str, float]:
    """Returns the dropout rates for what is left of a model.

    D sqrt(C_after / C_before) for C connections of a layer (Han et al. 2015, "Learning both Weights
    and Connections for Efficient Neural Networks", section 3.2), of which a share goes from each of
    two widths.

    >>> less_dropout({"dropout": 0.5, "token_dropout": 0.2}, 0.7)
    {'dropout': 0.15}
    """
    return {key: round(settings[key] * (1 - share), 3) for key in DROPOUTS if key in settings}


def copy_weights(
    model: keras.Model, smaller: keras.Model, units: NDArray[np.bool_], tokens: Sequence[int]
) -> None:
    """Gives the smaller model the weights of those units and tokens that stay.

    Args:
        model: The larger model.
        smaller: The same layers, with fewer units; changed in place.
        units: Whether each unit stays, `(num_units + 1,)`; the last one stands for `FIXED`.
        tokens: Ids of the tokens that stay.
    """
    for (larger, axes), (weights, _) in zip(Widths(model).axes, Widths(smaller).axes, strict=True):
        values = larger.numpy()
        if is_table(larger):
            # An embedding multiplies its table by the square root of its width.
            values = values[list(tokens)] * math.sqrt(values.shape[1] / weights.shape[1])
            axes = (np.full(len(tokens), FIXED), axes[1])
        weights.assign(values[np.ix_(*(np.flatnonzero(units[axis]) for axis in axes))])


def is_table(weights: tf.Variable) -> bool:
    """Returns whether a weight is the embedding table, which has a row a token."""
    return "embeddings" in weights.name
