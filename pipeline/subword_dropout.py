"""Training texts and a wordpiece tokenizer → the same texts cut into other pieces at every pass."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from device_runner.encode import Tokenizer
from device_runner.normalize import split_words

# Ways to cut one word that are drawn once and then chosen from at each pass.
WAYS_PER_WORD = 12
# Above so many texts there are examples enough, and the words' ways would need much memory.
MAX_TEXTS = 100_000


class SubwordDropout:
    """MaxMatch-Dropout (Hiraoka 2022): a word is cut by longest match, each candidate longer than
    one character being passed over with a probability.

    A small training set shows a rare word once or twice; cut in several ways, its pieces are met
    together with those of its relatives. Prediction always uses the plain longest match.

    Args:
        texts: The training texts.
        tokenizer: Of kind "wordpiece".
        rate: Probability of passing over a candidate, in [0, 1). 0 gives `tokenizer.encode`.
        seed: Decides the ways.
    """

    def __init__(
        self, texts: Iterable[str], tokenizer: Tokenizer, *, rate: float, seed: int
    ) -> None:
        rng = np.random.default_rng(seed)
        self._ids = {token: index for index, token in enumerate(tokenizer.vocabulary)}
        self._longest = max(len(token) for token in tokenizer.vocabulary)
        index_of: dict[str, int] = {}
        self._ways: list[list[list[int]]] = []
        self._texts = []
        for text in texts:
            row = []
            for word in split_words(text, tokenizer.spec.lowercase):
                index = index_of.setdefault(word, len(index_of))
                if index == len(self._ways):
                    plain = tokenizer.encode(word)
                    cuts = [
                        self._cut(word, plain, rate, rng)
                        for _ in range(WAYS_PER_WORD if rate else 1)
                    ]
                    self._ways.append(cuts)
                row.append(index)
            self._texts.append(np.array(row, np.int32))

    def encode(self, row: int, sequence_length: int, rng: np.random.Generator) -> list[int]:
        """Returns the ids of one text, cut anew; at most `sequence_length`."""
        words = self._texts[row][:sequence_length]  # each has at least one piece
        choices = rng.integers(0, WAYS_PER_WORD, len(words))
        ids: list[int] = []
        for word, choice in zip(words.tolist(), choices.tolist(), strict=True):
            ways = self._ways[word]
            ids += ways[choice % len(ways)]
        return ids[:sequence_length]

    def _cut(self, word: str, plain: list[int], rate: float, rng: np.random.Generator) -> list[int]:
        """Returns one random cut of a word, or the plain one where chance leads nowhere."""
        ids: list[int] = []
        start, prefix = 0, ""
        while start < len(word):
            for end in range(min(len(word), start + self._longest), start, -1):
                index = self._ids.get(prefix + word[start:end])
                if index is not None and (end == start + 1 or rng.random() >= rate):
                    break
            else:
                return plain
            ids.append(index)
            start, prefix = end, "##"
        return ids
