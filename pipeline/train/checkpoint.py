"""Where a training stands → one file that a killed training resumes from, and history.csv."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_runner.files import write_file_atomic
from tfpipe.arrays import read_arrays, write_arrays

HISTORY_FIELDS = (
    "epoch",
    "loss",
    "accuracy",
    "val_loss",
    "val_accuracy",
    "learning_rate",
    "seconds",
)
Groups = Mapping[str, Sequence[NDArray[Any]]]


@dataclass
class TrainingState:
    """Where a training stands, beside the weights: everything here is in the checkpoint.

    Attributes:
        epoch: Finished epochs.
        step: Updates done in the epoch after those.
        loss_sum: Sum over that epoch's texts of the loss so far.
        correct: Texts of that epoch so far whose prediction was right.
        seconds: Time spent on that epoch so far.
        best_score: Highest validation accuracy, or micro-F1 of multi-label.
        best_epoch: The last epoch near enough to it (`tfpipe.metrics.near_best`), from 1; 0 before
            the first.
        history: One dict an epoch, with the keys `HISTORY_FIELDS`.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    correct: float = 0.0
    seconds: float = 0.0
    best_score: float = -math.inf
    best_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


def save_checkpoint(path: Path, groups: Groups, state: TrainingState) -> None:
    """Writes one atomic file of plain arrays.

    Args:
        path: File to write.
        groups: Lists of arrays by name: the weights of the models and of the optimizer.
        state: The rest.
    """
    arrays = {
        f"{name}.{index}": value
        for name, values in groups.items()
        for index, value in enumerate(values)
    }
    figures = [
        state.epoch,
        state.step,
        state.loss_sum,
        state.correct,
        state.seconds,
        state.best_score,
        state.best_epoch,
    ]
    lines = [[entry[name] for name in HISTORY_FIELDS] for entry in state.history]
    arrays["state"] = np.array(figures, np.float64)
    arrays["history"] = np.array(lines, np.float64).reshape(-1, len(HISTORY_FIELDS))
    write_arrays(path, arrays)


def load_checkpoint(
    path: Path, like: Groups
) -> tuple[dict[str, list[NDArray[Any]]], TrainingState]:
    """Returns the groups and the state that `save_checkpoint` wrote.

    Args:
        path: File to read.
        like: Groups with the shapes that must be found there.

    Raises:
        ValueError: The file is damaged or of another model.
    """
    try:
        arrays = read_arrays(path)
        groups = {
            name: [take(arrays, f"{name}.{index}", value) for index, value in enumerate(values)]
            for name, values in like.items()
        }
        figures = take(arrays, "state", np.zeros(7))
        return groups, unpack_state(figures, arrays.get("history", np.zeros((0, 7))))
    except ValueError as error:
        raise ValueError(
            f"{path} does not fit this training ({error}). Remove it to begin again, or give "
            "--overwrite."
        ) from error


def take(arrays: Mapping[str, NDArray[Any]], name: str, like: NDArray[Any]) -> NDArray[Any]:
    """Returns one array of a checkpoint.

    Raises:
        ValueError: It is missing, or its shape is not that of `like`.
    """
    if name not in arrays:
        raise ValueError(f"{name} is missing")
    if arrays[name].shape != np.shape(like):
        raise ValueError(
            f"{name} has the shape {arrays[name].shape} where the model needs {np.shape(like)}"
        )
    return arrays[name]


def unpack_state(figures: NDArray[Any], lines: NDArray[Any]) -> TrainingState:
    """Returns the state from the two arrays that hold it."""
    epoch, step, loss_sum, correct, seconds, best_score, best_epoch = figures.tolist()
    history = [dict(zip(HISTORY_FIELDS, line, strict=True)) for line in lines.tolist()]
    for entry in history:
        entry["epoch"] = int(entry["epoch"])
    return TrainingState(
        int(epoch),
        int(step),
        loss_sum,
        correct,
        seconds,
        best_score,
        int(best_epoch),
        history,
    )


def write_history(path: Path, history: Sequence[Mapping[str, float]]) -> None:
    """Writes train/history.csv, a line an epoch."""
    text = io.StringIO()
    writer = csv.DictWriter(text, HISTORY_FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_file_atomic(path, text.getvalue().encode())
