"""Labelled texts and a file of unlabelled ones → the texts that a student reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from device_runner.texts import read_texts
from tfpipe.data import Dataset, Split, clean_text, digest_of


class MoreTexts(Split):
    """A training split with texts after it that have no label; their targets are 0 until teachers
    predict them.

    Args:
        split: The labelled texts.
        path: File with the others, see `Teaching`.
        held_out: Digests of the texts that must not teach.

    Raises:
        ValueError: The file is malformed or holds no text beside those.
    """

    def __init__(self, split: Split, path: Path, held_out: set[bytes]) -> None:
        self._split, self._path, self._held_out = split, path, held_out
        count = sum(1 for _ in self._more())
        if not count:
            raise ValueError(
                f"unlabelled={str(path)!r} holds no text beside those of the validation and test "
                "split. Give a file with one text a line, or leave --unlabelled out."
            )
        zeros = np.zeros((count, *split.targets.shape[1:]), split.targets.dtype)
        self.targets = np.concatenate([split.targets, zeros])
        self.num_examples = len(self.targets)

    def _more(self) -> Iterator[str]:
        cleaned = (clean_text(text) for text in read_texts(self._path))
        return (text for text in cleaned if text and digest_of(text) not in self._held_out)

    def texts(self) -> Iterator[str]:
        yield from self._split.texts()
        yield from self._more()


def texts_to_learn(dataset: Dataset, unlabelled: Path | None) -> Split:
    """Returns the training split, with the texts of a file of unlabelled ones after its rows; those
    that stand in the validation or test split are left out.

    Raises:
        ValueError: See `MoreTexts`.
    """
    train = dataset.splits["train"]
    if unlabelled is None:
        return train
    held_out = ("validation", "test")
    known = {digest_of(text) for name in held_out for text in dataset.splits[name].texts()}
    return MoreTexts(train, unlabelled, known)
