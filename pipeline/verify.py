"""An artifact and labelled texts → whether the file computes what the trained model does."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_runner.artifact import Artifact, read_artifact
from device_runner.files import write_json_atomic
from tfpipe.data import read_labelled
from tfpipe.metrics import confusion_matrix, predict_labels, score_predictions
from tfpipe.quiet import import_tensorflow
from tfpipe.run_folder import RunFolder
from tfpipe.run_model import run_model
from tfpipe.variant import load_model, load_tokenizer, read_labels
from tfpipe.verb import make_callable
from tfpipe.versions import now

KERAS_BATCH = 256
MIN_EXAMPLES = 20  # fewer say nothing about a share of 98 %


class VerificationError(ValueError):
    """An artifact does not compute what its model does; `result` is the content of verify.json."""

    def __init__(self, message: str, result: dict[str, Any]) -> None:
        super().__init__(message)
        self.result = result


@dataclass(frozen=True)
class Threshold:
    """What a scheme's file must reach against the Keras model on the same texts.

    Attributes:
        min_agreement: Least fraction of texts with the same prediction.
        max_metric_drop: How far the metric may fall below Keras', a fraction.
        max_mean_error: Largest mean of |probability - Keras' probability| over all outputs.
        reason: Why these numbers.
    """

    min_agreement: float
    max_metric_drop: float
    max_mean_error: float
    reason: str


THRESHOLDS = {
    "float32": Threshold(
        0.999,
        0.001,
        1e-4,
        "the same float32 operations in another order: a prediction may only flip on a tie",
    ),
    "float16": Threshold(
        0.995,
        0.005,
        2e-3,
        "weights rounded to 11 bits, computed in float32: only near-ties may flip",
    ),
    "dynamic_int8": Threshold(
        0.98,
        0.01,
        0.02,
        "weights rounded to 8 bits and activations at run time: MLPerf's line of 99 % of the float "
        "metric, and twice that share of flips, since flips go both ways",
    ),
    "int8": Threshold(
        0.95,
        0.02,
        0.05,
        "weights and activations in 8 bits with ranges from calibration: twice dynamic_int8's "
        "allowance; a recurrence rounds its state at every step",
    ),
}


def verify(
    artifact: str | Path, *, data: str | Path | None = None, run: str | Path | None = None
) -> dict[str, Any]:
    """Runs an artifact's file over labelled texts, against the Keras model it came from.

    The file sees each text through the artifact's own tokenizer and names its predictions by the
    artifact's own labels; the Keras model uses the run's: a wrong vocabulary or a swapped label
    list shows as disagreement.

    Args:
        artifact: The folder in RUN/exports.
        data: A file of labelled texts; None takes the run's test split.
        run: The run, if the artifact no longer lies in it.

    Returns:
        The content of verify.json, which is written into the artifact when `data` is None.

    Raises:
        VerificationError: The file failed; the result is written all the same.
        ValueError: The artifact is damaged, its run cannot be found, or the texts are too few.
    """
    opened = read_artifact(artifact)
    folder = find_run(Path(artifact), run)
    with tempfile.TemporaryDirectory() as work:
        texts, labels = read_texts_and_labels(folder, data)
        lines = Path(work) / "texts.jsonl"
        lines.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
        outputs = run_model(Path(artifact), Path(work), texts=lines)["outputs"]
    result = compare(opened, folder, texts=texts, labels=labels, outputs=outputs)
    if data is None:
        write_json_atomic(Path(artifact) / "verify.json", result)
    if not result["passed"]:
        raise VerificationError(
            f"{opened.manifest.name} failed verification: {'; '.join(result['failures'])}. "
            "Its latency will not be shown. Export it again, or with another --scheme.",
            result,
        )
    return result


def find_run(artifact: Path, run: str | Path | None) -> RunFolder:
    """Returns the run of an artifact: the one named, or the one it lies in."""
    folder = RunFolder(Path(run) if run is not None else artifact.resolve().parent.parent)
    if not folder.run_json.is_file():
        raise ValueError(
            f"artifact={str(artifact)!r} does not lie in a run's exports folder, so the model it "
            "came from is unknown. Give --run RUN."
        )
    return folder


def read_texts_and_labels(
    folder: RunFolder, data: str | Path | None
) -> tuple[list[str], list[list[str]]]:
    """Returns the texts and each one's labels, of a file or of the run's test split."""
    content = folder.read()
    columns = content["data"]
    if data is None:
        examples = list(
            read_labelled(
                folder.examples("test"), text_column="text", label_column="labels", multi_label=True
            )
        )
    else:
        examples = list(
            read_labelled(
                Path(data),
                text_column=columns["text_column"],
                label_column=columns["label_column"],
                multi_label=content["multi_label"],
            )
        )
    if len(examples) < MIN_EXAMPLES:
        raise ValueError(
            f"{data or folder.examples('test')} holds {len(examples)} labelled texts, fewer than "
            f"the {MIN_EXAMPLES} from which a share of equal predictions means anything. Give more "
            "with --data FILE."
        )
    return [text for text, _ in examples], [list(labels) for _, labels in examples]


def compare(
    artifact: Artifact,
    folder: RunFolder,
    *,
    texts: list[str],
    labels: list[list[str]],
    outputs: NDArray[np.float32],
) -> dict[str, Any]:
    """Returns verify.json's content: metrics of both, how far apart they are, and what failed."""
    content = folder.read()
    multi_label, names = content["multi_label"], read_labels(folder)
    failures = check_outputs(outputs, artifact.labels, names)
    scores = keras_scores(folder, artifact.manifest.variant, texts)
    targets = encode_labels(labels, names, multi_label=multi_label)
    order = [names.index(label) for label in artifact.labels if label in names]
    if len(order) == len(names):  # output i of the file means the label that the artifact says
        renamed = np.zeros_like(outputs)
        renamed[:, order] = outputs
        outputs = renamed
    metric = "micro_f1" if multi_label else "accuracy"
    wanted = predict_labels(scores, multi_label=multi_label)
    found = predict_labels(outputs, multi_label=multi_label)
    same = wanted == found
    errors = np.abs(outputs - scores)
    figures = {
        "metric": metric,
        "keras": score_predictions(targets, wanted, len(names))[metric],
        "artifact": score_predictions(targets, found, len(names))[metric],
        "agreement": float((same.all(1) if multi_label else same).mean()),
        "max_abs_error": float(errors.max()),
        "mean_abs_error": float(errors.mean()),
        "num_examples": len(texts),
    }
    threshold = THRESHOLDS[artifact.manifest.scheme]
    failures += check_figures(figures, threshold)
    return {
        **figures,
        "macro_f1": score_predictions(targets, found, len(names))["macro_f1"],
        "passed": not failures,
        "failures": failures,
        "threshold": vars(threshold),
        "model_sha256": artifact.manifest.model_sha256,
        "runtime": "ai-edge-litert",
        "runtime_version": artifact.manifest.versions.get("ai-edge-litert", "unknown"),
        "created": now(),
        "confusion_matrix": confusion_matrix(targets, found, names),
    }


def check_outputs(outputs: NDArray[np.float32], labels: list[str], names: list[str]) -> list[str]:
    """Returns what is wrong with the file's outputs before any comparison."""
    failures = []
    if labels != names:
        failures.append("labels.txt is not the run's list of labels in the run's order")
    if not np.isfinite(outputs).all():
        failures.append("some outputs are not finite")
    elif (outputs < -1e-6).any() or (outputs > 1 + 1e-2).any():
        failures.append("some outputs are no probabilities")
    elif len(outputs) > 1 and float(outputs.std(0).max()) == 0:
        failures.append("every text gives the same outputs: weights are missing or all zero")
    return failures


def check_figures(figures: dict[str, Any], threshold: Threshold) -> list[str]:
    """Returns one sentence for each limit that the figures miss."""
    failures = []
    if figures["agreement"] < threshold.min_agreement:
        failures.append(
            f"agreement={figures['agreement']:.4f} with Keras is below {threshold.min_agreement}"
        )
    drop = figures["keras"] - figures["artifact"]
    # One flipped text is never a failure of the metric: with few texts it is a large share.
    if drop > max(threshold.max_metric_drop, 1.5 / figures["num_examples"]):
        failures.append(
            f"{figures['metric']}={figures['artifact']:.4f} is {drop:.4f} below Keras' "
            f"{figures['keras']:.4f}; {threshold.max_metric_drop} is allowed"
        )
    if not figures["mean_abs_error"] <= threshold.max_mean_error:
        failures.append(
            f"mean_abs_error={figures['mean_abs_error']:.2g} is above {threshold.max_mean_error:g}"
        )
    return failures


def keras_scores(folder: RunFolder, variant: str, texts: list[str]) -> NDArray[np.float32]:
    """Returns the trained model's probabilities, float32 `(n, num_classes)`, from the run's own
    vocabulary."""
    import_tensorflow()
    import tensorflow as tf

    content = folder.read()
    model, tokenizer = load_model(folder, variant), load_tokenizer(folder)
    squash = tf.sigmoid if content["multi_label"] else tf.nn.softmax
    infer: Callable[..., Any] = tf.function(
        lambda token_ids: squash(model(token_ids, training=False)), autograph=False
    )
    length = content["recipe"]["data"]["sequence_length"]
    token_ids = tokenizer.encode_batch(texts, length)
    batches = [token_ids[at : at + KERAS_BATCH] for at in range(0, len(texts), KERAS_BATCH)]
    return np.concatenate([infer(tf.constant(batch)).numpy() for batch in batches])


def encode_labels(labels: list[list[str]], names: list[str], *, multi_label: bool) -> NDArray[Any]:
    """Returns targets as `tfpipe.data.Split` has them; a label that the run lacks is an error."""
    rank = {name: index for index, name in enumerate(names)}
    unknown = sorted({label for row in labels for label in row if label not in rank})
    if unknown:
        raise ValueError(
            f"labels={unknown[:10]} are not among the run's: {names[:20]}. Correct the data."
        )
    if not multi_label:
        return np.array([rank[row[0]] for row in labels])
    targets = np.zeros((len(labels), len(names)), np.uint8)
    for line, row in enumerate(labels):
        targets[line, [rank[label] for label in row]] = 1
    return targets


def format_verification(result: dict[str, Any]) -> str:
    """Returns the figures a line each, then what failed."""
    names = ("metric", "keras", "artifact", "agreement", "max_abs_error", "num_examples", "passed")
    return "\n".join([*(f"{name:<14}{result[name]}" for name in names), *result["failures"]])


make_callable(__name__, verify)
