"""A trained model and its dataset → what run.json says about them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from tfpipe.baseline import evaluate_baselines
from tfpipe.data import PACKAGED, Dataset
from tfpipe.metrics import confusion_matrix, predict_labels, score_predictions
from tfpipe.train.corpus import EncodedSplit
from tfpipe.train.fit import Trainer
from tfpipe.train.plan import Plan
from tfpipe.versions import now, read_versions

SCHEMA_VERSION = 1


def describe_run(
    plan: Plan, dataset: Dataset, trainer: Trainer, test: EncodedSplit
) -> dict[str, Any]:
    """Measures the best weights and the baselines on the test split → run.json's content."""
    started = time.monotonic()
    baseline = evaluate_baselines(dataset, seed=plan.recipe.train["seed"])
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


def data_paths(dataset: Dataset, run: Path) -> dict[str, str | None]:
    """Returns where the data files lie, as seen from the folder that holds the run.

    So the commands of the report find them from there, and no folder of one machine is told.

    Args:
        dataset: What was trained on.
        run: The run's folder.

    Returns:
        `source_path` and `test_path`; None for what is packaged and without a test file.
    """
    source = None if dataset.source in PACKAGED else dataset.source
    files = {"source_path": source, "test_path": dataset.own_test}
    return {
        key: None if file is None else os.path.relpath(Path(file).resolve(), run.resolve().parent)
        for key, file in files.items()
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
