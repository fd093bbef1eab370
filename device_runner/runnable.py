"""Path of an artifact folder or bare .tflite → it, loaded: text → token ids → outputs → label."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Dict, List, Optional

import numpy as np

from device_runner.artifact import Artifact, read_artifact
from device_runner.files import sha256_of_file
from device_runner.loading import AnyModel, default_delegate, load_any_model


@dataclass(eq=False)
class Runnable:
    """An artifact, or a bare .tflite of anybody's, with its loaded model.

    Attributes:
        path: The folder or file, as it was given.
        artifact: What the folder holds; None for a bare .tflite.
        model: The loaded model.
        model_sha256: Digest of the model's file.
        model_size_bytes: Size of the model's file.
    """

    path: str
    artifact: Optional[Artifact]
    model: AnyModel
    model_sha256: str
    model_size_bytes: int

    @property
    def name(self) -> str:
        """The artifact's name, or the bare file's without its ending."""
        if self.artifact is not None:
            return self.artifact.manifest.name
        return os.path.splitext(os.path.basename(self.path))[0]

    def encode(self, text: str) -> np.ndarray[Any, Any]:
        """Returns the padded token ids of a text, int32 (1, T).

        Raises:
            ValueError: A bare .tflite has no tokenizer.
        """
        if self.artifact is None:
            raise ValueError(
                f"{self.path} is a bare .tflite: it has no vocabulary to turn texts into token "
                "ids. Give an artifact folder, or token ids as a .npy file."
            )
        ids = self.artifact.tokenizer.encode_padded(text, self.model.sequence_length)
        return ids.reshape(1, -1)

    def check_token_ids(self, token_ids: np.ndarray[Any, Any]) -> None:
        """Refuses ids that the model must not see: the runtime may read outside of its table.

        Args:
            token_ids: int32 (n, T).

        Raises:
            ValueError: Another T, or an id outside the artifact's vocabulary.
        """
        if token_ids.shape[1] != self.model.sequence_length:
            raise ValueError(
                f"token_ids has {token_ids.shape[1]} ids a row, {self.path} takes "
                f"{self.model.sequence_length}. Pad or cut the rows to that length."
            )
        if self.artifact is None or token_ids.size == 0:
            return
        size = self.artifact.tokenizer.vocabulary_size
        low, high = int(token_ids.min()), int(token_ids.max())
        if low < 0 or high >= size:
            raise ValueError(
                f"token_ids has ids from {low} to {high}, the vocabulary of {self.path} has 0 to "
                f"{size - 1}. Use the ids of this artifact's own tokenizer."
            )

    def run(self, token_ids: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Returns the outputs, float32 (C,), of checked token ids, int32 (1, T).

        Raises:
            ValueError: The ids do not fit the model or its vocabulary.
        """
        self.check_token_ids(token_ids)
        return self.model.run(token_ids)

    def decode(self, outputs: np.ndarray[Any, Any]) -> Dict[str, Any]:
        """Returns what the outputs, float32 (C,), mean.

        Returns:
            `label` and `score` of the largest output, `scores` of all labels, and `labels`: that
            one label, or every one from the threshold on where a text may have several.

        Raises:
            ValueError: A bare .tflite has no labels, or an output is NaN or infinite.
        """
        if self.artifact is None:
            raise ValueError(
                f"{self.path} is a bare .tflite: it has no labels. Give an artifact folder."
            )
        if not np.isfinite(outputs).all():
            raise ValueError(
                f"{self.path} gave {outputs.tolist()[:8]}, expected finite probabilities. Its "
                "weights are damaged: verify it, or export it again."
            )
        names: List[str] = self.artifact.labels
        values: List[float] = outputs.tolist()
        best = int(outputs.argmax())
        threshold = self.artifact.manifest.threshold
        labels = (
            [names[best]]
            if threshold is None
            else [name for name, value in zip(names, values) if value >= threshold]
        )
        return {
            "label": names[best],
            "score": values[best],
            "labels": labels,
            "scores": dict(zip(names, values)),
        }


def open_runnable(
    path: str | os.PathLike[str],
    num_threads: int = 1,
    runtime: Optional[str] = None,
    delegate: Optional[str] = None,
) -> Runnable:
    """Reads and checks an artifact folder, or takes a bare .tflite, and loads its model.

    Args:
        path: The folder or file.
        num_threads: CPU threads.
        runtime: A runtime's name to use that one; None takes the first that is installed.
        delegate: One of `loading.DELEGATES`: that runs the model, or nothing does. None takes what
            the artifact's target says, the CPU for a bare file.

    Raises:
        ValueError: The artifact is not whole, the runtime refuses the model, or the model has
            other sizes than its manifest.
        RuntimeNotFoundError: No TFLite runtime is installed.
        OSError: A file cannot be read.
    """
    where = os.fspath(path)
    if not os.path.isdir(where):
        model = load_any_model(where, num_threads, runtime, delegate or "cpu")
        return Runnable(where, None, model, sha256_of_file(where), os.path.getsize(where))
    artifact = read_artifact(where)
    manifest = artifact.manifest
    delegate = delegate or default_delegate(manifest)
    model = load_any_model(artifact.model_path, num_threads, runtime, delegate)
    found = (model.sequence_length, model.num_classes)
    if found != (manifest.sequence_length, manifest.num_classes):
        raise ValueError(
            f"{artifact.model_path} has sequence_length={found[0]} and num_classes={found[1]}, "
            f"the manifest says {manifest.sequence_length} and {manifest.num_classes}. Export "
            "the artifact again."
        )
    # An accelerator, and whatever is not TFLite, runs the full length alone.
    if delegate not in ("gpu", "edgetpu") and list(model.bucket_lengths) != manifest.bucket_lengths:
        raise ValueError(
            f"{artifact.model_path} has graphs of the lengths {list(model.bucket_lengths)}, the "
            f"manifest says {manifest.bucket_lengths}. Export the artifact again."
        )
    size = os.path.getsize(artifact.model_path)
    return Runnable(where, artifact, model, manifest.model_sha256, size)


def check_goldens(runnable: Runnable) -> Dict[str, Any]:
    """Compares tokenizer and model with what the host wrote down when it exported.

    Args:
        runnable: A loaded artifact.

    Returns:
        `passed`, `num_examples`, `max_abs_error` (None without a number to compare), `atol`, and
        `failures`: what is wrong, one text each.

    Raises:
        ValueError: `runnable` is a bare .tflite, which has no goldens.
    """
    if runnable.artifact is None:
        raise ValueError(
            f"{runnable.path} is a bare .tflite: it has no goldens to check. Give an artifact "
            "folder."
        )
    golden = runnable.artifact.golden
    failures: List[str] = []
    errors: List[float] = []
    for position, example in enumerate(golden["examples"]):
        token_ids = runnable.encode(example["text"])
        if token_ids[0].tolist() != example["token_ids"]:
            failures.append(
                f"golden {position}: this device's token ids differ from the host's; the "
                "vocabulary or the tokenizer is not the one of the export"
            )
            continue
        outputs = runnable.run(token_ids)
        error = float(np.abs(outputs - np.array(example["outputs"], np.float64)).max())
        errors.append(error)
        if not error <= golden["atol"]:  # so that NaN fails
            failures.append(
                f"golden {position}: outputs differ by up to {error:.3g}, allowed are "
                f"{golden['atol']:.3g}"
            )
    return {
        "passed": not failures,
        "num_examples": len(golden["examples"]),
        "max_abs_error": max(errors) if errors and np.isfinite(errors).all() else None,
        "atol": golden["atol"],
        "failures": failures,
    }
