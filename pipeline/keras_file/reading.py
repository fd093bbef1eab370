"""A job file → an imported model's files; a process of its own, because TensorFlow can abort."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_runner.encode import Tokenizer, TokenizerSpec, read_vocabulary
from device_runner.texts import read_texts
from tfpipe.keras_file.loading import load_keras
from tfpipe.keras_file.process import (
    DESCRIPTION_FILE,
    REFUSAL_FILE,
    RESULT_FILE,
    SCORES_FILE,
    WEIGHTS_FILE,
)
from tfpipe.keras_file.source import read_source
from tfpipe.keras_file.translate import translate
from tfpipe.models.imported import build_imported
from tfpipe.variant import save_weights

BATCH = 64
# Inputs on which both forms of the model are compared: real texts, and as many random ones.
COMPARED = 128
# Between probabilities: two orders of the same float32 operations differ by a hundredth of it.
MAX_ERROR = 1e-4


def main(job_path: Path) -> None:
    """Reads a job of `tfpipe.keras_file.process.read_model` and writes its files beside it.

    What is wrong with the model goes into REFUSAL_FILE; what TensorFlow says, to stderr.
    """
    job = json.loads(job_path.read_text("utf-8"))
    try:
        read_model(job, job_path.parent)
    except (ValueError, OSError) as error:
        (job_path.parent / REFUSAL_FILE).write_text(str(error), "utf-8")
        sys.exit(1)


def read_model(job: dict[str, Any], folder: Path) -> None:
    """Translates the job's "model", proves the translation, and scores its "texts"."""
    source = read_source(Path(job["model"]))
    original = load_keras(source, folder)
    description, weights = translate(
        original,
        sequence_length=choose_length(original, job["sequence_length"]),
        multi_label=job["multi_label"],
    )
    check_sizes(description, job)
    model = build_imported(description)
    for name, arrays in weights.items():
        model.get_layer(name).set_weights(arrays)
    length = description["sequence_length"]
    tokenizer = Tokenizer(
        TokenizerSpec.from_json(job["tokenizer"]), read_vocabulary(job["vocabulary"])
    )
    token_ids = tokenizer.encode_batch(read_texts(job["texts"]), length)
    logits = description["activation"] == "linear"
    scores = score(original, token_ids, multi_label=job["multi_label"], logits=logits)
    error = compare((original, logits), model, token_ids, job)
    save_weights(folder / WEIGHTS_FILE, model)
    np.save(folder / SCORES_FILE, scores)
    (folder / DESCRIPTION_FILE).write_text(json.dumps(description, indent=1), "utf-8")
    result = {
        "sequence_length": length,
        "format": source.format,
        "keras_version": source.keras_version,
        "parameters": int(model.count_params()),
        "embedding_rows": embedding_rows(description),
        "max_abs_error": error,
        "layer_types": [entry["type"] for entry in description["layers"]],
    }
    (folder / RESULT_FILE).write_text(json.dumps(result), "utf-8")


def choose_length(model: Any, asked: int | None) -> int:
    """Returns the tokens of one input: the model's, or those asked for where it takes any.

    Raises:
        ValueError: Neither says, they differ, or none is asked for.
    """
    if asked is not None and asked < 1:
        raise ValueError(f"sequence_length={asked}, expected at least 1. Use the model's own.")
    from tfpipe.keras_file.graph import model_input

    fixed = model_input(model).shape[1]
    if fixed is None and asked is None:
        raise ValueError(
            f"model {model.name!r} takes texts of any length (input shape (None, None)); a file "
            "for a device has one. Give --sequence-length N, the length it was trained with."
        )
    if fixed is not None and asked not in (None, fixed):
        raise ValueError(
            f"sequence_length={asked}, but the model {model.name!r} takes {fixed} tokens. Leave "
            "--sequence-length out."
        )
    return int(fixed) if asked is None else asked


def check_sizes(description: dict[str, Any], job: dict[str, Any]) -> None:
    """Refuses a vocabulary or a list of labels that is not the model's.

    Raises:
        ValueError: Ids would lie outside the embedding, or the outputs are others.
    """
    rows, tokens = embedding_rows(description), len(read_vocabulary(job["vocabulary"]))
    if tokens > rows:
        raise ValueError(
            f"the vocabulary has {tokens} tokens, the model's embedding {rows} rows: ids from "
            f"{rows} on lie outside it. Give the vocabulary that the model was trained with."
        )
    entries = {entry["name"]: entry for entry in description["layers"]}
    last = entries[description["output"]]
    while last["type"] != "Dense":
        last = entries[last["inputs"][0]]
    if (found := last["config"]["units"]) != job["num_labels"]:
        raise ValueError(
            f"the labels are {job['num_labels']}, the model's classes {found}. Give one label a "
            "line, in the order of the model's outputs (two for one sigmoid: 0 first, then 1)."
        )


def embedding_rows(description: dict[str, Any]) -> int:
    """Returns the rows of the smallest embedding table."""
    tables = [entry for entry in description["layers"] if entry["type"] == "Embedding"]
    return int(min(entry["config"]["input_dim"] for entry in tables))


def score(
    model: Any, token_ids: NDArray[np.int32], *, multi_label: bool, logits: bool
) -> NDArray[np.float32]:
    """Returns the probabilities of a model, `(n, num_classes)`, as the exported file gives them.

    Args:
        model: The user's model, or ours.
        token_ids: int32 `(n, sequence_length)`.
        multi_label: Whether a text may have several labels.
        logits: Whether the model gives logits.
    """
    import tensorflow as tf

    raw = [
        np.asarray(model(tf.constant(token_ids[at : at + BATCH]), training=False))
        for at in range(0, len(token_ids), BATCH)
    ]
    values = np.concatenate(raw).astype(np.float32)
    if values.shape[1] == 1 and not multi_label:
        positive = 1 / (1 + np.exp(-values)) if logits else values
        return np.concatenate([1 - positive, positive], 1)
    if not logits:
        return values
    squash = tf.sigmoid if multi_label else tf.nn.softmax
    probabilities: NDArray[np.float32] = squash(values).numpy()
    return probabilities


def compare(
    original: tuple[Any, bool], model: Any, token_ids: NDArray[np.int32], job: dict[str, Any]
) -> float:
    """Returns the largest difference of probabilities between the user's model (with whether it
    gives logits) and ours.

    Raises:
        ValueError: It is too large, or an output is not finite.
    """
    random = np.random.default_rng(1)
    length, vocabulary = token_ids.shape[1], len(read_vocabulary(job["vocabulary"]))
    made = random.integers(1, vocabulary, (COMPARED, length), np.int32)
    made[np.arange(length) >= random.integers(1, length + 1, COMPARED)[:, None]] = 0
    both = np.concatenate([token_ids[token_ids[:, 0] > 0][:COMPARED], made])
    wanted = score(original[0], both, multi_label=job["multi_label"], logits=original[1])
    found = score(model, both, multi_label=job["multi_label"], logits=True)
    error = float(np.abs(wanted - found).max())
    if not np.isfinite(wanted).all():
        raise ValueError(
            f"{job['model']}: the model's own outputs are not finite. Train it again, with a lower "
            "learning rate."
        )
    if not error <= MAX_ERROR:
        raise ValueError(
            f"{job['model']}: the translated model differs by {error:.2g} from yours, more than "
            f"{MAX_ERROR:g}. Report this, with the model's summary()."
        )
    return error


if __name__ == "__main__":
    main(Path(sys.argv[1]))
