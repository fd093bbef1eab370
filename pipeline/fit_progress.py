"""What a training reports while it runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far a training is.

    Attributes:
        epoch: The running epoch, from 1.
        epochs: The most there will be.
        step: Updates done in this epoch.
        steps: Updates of one epoch.
        history: The finished epochs, keys as in train/history.csv.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    history: list[dict[str, float]]
