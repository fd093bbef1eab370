"""Texts and a tokenizer → token ids on disk, read a batch at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_runner.encode import Tokenizer
from tfpipe.train.subword_dropout import SubwordDropout

WRITE_TOKENS = 1 << 18  # ids held in memory before they are written
BUCKET_BATCHES = 32  # batches whose texts are sorted by length together


class EncodedSplit:
    """A split's texts as token ids without padding, in one file.

    Attributes:
        lengths: int32 `(num_examples,)`, tokens of each text, at most the sequence length.
        targets: As in `tfpipe.data.Split`.
        subword_dropout: Cuts the texts anew in each batch; None leaves them as they are on disk.
    """

    subword_dropout: SubwordDropout | None = None

    def __init__(
        self,
        path: Path,
        offsets: NDArray[np.int64],
        targets: NDArray[Any],
        *,
        dtype: type,
    ) -> None:
        self.targets = targets
        self.lengths = np.diff(offsets).astype(np.int32)
        self._starts = offsets[:-1]
        # A file of zero bytes cannot be mapped.
        self._ids = np.memmap(path, dtype, "r") if offsets[-1] else np.zeros(0, dtype)

    def batch(
        self, rows: NDArray[np.int64], rng: np.random.Generator | None = None
    ) -> NDArray[np.int32]:
        """Returns int32 `(len(rows), longest)`, right-padded with 0; longest is at least 1.

        Args:
            rows: Which texts.
            rng: Cuts words at random where the split has `subword_dropout`; None: never.
        """
        dropout = self.subword_dropout
        texts: list[Any]
        if rng is None or dropout is None:
            texts = [
                self._ids[at : at + n]
                for at, n in zip(self._starts[rows], self.lengths[rows], strict=True)
            ]
        else:
            texts = [dropout.encode(row, rng) for row in rows.tolist()]
        token_ids = np.zeros((len(rows), max(1, max(map(len, texts)))), np.int32)
        for line, text in enumerate(texts):
            token_ids[line, : len(text)] = text
        return token_ids

    def count_tokens(self, vocabulary_size: int) -> NDArray[np.int64]:
        """Returns how often each id occurs in the texts, `(vocabulary_size,)`."""
        counts = np.zeros(vocabulary_size, np.int64)
        for start in range(0, len(self._ids), WRITE_TOKENS):
            ids = self._ids[start : start + WRITE_TOKENS]
            counts += np.bincount(ids, minlength=vocabulary_size)
        return counts

    def epoch_order(self, seed: int, batch_size: int) -> list[NDArray[np.int64]]:
        """Returns the rows of each batch of one epoch: shuffled, then texts of like length put
        together within `BUCKET_BATCHES` batches, so that little of a batch is padding."""
        rng = np.random.default_rng(seed)
        rows = rng.permutation(len(self.lengths))
        batches = []
        for start in range(0, len(rows), batch_size * BUCKET_BATCHES):
            bucket = rows[start : start + batch_size * BUCKET_BATCHES]
            bucket = bucket[np.argsort(self.lengths[bucket], kind="stable")]
            batches += [bucket[at : at + batch_size] for at in range(0, len(bucket), batch_size)]
        return [batches[index] for index in rng.permutation(len(batches))]

    def in_order(self, batch_size: int) -> Iterator[NDArray[np.int64]]:
        """Yields rows sorted by length, a batch at a time, each row once."""
        rows = np.argsort(self.lengths, kind="stable")
        for start in range(0, len(rows), batch_size):
            yield rows[start : start + batch_size]


def encode_split(
    texts: Iterable[str],
    targets: NDArray[Any],
    tokenizer: Tokenizer,
    *,
    sequence_length: int,
    path: Path,
) -> EncodedSplit:
    """Encodes the texts, one after the other, into `path`; only the offsets stay in memory."""
    dtype = np.uint16 if tokenizer.vocabulary_size <= 2**16 else np.uint32
    offsets = np.zeros(len(targets) + 1, np.int64)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        pending: list[int] = []
        for row, text in enumerate(texts):
            token_ids = tokenizer.encode(text, sequence_length)
            offsets[row + 1] = offsets[row] + len(token_ids)
            pending += token_ids
            if len(pending) >= WRITE_TOKENS:
                file.write(np.array(pending, dtype).tobytes())
                pending = []
        file.write(np.array(pending, dtype).tobytes())
    return EncodedSplit(path, offsets, targets, dtype=dtype)
