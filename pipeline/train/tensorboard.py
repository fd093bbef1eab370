"""The finished epochs of a training → event files that TensorBoard shows."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

# Curve → (key of an epoch's figures, scalar's name). Curves with one name share a plot.
CURVES = {
    "train": (("loss", "loss"), ("accuracy", "accuracy"), ("learning_rate", "learning_rate")),
    "validation": (("val_loss", "loss"), ("val_accuracy", "accuracy")),
}


class EpochLog:
    """Appends to the event files in a folder; a resumed training adds files of its own.

    Args:
        path: The folder, which need not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writers: dict[str, Any] = {}

    def write(self, entry: Mapping[str, float]) -> None:
        """Adds one epoch.

        Args:
            entry: Its figures, keys as in train/history.csv.

        Raises:
            OSError: The folder cannot be written.
        """
        try:
            for name, scalars in CURVES.items():
                if name not in self._writers:
                    self._writers[name] = tf.summary.create_file_writer(str(self._path / name))
                with self._writers[name].as_default(step=int(entry["epoch"])):
                    for key, scalar in scalars:
                        tf.summary.scalar(scalar, entry[key])
                self._writers[name].flush()
        except tf.errors.OpError as error:
            raise OSError(f"{self._path} cannot be written: {error.message}") from error


def check_tensorboard() -> None:
    """Refuses to log where the package is missing, which TensorFlow's summaries need.

    Raises:
        ValueError: tensorboard is not installed.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise ValueError(
            "train.tensorboard=true needs the package tensorboard, which is not installed. Run "
            "pip install 'tfpipe[tensorboard]', or leave the key at false."
        )
