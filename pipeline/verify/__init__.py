"""An artifact and labelled texts → whether the file computes what the trained model does."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_runner.artifact import Artifact, read_artifact
from device_runner.files import write_json_atomic
from device_runner.loading import TARGET_DELEGATES
from tfpipe.data import read_labelled
from tfpipe.devices import Device, DeviceLostError, RunnerDiedError, open_device
from tfpipe.run_folder import RunFolder
from tfpipe.run_model import TIME_LIMIT_SECONDS, ModelRun, run_model
from tfpipe.thresholds import THRESHOLDS as THRESHOLDS
from tfpipe.thresholds import Threshold, threshold_of
from tfpipe.variant import (
    is_quantized,
    keras_probabilities,
    load_model,
    load_tokenizer,
    read_labels,
)
from tfpipe.verb import make_callable
from tfpipe.verify.buckets import verify_buckets
from tfpipe.verify.comparison import check_figures, check_outputs, compare, encode_labels
from tfpipe.verify.gpu import verify_on_gpu
from tfpipe.verify.origin import check_files, check_origin, find_run
from tfpipe.versions import now

MIN_EXAMPLES = 20  # fewer say nothing about a share of 98 %


class VerificationError(ValueError):
    """An artifact does not compute what its model does; `result` is the content of verify.json."""

    def __init__(self, message: str, result: dict[str, Any]) -> None:
        super().__init__(message)
        self.result = result


def verify(
    artifact: str | Path,
    *,
    data: str | Path | None = None,
    run: str | Path | None = None,
    device: str = "local",
) -> dict[str, Any]:
    """Runs an artifact's file over labelled texts, against the Keras model it came from.

    The file sees each text through the artifact's own tokenizer and names its predictions by the
    artifact's own labels; the Keras model uses the run's: a wrong vocabulary or a swapped label
    list shows as disagreement, and is named.

    Args:
        artifact: The folder in RUN/exports.
        data: A file of labelled texts; None takes the run's test split.
        run: The run, if the artifact no longer lies in it.
        device: Where the file is run; see `tfpipe.devices.open_device`.

    Returns:
        The content of verify.json, which is written into the artifact when `data` is None and the
        device is this machine.

    Raises:
        VerificationError: The file failed; the result is written all the same.
        ValueError: The artifact is damaged, its run cannot be found, or the texts are too few.
    """
    opened = read_artifact(artifact)
    folder = find_run(Path(artifact), run)
    check_origin(opened, folder)
    texts, targets = read_examples(folder, data)
    target = open_device(device)
    # The host has no Edge TPU: there its artifacts are proved by the same tail on the CPU.
    is_host = target.name == "local"
    delegate = TARGET_DELEGATES.get(opened.manifest.target, "cpu") if is_host else None
    goldens = check_goldens(Path(artifact), target, delegate)
    with tempfile.TemporaryDirectory() as work:
        lines = Path(work) / "texts.jsonl"
        lines.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
        on_cpu = "cpu" if is_host else None
        ran = run_model(Path(artifact), Path(work), texts=lines, delegate=on_cpu, device=target)
    result = judge(opened, folder, ran, texts=texts, targets=targets)
    result["failures"] += goldens
    figures, failures = verify_buckets(
        Path(artifact),
        opened.manifest,
        ran.token_ids,
        threshold=Threshold(**result["threshold"]),
        device=target,
    )
    result.update(figures)
    result["failures"] += failures
    if is_host:
        figures, failures = verify_on_gpu(Path(artifact), opened.manifest.target, ran)
        result.update(figures)
        result["failures"] += failures
    result["passed"] = not result["failures"]
    result.update(device=target.name, device_kind=target.kind)
    if data is None and device == "local":
        write_json_atomic(Path(artifact) / "verify.json", result)
    if not result["passed"]:
        raise VerificationError(
            f"{opened.manifest.name} failed verification: {'; '.join(result['failures'])}. "
            "Its latency will not be shown. Export it again, or with another --scheme.",
            result,
        )
    return result


def read_examples(folder: RunFolder, data: str | Path | None) -> tuple[list[str], NDArray[Any]]:
    """Returns the texts and their targets, of a file or of the run's test split."""
    content = folder.read()
    source, columns = folder.examples("test"), {"text_column": "text", "label_column": "labels"}
    several = True
    if data is not None:
        source, several = Path(data), content["multi_label"]
        columns = {key: content["data"][key] for key in columns}
    examples = list(read_labelled(source, **columns, multi_label=several))
    if len(examples) < MIN_EXAMPLES:
        raise ValueError(
            f"{source} holds {len(examples)} labelled texts, fewer than the {MIN_EXAMPLES} from "
            "which a share of equal predictions means anything. Give more with --data FILE."
        )
    labels = [list(names) for _, names in examples]
    targets = encode_labels(labels, read_labels(folder), multi_label=content["multi_label"])
    return [text for text, _ in examples], targets


def check_goldens(artifact: Path, device: Device, delegate: str | None) -> list[str]:
    """Runs the artifact's goldens as a device does; returns why they failed, if they did."""
    chosen = [f"--delegate={delegate}"] if delegate else []
    arguments = ["verify", *chosen, "--", str(artifact)]
    try:
        device.run(arguments, time_limit_s=TIME_LIMIT_SECONDS)
    except (RunnerDiedError, DeviceLostError):
        raise
    except ValueError as error:
        return [f"goldens: {error}"]
    return []


def judge(
    artifact: Artifact, folder: RunFolder, ran: ModelRun, *, texts: list[str], targets: NDArray[Any]
) -> dict[str, Any]:
    """Returns verify.json's content: metrics of both, how far apart they are, and what failed."""
    names, multi_label = read_labels(folder), artifact.manifest.multi_label
    tokenizer = load_tokenizer(folder, artifact.manifest.variant)
    content, model = folder.read(), load_model(folder, artifact.manifest.variant)
    token_ids = tokenizer.encode_batch(texts, content["recipe"]["data"]["sequence_length"])
    scores = keras_probabilities(model, token_ids, multi_label=content["multi_label"])
    failures = check_files(artifact, folder, tokenizer) + check_outputs(ran.outputs, scores)
    if not np.array_equal(token_ids, ran.token_ids):
        failures.append("some texts get other token ids than in training")
    outputs = ran.outputs
    if sorted(artifact.labels) == sorted(names):
        # Output i of the file means the label that the artifact says.
        outputs = outputs[:, [artifact.labels.index(name) for name in names]]
    figures = compare(scores, outputs, targets, names=names, multi_label=multi_label)
    manifest = artifact.manifest
    threshold = threshold_of(
        manifest.scheme, quantization_aware=is_quantized(folder, manifest.variant)
    )
    failures += check_figures(figures, threshold)
    matrix = figures.pop("confusion_matrix")
    return {
        **figures,
        "passed": not failures,
        "failures": failures,
        "threshold": vars(threshold),
        "model_sha256": artifact.manifest.model_sha256,
        "runtime": ran.runtime,
        "runtime_version": ran.runtime_version,
        "created": now(),
        "confusion_matrix": matrix,
    }


def format_verification(result: dict[str, Any]) -> str:
    """Returns the figures a line each, then what failed."""
    names = ("metric", "keras", "artifact", "agreement", "max_abs_error", "num_examples", "passed")
    return "\n".join([*(f"{name:<14}{result[name]}" for name in names), *result["failures"]])


make_callable(__name__, verify)
