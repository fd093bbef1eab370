"""A training's plan → the files that a resumed training goes by, and back."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from device_runner.encode import format_vocabulary, read_vocabulary
from device_runner.files import write_file_atomic, write_json_atomic
from tfpipe.config import Recipe
from tfpipe.data import PACKAGED, Dataset, Split, sample_indices
from tfpipe.run_folder import MAX_CALIBRATION_EXAMPLES, MAX_TEST_EXAMPLES, RunFolder
from tfpipe.train.plan import Plan
from tfpipe.train.teacher import Teaching


def load_plan(
    folder: RunFolder, recipe: Recipe, dataset: Dataset, teaching: Teaching
) -> Plan | None:
    """Returns the plan of a training that began in the folder; None where there is none.

    Raises:
        ValueError: It began with another recipe, other data or other teachers.
    """
    if not folder.plan_json.is_file():
        return None
    try:
        saved = json.loads(folder.plan_json.read_text("utf-8"))
        began, chosen, choices = saved["asked"], saved["recipe"], saved["choices"]
        vocabulary = read_vocabulary(folder.vocabulary)
        plan = Plan(Recipe(recipe.model_name, **chosen), vocabulary, choices)
        began["recipe"] = heeded(began["recipe"], teaching)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{folder.plan_json} is damaged ({error}). Begin again with --overwrite."
        ) from error
    now = plan_identity(recipe, dataset, teaching)
    for key in {**now, **began}:
        if began.get(key) != now.get(key):
            before, after = difference(began.get(key), now.get(key))
            raise ValueError(
                f"run={str(folder.path)!r} began with {key}={before!r}, now it is {after!r}. "
                "Resume with the same, or begin again with --overwrite."
            )
    return plan


def difference(before: Any, after: Any) -> tuple[Any, Any]:
    """Returns two values; of dicts only the entries that differ."""
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return before, after
    keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    pairs = {key: difference(before.get(key), after.get(key)) for key in keys}
    return {k: pair[0] for k, pair in pairs.items()}, {k: pair[1] for k, pair in pairs.items()}


def plan_identity(recipe: Recipe, dataset: Dataset, teaching: Teaching) -> dict[str, Any]:
    """Returns what must be the same for a training to be resumed."""
    return {
        "model": recipe.model_name,
        "recipe": heeded(recipe.sections(), teaching),
        "data_sha256": dataset.fingerprint_sha256,
        "columns": [dataset.text_column, dataset.label_column],
        "multi_label": dataset.multi_label,
        **teaching.identity(),
    }


def heeded(
    sections: Mapping[str, Mapping[str, Any]], teaching: Teaching
) -> dict[str, dict[str, Any]]:
    """Returns a recipe's sections without what nobody teaches by."""
    return {
        name: {
            key: value
            for key, value in section.items()
            if teaching.num_teachers or not key.startswith("teacher_")
        }
        for name, section in sections.items()
    }


def save_plan(
    folder: RunFolder, plan: Plan, asked: Recipe, dataset: Dataset, teaching: Teaching
) -> None:
    """Writes what the run keeps of its data and choices; plan.json last, as it marks the rest."""
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
            "asked": plan_identity(asked, dataset, teaching),
            "source": source_of(dataset),
            "recipe": plan.recipe.sections(),
            "choices": plan.choices,
        },
    )


def source_of(dataset: Dataset) -> dict[str, str | None]:
    """Returns where the data lies, for what trains on it again: a packaged name or a path."""
    is_packaged, test = dataset.source in PACKAGED, dataset.own_test
    return {
        "data": dataset.source if is_packaged else str(Path(dataset.source).resolve()),
        "test": None if test is None else str(Path(test).resolve()),
    }


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
