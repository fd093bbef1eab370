"""A table of labelled texts → a run folder with a trained model and what it is worth."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from device_runner.encode import Tokenizer, format_vocabulary, read_vocabulary
from device_runner.files import write_file_atomic, write_json_atomic
from tfpipe.baseline import evaluate_baselines
from tfpipe.config import Recipe, load_recipe
from tfpipe.corpus import EncodedSplit, encode_split
from tfpipe.data import Dataset, Split, open_dataset, sample_indices
from tfpipe.fit import Trainer
from tfpipe.fit_progress import Progress
from tfpipe.metrics import confusion_matrix, predict_labels, score_predictions
from tfpipe.models import MODELS
from tfpipe.plan import Plan, make_plan
from tfpipe.run_folder import MAX_CALIBRATION_EXAMPLES, MAX_TEST_EXAMPLES, RunFolder
from tfpipe.subword_dropout import MAX_TEXTS, SubwordDropout
from tfpipe.variant import save_weights
from tfpipe.verb import make_callable
from tfpipe.versions import now, read_versions

SCHEMA_VERSION = 1


@dataclasses.dataclass(frozen=True)
class DataOptions:
    """Which table to read, and how.

    Attributes:
        test: A file of its own for the test split; None cuts one from the data.
        text_column: Column with the texts; None finds it by its name.
        label_column: Column with the labels; None finds it by its name.
        multi_label: Whether a text may have several labels, separated by `|`.
    """

    test: Path | None = None
    text_column: str | None = None
    label_column: str | None = None
    multi_label: bool = False


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
        ValueError: Something is wrong with the data, the recipe or the run folder.
    """
    recipe = load_recipe(recipe) if isinstance(recipe, str) else recipe
    options = options or DataOptions()
    folder = RunFolder(Path(run))
    if existing == "resume" and folder.run_json.is_file():
        return folder.read()
    progress(f"reading {data}")
    dataset = open_dataset(
        str(data),
        test=options.test,
        text_column=options.text_column,
        label_column=options.label_column,
        multi_label=options.multi_label,
        seed=recipe.train["seed"],
    )
    folder.prepare(resume=existing == "resume", overwrite=existing == "overwrite")
    with os_errors_named(folder.path):
        plan = load_plan(folder, recipe, dataset)
        if plan is None:
            progress("choosing what the recipe leaves open")
            plan = make_plan(dataset, recipe)
            save_plan(folder, plan, recipe, dataset)
        for choice in plan.choices:
            progress(f"{choice['key']} = {choice['value']}: {choice['reason']}")
        progress("encoding the texts")
        trainer = make_trainer(folder, plan, dataset)
        if trainer.restore():
            progress(f"going on after epoch {trainer.state.epoch}, step {trainer.state.step}")
        trainer.fit(progress)
        save_weights(folder, "base", trainer.averaged.get_weights())
        progress("measuring the baselines on the same split")
        content = describe_run(folder, plan, dataset, trainer)
        write_json_atomic(folder.run_json, content)
        shutil.rmtree(folder.token_cache)
    return content


@contextlib.contextmanager
def os_errors_named(path: Path) -> Iterator[None]:
    """Adds the run and the way on to an error of the file system."""
    try:
        yield
    except OSError as error:
        raise OSError(
            f"run={str(path)!r} could not be written: {error}. Free space or fix the permissions, "
            "then give --resume to go on."
        ) from error


def load_plan(folder: RunFolder, recipe: Recipe, dataset: Dataset) -> Plan | None:
    """Returns the plan of a training that began in the folder; None where there is none.

    Raises:
        ValueError: It began with another recipe or other data.
    """
    if not folder.plan_json.is_file():
        return None
    saved = json.loads(folder.plan_json.read_text("utf-8"))
    asked = plan_identity(recipe, dataset)
    for key, value in asked.items():
        if saved["asked"].get(key) != value:
            raise ValueError(
                f"run={str(folder.path)!r} began with {key}={saved['asked'].get(key)!r}, now it is "
                f"{value!r}. Resume with the same, or begin again with --overwrite."
            )
    chosen = Recipe(recipe.model_name, **saved["recipe"])
    return Plan(chosen, read_vocabulary(folder.vocabulary), saved["choices"])


def plan_identity(recipe: Recipe, dataset: Dataset) -> dict[str, Any]:
    """Returns what must be the same for a training to be resumed."""
    return {
        "model": recipe.model_name,
        "recipe": recipe.sections(),
        "data_sha256": dataset.fingerprint_sha256,
        "columns": [dataset.text_column, dataset.label_column],
        "multi_label": dataset.multi_label,
    }


def save_plan(folder: RunFolder, plan: Plan, asked: Recipe, dataset: Dataset) -> None:
    """Writes what the run keeps of its data and choices; plan.json last, since it marks the rest."""
    write_file_atomic(folder.vocabulary, format_vocabulary(plan.vocabulary).encode())
    write_file_atomic(folder.labels, "".join(f"{label}\n" for label in dataset.labels).encode())
    write_file_atomic(folder.recipe_toml, plan.recipe.to_toml().encode())
    seed = plan.recipe.train["seed"]
    for name, split, limit in (
        ("test", "test", MAX_TEST_EXAMPLES),
        ("calibration", "train", MAX_CALIBRATION_EXAMPLES),
    ):
        lines = example_lines(dataset, dataset.splits[split], limit=limit, seed=seed)
        folder.examples(name).parent.mkdir(exist_ok=True)
        write_file_atomic(folder.examples(name), "".join(lines).encode())
    write_json_atomic(
        folder.plan_json,
        {
            "asked": plan_identity(asked, dataset),
            "recipe": plan.recipe.sections(),
            "choices": plan.choices,
        },
    )


def example_lines(dataset: Dataset, split: Split, *, limit: int, seed: int) -> Iterator[str]:
    """Yields JSON lines {"text", "labels"} of at most `limit` examples, seeded, in row order."""
    rows = sample_indices(split.num_examples, limit, seed)
    chosen = np.zeros(split.num_examples, np.uint8)
    chosen[rows] = 1
    texts = itertools.compress(split.texts(), chosen.tobytes())
    for text, target in zip(texts, split.targets[rows], strict=True):
        indices = np.flatnonzero(target) if dataset.multi_label else [target]
        labels = [dataset.labels[index] for index in indices]
        yield json.dumps({"text": text, "labels": labels}, ensure_ascii=False) + "\n"


def make_trainer(folder: RunFolder, plan: Plan, dataset: Dataset) -> Trainer:
    """Encodes train and validation and builds the model."""
    recipe, tokenizer = plan.recipe, plan.tokenizer()
    splits = {
        name: encode(folder, name, dataset, tokenizer, recipe.data["sequence_length"])
        for name in ("train", "validation")
    }
    rate = recipe.train["subword_dropout"]
    source = dataset.splits["train"]
    if rate and tokenizer.spec.kind == "wordpiece" and source.num_examples <= MAX_TEXTS:
        splits["train"].subword_dropout = SubwordDropout(
            source.texts(), tokenizer, rate=rate, seed=recipe.train["seed"]
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
    )


def encode(
    folder: RunFolder, name: str, dataset: Dataset, tokenizer: Tokenizer, sequence_length: int
) -> EncodedSplit:
    """Returns one split as token ids on disk."""
    split = dataset.splits[name]
    return encode_split(
        split.texts(),
        split.targets,
        tokenizer,
        sequence_length=sequence_length,
        path=folder.token_cache / name,
    )


def describe_run(
    folder: RunFolder, plan: Plan, dataset: Dataset, trainer: Trainer
) -> dict[str, Any]:
    """Measures the best weights and the baselines on the test split → run.json's content."""
    started = time.monotonic()
    baseline = evaluate_baselines(dataset, seed=plan.recipe.train["seed"])
    test = encode(folder, "test", dataset, plan.tokenizer(), plan.recipe.data["sequence_length"])
    scores = trainer.probabilities(trainer.logits(test))
    predictions = predict_labels(scores, multi_label=dataset.multi_label)
    figures = score_predictions(test.targets, predictions, len(dataset.labels))
    return {
        "schema_version": SCHEMA_VERSION,
        "created": now(),
        "task": "classify",
        "model": plan.recipe.model_name,
        "multi_label": dataset.multi_label,
        "seed": plan.recipe.train["seed"],
        "versions": read_versions(),
        "data": describe_data(dataset),
        "choices": plan.choices,
        "recipe": plan.recipe.sections(),
        "parameters": int(trainer.averaged.count_params()),
        "training": {
            "epochs_run": trainer.state.epoch,
            "best_epoch": trainer.state.best_epoch,
            "seconds": round(sum(entry["seconds"] for entry in trainer.state.history), 1),
            "baseline_seconds": round(time.monotonic() - started, 1),
        },
        "metrics": {
            "validation": trainer.evaluate(trainer.validation)[1],
            "test": {**figures, "num_examples": len(test.lengths)},
            "baseline": baseline,
        },
        "confusion_matrix": confusion_matrix(test.targets, predictions, dataset.labels),
    }


def describe_data(dataset: Dataset) -> dict[str, Any]:
    """Returns run.json's "data"."""
    return {
        "source": Path(dataset.source).name,
        "test_source": dataset.test_source and Path(dataset.test_source).name,
        "fingerprint_sha256": dataset.fingerprint_sha256,
        "text_column": dataset.text_column,
        "label_column": dataset.label_column,
        "num_rows": dataset.num_rows,
        "splits": {name: split.num_examples for name, split in dataset.splits.items()},
        "label_counts": dataset.label_counts,
        "skipped": dataset.skipped,
        "warnings": dataset.warnings,
    }


make_callable(__name__, train)
