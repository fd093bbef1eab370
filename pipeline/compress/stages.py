"""A model and the methods asked for → the model after them, one fine-tuning each."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import tensorflow as tf
import tf_keras as keras

from tfpipe.compress.cluster import Cluster, KeepClusters, KeepZeros
from tfpipe.compress.copies import copy_of, quantized_copy_of, weight_rounded_copy_of
from tfpipe.compress.fine_tune import FineTuner, Method
from tfpipe.compress.options import CompressOptions
from tfpipe.compress.prune import Prune
from tfpipe.compress.quantize import LearnRanges
from tfpipe.compress.rank import TableStays, check_rank, choose_rank
from tfpipe.compress.sensitivity import choose_sparsity
from tfpipe.compress.shrink import shrink
from tfpipe.compress.source import Source
from tfpipe.config import AUTO
from tfpipe.fit_progress import Progress
from tfpipe.metrics import predict_labels, score_predictions
from tfpipe.models.quantized import QuantizedModel
from tfpipe.models.weight_rounding import WeightRoundedModel
from tfpipe.run_folder import RunFolder
from tfpipe.train.inference import compute_logits, make_infer
from tfpipe.weight_schemes import WEIGHT_SCHEMES

FINE_TUNING_EPOCHS = 5


@dataclass
class Stages:
    """What the methods made of a model.

    Attributes:
        model: The model after the last one.
        source: The run's data as that model reads them.
        trained: One entry a method: its name, epochs, best epoch, seconds and validation figures.
    """

    model: keras.Model
    source: Source
    trained: list[dict[str, Any]] = field(default_factory=list)


def run_stages(
    source: Source,
    model: keras.Model,
    options: CompressOptions,
    before: Sequence[str],
    *,
    work: Path,
    progress: Callable[[Progress | str], None],
) -> Stages:
    """Fine-tunes `model` once for each method, in order.

    Each stage keeps a checkpoint in a folder of its own in `work`, so that a killed call goes on.

    Args:
        source: The run's data.
        model: What to begin with.
        options: The methods.
        before: The methods that made `model`.
        work: Folder for the checkpoints.
        progress: As for `tfpipe.train`.

    Raises:
        ValueError: A method has nothing to do, see `narrow`; a table that others of several methods
            left too narrow for a low rank is said to `progress` instead.
    """
    if options.low_rank not in (0, AUTO):
        check_rank(model, options.low_rank)
    result = Stages(model, source)
    methods = [*before, *options.methods()]
    for index in range(len(before), len(methods)):
        name = methods[index]
        own = replace(options, epochs=options.epochs or default_epochs(name, source.recipe))
        folder = RunFolder(work / f"{index}-{name}")
        try:
            model, source, facts = narrow(result, own, methods[: index + 1], folder, progress)
        except TableStays as error:
            if options.methods() == [name]:
                raise
            progress(f"{error} The table stays as it is.")
            continue
        progress(f"{name}: {own.epochs} epochs")
        sparsity: list[float] = []
        if name == "prune":
            sparsity, facts = choose_sparsity(model, source, options, progress)
        tuner = make_tuner(source, model, own, methods[: index + 1], folder, sparsity)
        started = time.monotonic()
        tuner.fit(progress)
        entry = {
            "method": name,
            "epochs": own.epochs,
            "best_epoch": tuner.state.best_epoch,
            "seconds": round(time.monotonic() - started, 1),
            "seconds_per_epoch": round(
                sum(entry["seconds"] for entry in tuner.state.history) / own.epochs, 2
            ),
            "validation": tuner.evaluate(tuner.validation)[1],
            **facts,
        }
        trained = tuner.averaged
        if isinstance(trained, WeightRoundedModel):
            # The weights that ship: nothing of them is left to round.
            trained = trained.rounded()
        trained.per_tensor = "cluster" in methods[: index + 1]
        result = Stages(trained, source, [*result.trained, entry])
    return result


def narrow(
    result: Stages,
    options: CompressOptions,
    names: Sequence[str],
    folder: RunFolder,
    progress: Callable[[str], None],
) -> tuple[keras.Model, Source, dict[str, Any]]:
    """Returns the model that the last of `names` trains, which is smaller where that is what the
    method does, the data as it reads them, and what was found out on the way.

    Raises:
        TableStays: The embedding's table cannot become narrower.
        ValueError: Nothing would go.
    """
    model, source, (*before, name) = result.model, result.source, names
    if name == "shrink":
        return shrink(model, source, options.shrink, folder.path, before)
    if name == "low_rank":
        file = folder.path / "rank.json"
        return choose_rank(model, source, options.low_rank, file=file, progress=progress)
    return model, source, {}


def default_epochs(method: str, recipe: Mapping[str, Any]) -> int:
    """Returns for how many passes a method trains on: what is left of a shrunken model for as many
    as the whole model was trained for, weights that are there already for `FINE_TUNING_EPOCHS`.

    Args:
        method: Its name.
        recipe: That of the run.
    """
    epochs: int = recipe["train"]["epochs"]
    return epochs if method == "shrink" else FINE_TUNING_EPOCHS


def make_tuner(
    source: Source,
    model: keras.Model,
    options: CompressOptions,
    names: Sequence[str],
    folder: RunFolder,
    sparsity: Sequence[float],
) -> FineTuner:
    """Returns the fine-tuning of the last of `names`, which keeps what those before it made.

    Args:
        source: The run's data.
        model: What to begin with.
        options: The methods, and for how many epochs this one is trained.
        names: Those that are done, and the one to do.
        folder: Where checkpoint and history go.
        sparsity: What "prune" shall reach in each of `compressible`.
    """
    *before, name = names
    build: Callable[[], keras.Model] = functools.partial(copy_of, model)
    methods: list[Method] = []
    if "cluster" in before:
        methods.append(KeepClusters())
    elif "prune" in before and name != "cluster":
        methods.append(KeepZeros())
    if name == "prune":
        methods.append(Prune(sparsity, epochs=options.epochs, block_size=options.block_size))
    if name == "cluster":
        methods.append(Cluster(options.cluster))
    if name == "qat" and options.scheme in WEIGHT_SCHEMES:
        build = functools.partial(weight_rounded_copy_of, model, WEIGHT_SCHEMES[options.scheme])
    elif name == "qat":
        ranges = QuantizedModel(model).ranges
        # Sixteen values stay sixteen where one scale rounds all of them.
        build = functools.partial(quantized_copy_of, model, ranges, "cluster" in before)
        methods.append(LearnRanges(epochs=options.epochs, seed=source.content["seed"]))
    # What is left of a shrunken model has further to go than weights that are only rounded.
    rate = source.recipe["train"]["learning_rate"] if name == "shrink" else 0.0
    return FineTuner(
        build,
        source,
        methods,
        epochs=options.epochs,
        learning_rate=options.learning_rate or rate,
        work=folder,
    )


def measure(model: keras.Model, source: Source, split: str) -> dict[str, float]:
    """Returns the metrics of a model on one split, see `score_predictions`."""
    encoded = source.splits[split]
    num_classes = len(source.dataset.labels)
    logits = compute_logits(make_infer(model), encoded, num_classes)
    multi_label = encoded.targets.ndim == 2
    scores = (tf.sigmoid(logits) if multi_label else tf.nn.softmax(logits)).numpy()
    predictions = predict_labels(scores, multi_label=multi_label)
    return score_predictions(encoded.targets, predictions, num_classes)
