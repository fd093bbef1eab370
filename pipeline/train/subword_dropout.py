"""Training texts and a wordpiece tokenizer → the same texts cut into other pieces at every pass."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from device_runner.encode import Tokenizer
from device_runner.normalize import split_words

# Ways to cut one word that are drawn once and then chosen from at each pass.
WAYS_PER_WORD = 12
# Above so many texts there are examples enough, and the words' ways would need much memory.
MAX_TEXTS = 100_000
# Different words that get ways of their own, 1.3 kB each. Later ones are always cut the plain way.
MAX_WORDS = 200_000


class SubwordDropout:
    """MaxMatch-Dropout (Hiraoka 2022): a word is cut by longest match, each candidate longer than
    one character being passed over with a probability.

    A small training set shows a rare word once or twice; cut in several ways, its pieces are met
    together with those of its relatives. Prediction always uses the plain longest match.

    Args:
        texts: The training texts.
        tokenizer: Of kind "wordpiece".
        sequence_length: Longest result of `encode`, in tokens.
        rate: Probability of passing over a candidate, in [0, 1). 0 gives `tokenizer.encode`.
        seed: Decides the ways.
    """

    def __init__(
        self,
        texts: Iterable[str],
        tokenizer: Tokenizer,
        *,
        sequence_length: int,
        rate: float,
        seed: int,
    ) -> None:
        self._tokenizer, self._sequence_length, self._rate = tokenizer, sequence_length, rate
        self._rng = np.random.default_rng(seed)
        self._ids = {token: index for index, token in enumerate(tokenizer.vocabulary)}
        self._longest = max(len(token) for token in tokenizer.vocabulary)
        self._index_of: dict[str, int] = {}
        self._ways: list[list[list[int]]] = []
        self._texts = [self._index_words(text) for text in texts]
        self._index_of.clear()

    def encode(self, row: int, rng: np.random.Generator) -> list[int]:
        """Returns the ids of one text, cut anew; at most `sequence_length`."""
        words = self._texts[row]
        choices = rng.integers(0, WAYS_PER_WORD, len(words))
        ids: list[int] = []
        for word, choice in zip(words.tolist(), choices.tolist(), strict=True):
            if word < 0:
                ids.append(-1 - word)
                continue
            ways = self._ways[word]
            ids += ways[choice % len(ways)]
        return ids[: self._sequence_length]

    def _index_words(self, text: str) -> NDArray[np.int32]:
        """Returns what `encode` needs of a text: for each word the index of its ways, or for one
        that has none its pieces as -1 - id. Each gives a token at least."""
        row: list[int] = []
        for word in split_words(text, self._tokenizer.spec.lowercase):
            index = self._index_of.get(word)
            if index is not None:
                row.append(index)
            elif len(self._ways) < MAX_WORDS:
                row.append(len(self._ways))
                self._index_of[word] = len(self._ways)
                self._ways.append(self._cut_often(word))
            elif len(row) < self._sequence_length:
                row += [-1 - index for index in self._tokenizer.encode(word)]
        return np.array(row[: self._sequence_length], np.int32)

    def _cut_often(self, word: str) -> list[list[int]]:
        plain = self._tokenizer.encode(word)
        return [self._cut(word, plain) for _ in range(WAYS_PER_WORD if self._rate else 1)]

    def _cut(self, word: str, plain: list[int]) -> list[int]:
        """Returns one random cut of a word, or the plain one where chance leads nowhere."""
        if len(word) > self._tokenizer.spec.max_chars_per_word:
            return plain
        ids: list[int] = []
        start, prefix = 0, ""
        while start < len(word):
            for end in range(min(len(word), start + self._longest), start, -1):
                index = self._ids.get(prefix + word[start:end])
                if index is not None and (end == start + 1 or self._rng.random() >= self._rate):
                    break
            else:
                return plain
            ids.append(index)
            start, prefix = end, "##"
        return ids
