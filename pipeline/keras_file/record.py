"""What was read of an imported model, its texts and its scores → what run.json says about them."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from device_runner.encode import Tokenizer
from tfpipe.data.text_file import sha256_of
from tfpipe.keras_file.belongings import SEED, Belongings, ImportOptions, columns_of
from tfpipe.keras_file.recurrent import RECURRENT
from tfpipe.metrics import confusion_matrix, predict_labels, score_predictions
from tfpipe.run_folder import RunFolder
from tfpipe.variant import IMPORTED_MODELS
from tfpipe.versions import now, read_versions


def describe_import(model: Path, found: dict[str, Any], brought: Belongings) -> dict[str, Any]:
    """Returns the part of run.json that says what the model is."""
    tokenizer = brought.tokenizer
    spec, length = tokenizer.spec, found["sequence_length"]
    recurrent = set(RECURRENT) & set(found["layer_types"])
    return {
        "schema_version": 1,
        "created": now(),
        "task": "classify",
        "model": IMPORTED_MODELS[bool(recurrent)],
        "seed": SEED,
        "versions": read_versions(),
        "choices": brought.choices,
        "recipe": {
            "data": {"sequence_length": length},
            "tokenizer": {
                "kind": spec.kind,
                "vocabulary_size": tokenizer.vocabulary_size,
                "lowercase": str(spec.lowercase).lower(),
            },
            "model": {"file": model.name, "keras_version": found["keras_version"]},
        },
        "parameters": found["parameters"],
    }


def measure(scores: Any, brought: Belongings) -> dict[str, Any]:
    """Returns the part of run.json that says what the user's own model reaches on the texts for
    verification, beside the most frequent answer among those for calibration."""
    calibration, test, labels = brought.calibration, brought.test, brought.labels
    multi_label = test.targets.ndim == 2
    values, counts = np.unique(calibration.targets, axis=0, return_counts=True)
    majority = values[counts.argmax()]
    predictions = predict_labels(scores, multi_label=multi_label)
    always = np.broadcast_to(majority, test.targets.shape)
    chosen = np.flatnonzero(majority) if multi_label else [majority]
    return {
        "metrics": {
            "test": {
                **score_predictions(test.targets, predictions, len(labels)),
                "num_examples": len(test.texts),
            },
            "baseline": {
                "majority": {
                    **score_predictions(test.targets, always, len(labels)),
                    "label": "|".join(labels[index] for index in chosen),
                }
            },
        },
        "confusion_matrix": confusion_matrix(test.targets, predictions, labels),
    }


def describe_data(options: ImportOptions, folder: RunFolder, brought: Belongings) -> dict[str, Any]:
    """Returns run.json's "data"."""
    parts = {"calibration": brought.calibration, "test": brought.test}
    counts = {
        name: Counter(label for names in part.labels for label in names)
        for name, part in parts.items()
    }
    return {
        "source": options.data.name,
        "source_path": os.path.relpath(options.data.resolve(), folder.path.resolve().parent),
        "test_source": None,
        "test_path": None,
        "fingerprint_sha256": sha256_of(options.data),
        **columns_of(options),
        "num_rows": sum(len(part.texts) for part in parts.values()),
        "splits": {name: len(part.texts) for name, part in parts.items()},
        "label_counts": {
            name: {label: count[label] for label in brought.labels}
            for name, count in counts.items()
        },
        "skipped": {},
        "warnings": [],
    }


def find_warnings(content: dict[str, Any], tokenizer: Tokenizer) -> list[str]:
    """Returns sentences about what is likely not as it was in training."""
    metrics, found = content["metrics"], []
    reached, plain = (
        each["accuracy"] for each in (metrics["test"], metrics["baseline"]["majority"])
    )
    if reached <= plain:
        found.append(
            f"The model is right in {reached:.1%} of the texts, the most frequent label in "
            f"{plain:.1%}: are labels, vocabulary, tokenizer and padding (on the right, with id 0) "
            "those of its training?"
        )
    rows, tokens = content["import"]["embedding_rows"], tokenizer.vocabulary_size
    if tokens < rows:
        found.append(
            f"The vocabulary has {tokens:,} tokens, the embedding {rows:,} rows: {rows - tokens:,} "
            "of them are never looked up."
        )
    return found
