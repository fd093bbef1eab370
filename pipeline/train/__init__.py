"""A table of labelled texts → a run folder with a trained model and what it is worth."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from device_runner.encode import Tokenizer
from device_runner.files import write_json_atomic
from tfpipe.config import Recipe, load_recipe
from tfpipe.data import Dataset, open_dataset
from tfpipe.fit_progress import Progress
from tfpipe.models import MODELS
from tfpipe.resumable import only_one, os_errors_named
from tfpipe.run_folder import RunFolder
from tfpipe.train.corpus import EncodedSplit, encode_split
from tfpipe.train.fit import Trainer
from tfpipe.train.more_texts import texts_to_learn
from tfpipe.train.plan import Plan, make_plan
from tfpipe.train.plan_file import load_plan, save_plan
from tfpipe.train.run_record import data_paths, describe_run
from tfpipe.train.subword_dropout import MAX_TEXTS, SubwordDropout
from tfpipe.train.teacher import Teaching, open_lessons
from tfpipe.train.tensorboard import check_tensorboard
from tfpipe.variant import BASE, save_weights
from tfpipe.verb import make_callable


@dataclasses.dataclass(frozen=True)
class DataOptions:
    """Which table to read, and how.

    Attributes:
        test: A file of its own for the test split; None cuts one from the data.
        text_column: Column with the texts; None finds it by its name.
        label_column: Column with the labels; None finds it by its name.
        multi_label: Whether a text may have several labels, separated by `|`.
        teaching: Finished runs that teach beside the labels.
    """

    test: Path | None = None
    text_column: str | None = None
    label_column: str | None = None
    multi_label: bool = False
    teaching: Teaching = Teaching()


def train(
    data: str | Path,
    run: str | Path,
    *,
    recipe: Recipe | str = "lstm",
    options: DataOptions | None = None,
    existing: str = "refuse",
    progress: Callable[[Progress | str], None] = lambda _: None,
) -> dict[str, Any]:
    """Trains a text classifier; returns what it wrote to run.json.

    Args:
        data: A .csv, .tsv or .jsonl file, also .gz, or the name of a packaged data set.
        run: The run folder to make.
        recipe: A recipe of `tfpipe.config.load_recipe`, or a model's name for its packaged one.
        options: How to read the table.
        existing: What to do with a run that is there: "refuse", "resume" or "overwrite".
        progress: Called with a sentence when a stage begins and with a `Progress` at each update.

    Raises:
        FileExistsError: The run exists and `existing` is "refuse".
        OSError: Something could not be read or written.
        ValueError: Something is wrong with the data, the recipe or the run folder, or another
            process trains the run.
    """
    recipe = load_recipe(recipe) if isinstance(recipe, str) else recipe
    options = options or DataOptions()
    if recipe.train["tensorboard"]:
        check_tensorboard()
    folder = RunFolder(Path(run))
    folder.check(existing)
    progress(f"reading {data}")
    dataset = open_dataset(
        str(data),
        test=options.test,
        text_column=options.text_column,
        label_column=options.label_column,
        multi_label=options.multi_label,
        seed=recipe.train["seed"],
    )
    teaching = options.teaching
    teaching.check(dataset.labels, multi_label=dataset.multi_label, student=folder.path)
    with begun(folder, overwrite=existing == "overwrite"), nothing_left_of(folder, existing):
        plan = load_plan(folder, recipe, dataset, teaching)
        if folder.run_json.is_file():
            return folder.read()
        if plan is None:
            progress("choosing what the recipe leaves open")
            plan = make_plan(dataset, recipe, texts_to_learn(dataset, teaching.unlabelled))
            save_plan(folder, plan, recipe, dataset, teaching)
        for choice in plan.choices:
            progress(f"{choice['key']} = {choice['value']}: {choice['reason']}")
        progress("encoding the texts")
        trainer = make_trainer(folder, plan, dataset, teaching, progress)
        if trainer.restore():
            progress(f"going on after epoch {trainer.state.epoch}, step {trainer.state.step}")
        trainer.fit(progress)
        save_weights(folder.weights(BASE), trainer.averaged)
        progress("measuring the baselines on the same split")
        content = measure_run(folder, plan, dataset, trainer)
        content["teaching"] = teaching.describe(folder.path)
        shutil.rmtree(folder.token_cache)
        write_json_atomic(folder.run_json, content)
    return content


def measure_run(
    folder: RunFolder, plan: Plan, dataset: Dataset, trainer: Trainer
) -> dict[str, Any]:
    """Encodes the test split and returns what run.json says of the model and its data."""
    sections, cache = plan.recipe.sections(), folder.token_cache
    test = encode_splits(dataset, plan.tokenizer(), sections, cache, names=["test"])["test"]
    content = describe_run(plan, dataset, trainer, test)
    content["data"].update(data_paths(dataset, folder.path))
    return content


@contextlib.contextmanager
def begun(folder: RunFolder, *, overwrite: bool) -> Iterator[None]:
    """Makes the folder ready for a training that `RunFolder.check` let pass, and keeps others out.

    Raises:
        OSError: One was raised within; it says how to go on.
        ValueError: Another process trains the run.
    """
    what = f"run={str(folder.path)!r}"
    refusal = f"{what} is being trained by another process. Wait for it, or give another --run."
    with os_errors_named(what, "give --resume"):
        if folder.started.is_file():
            with only_one(folder.started, refusal):
                pass  # nobody has it: what is there may be removed
        folder.begin(overwrite=overwrite)
        with only_one(folder.started, refusal):
            yield


@contextlib.contextmanager
def nothing_left_of(folder: RunFolder, existing: str) -> Iterator[None]:
    """Removes a new run whose settings were refused before it trained, so that the same call with
    better ones finds no run in its way.

    Raises:
        ValueError: One was raised within.
    """
    try:
        yield
    except ValueError:
        if existing == "refuse" and not folder.checkpoint.is_file():
            shutil.rmtree(folder.path, ignore_errors=True)
        raise


def make_trainer(
    folder: RunFolder,
    plan: Plan,
    dataset: Dataset,
    teaching: Teaching,
    progress: Callable[[str], None],
) -> Trainer:
    """Asks the teachers, encodes train and validation, and builds the model."""
    recipe = plan.recipe
    dataset, lessons = open_lessons(
        teaching, dataset, recipe.train, cache=folder.token_cache, progress=progress
    )
    names = ("train", "validation")
    splits = encode_splits(
        dataset, plan.tokenizer(), recipe.sections(), folder.token_cache, names=names
    )
    build = MODELS[recipe.model_name]
    return Trainer(
        lambda: build(
            len(plan.vocabulary),
            recipe.data["sequence_length"],
            len(dataset.labels),
            **recipe.model,
            seed=recipe.train["seed"],
        ),
        recipe.train,
        **splits,
        num_classes=len(dataset.labels),
        run=folder,
        lessons=lessons,
    )


def encode_splits(
    dataset: Dataset,
    tokenizer: Tokenizer,
    recipe: Mapping[str, Mapping[str, Any]],
    cache: Path,
    *,
    names: Sequence[str],
) -> dict[str, EncodedSplit]:
    """Returns splits as token ids on disk, in `cache`; "train" with the recipe's subword dropout.

    Args:
        dataset: Where the texts come from.
        tokenizer: How they are cut.
        recipe: The recipe's sections.
        cache: Folder for one file a split.
        names: The splits to encode.
    """
    length, settings = recipe["data"]["sequence_length"], recipe["train"]
    splits = {}
    for name in names:
        split = dataset.splits[name]
        splits[name] = encode_split(
            split.texts(), split.targets, tokenizer, sequence_length=length, path=cache / name
        )
    rate, source = settings["subword_dropout"], dataset.splits["train"]
    wanted = rate and "train" in names and tokenizer.spec.kind == "wordpiece"
    if wanted and source.num_examples <= MAX_TEXTS:
        splits["train"].subword_dropout = SubwordDropout(
            source.texts(), tokenizer, sequence_length=length, rate=rate, seed=settings["seed"]
        )
    return splits


make_callable(__name__, train)
