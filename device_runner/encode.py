"""Text → token ids; the one implementation, used by training and by the device."""

from __future__ import annotations

import re
from typing import Callable, Dict, Iterable, List, Optional, Sequence, Tuple

import numpy as np

from device_runner import normalize
from device_runner.tokenizer_spec import SPECIAL_TOKENS as SPECIAL_TOKENS
from device_runner.tokenizer_spec import TokenizerSpec as TokenizerSpec
from device_runner.vocabulary import check_vocabulary
from device_runner.vocabulary import format_vocabulary as format_vocabulary
from device_runner.vocabulary import read_vocabulary as read_vocabulary

PAD_ID = 0

# About 15 MB when full. A text's words repeat, so that more would be met too rarely to pay.
_MAX_CACHED_WORDS = 65536
_MAX_CACHED_WORD_CHARS = 64


class Tokenizer:
    """Turns texts into token ids.

    Args:
        spec: The rules.
        vocabulary: Tokens in id order; begins with `SPECIAL_TOKENS[spec.kind]`.

    Attributes:
        spec: The rules.
        vocabulary: The tokens, in id order.
        vocabulary_size: Number of tokens, the special ones included.

    Raises:
        ValueError: The vocabulary lacks a special token, repeats a token or holds one that no
            vocabulary file of this kind can hold.
    """

    def __init__(self, spec: TokenizerSpec, vocabulary: Sequence[str]) -> None:
        self.spec = spec
        self.vocabulary = list(vocabulary)
        check_vocabulary(spec.kind, self.vocabulary)
        self.vocabulary_size = len(self.vocabulary)
        self._ids = {token: index for index, token in enumerate(self.vocabulary)}
        self._unknown_id = len(SPECIAL_TOKENS[spec.kind]) - 1
        self._encode: Callable[[str, Optional[int]], List[int]] = {
            "word": self._encode_words,
            "wordpiece": self._encode_wordpieces,
            "char": self._encode_chars,
        }[spec.kind]
        if spec.kind == "word":
            self._delimiters = re.compile(spec.delimiter_pattern)
        if spec.kind == "wordpiece":
            self._continuing_ids = {
                token[2:]: index for token, index in self._ids.items() if token.startswith("##")
            }
            self._max_piece_chars = max(len(token) for token in self.vocabulary)
            self._chunk_cache: Dict[str, Tuple[int, ...]] = {}
            self._word_cache: Dict[str, Tuple[int, ...]] = {}

    def tokenize(self, text: str) -> List[str]:
        """Returns the tokens that `encode` gives the ids of; unknown ones as the unknown token."""
        return [self.vocabulary[index] for index in self._encode(text, None)]

    def encode(self, text: str, max_tokens: Optional[int] = None) -> List[int]:
        """Returns the token ids of one text, without padding.

        Args:
            text: Any text; the empty one and one of control characters only are allowed.
            max_tokens: How many ids to return at most, at least 1; None returns all.

        Raises:
            ValueError: `max_tokens` is below 1.
        """
        if max_tokens is not None and max_tokens < 1:
            raise ValueError(f"max_tokens={max_tokens} is below 1. Use None for all tokens.")
        return self._encode(text, max_tokens)

    def encode_padded(self, text: str, sequence_length: int) -> np.ndarray:
        """Returns int32 `(sequence_length,)`: cut at the end, or padded there with `PAD_ID`."""
        row: np.ndarray = self.encode_batch([text], sequence_length)[0]
        return row

    def encode_batch(self, texts: Iterable[str], sequence_length: int) -> np.ndarray:
        """Returns int32 `(number of texts, sequence_length)`; each row as `encode_padded` gives it.

        Raises:
            ValueError: `sequence_length` is below 1.
        """
        if sequence_length < 1:
            raise ValueError(f"sequence_length={sequence_length} is below 1. Use at least 1.")
        rows = [self._encode(text, sequence_length) for text in texts]
        token_ids = np.full((len(rows), sequence_length), PAD_ID, dtype=np.int32)
        for index, ids in enumerate(rows):
            token_ids[index, : len(ids)] = ids
        return token_ids

    def _encode_words(self, text: str, max_tokens: Optional[int]) -> List[int]:
        if self.spec.lowercase:
            text = normalize.lower_text(text)
        # One piece more than tokens needed, as the first may be empty; the last is the rest.
        pieces = self._delimiters.split(text, maxsplit=max_tokens or 0)
        get, unknown = self._ids.get, self._unknown_id
        ids = [1]  # <START>
        ids += [get(piece, unknown) for piece in pieces if piece]
        return ids if max_tokens is None else ids[:max_tokens]

    def _encode_chars(self, text: str, max_tokens: Optional[int]) -> List[int]:
        if max_tokens is None:
            clean = normalize.clean_text(text, self.spec.lowercase)
        else:
            start = text[: 2 * max_tokens + 64]  # enough, unless most of it is removed
            clean = normalize.clean_text(start, self.spec.lowercase)
            if len(clean) < max_tokens and len(start) < len(text):
                clean = normalize.clean_text(text, self.spec.lowercase)
            clean = clean[:max_tokens]
        get, unknown = self._ids.get, self._unknown_id
        return [get(char, unknown) for char in clean]

    def _encode_wordpieces(self, text: str, max_tokens: Optional[int]) -> List[int]:
        ids: List[int] = []
        cache = self._chunk_cache
        # No rule looks across a space, so what stands between spaces can be encoded by itself.
        for chunk in text.replace("\n", " ").split(" "):
            found = cache.get(chunk)
            if found is None:
                found = self._encode_chunk(chunk)
            ids += found
            if max_tokens is not None and len(ids) >= max_tokens:
                return ids[:max_tokens]
        return ids

    def _encode_chunk(self, chunk: str) -> Tuple[int, ...]:
        ids: List[int] = []
        for word in normalize.split_words(chunk, self.spec.lowercase):
            found = self._word_cache.get(word)
            if found is None:
                found = self._encode_word(word)
                _remember(self._word_cache, word, found)
            ids += found
        _remember(self._chunk_cache, chunk, tuple(ids))
        return tuple(ids)

    def _encode_word(self, word: str) -> Tuple[int, ...]:
        """Takes the longest piece that the vocabulary has, again and again; else all is unknown."""
        if len(word) > self.spec.max_chars_per_word:
            return (self._unknown_id,)
        ids: List[int] = []
        pieces = self._ids
        start = 0
        while start < len(word):
            for end in range(min(len(word), start + self._max_piece_chars), start, -1):
                index = pieces.get(word[start:end])
                if index is not None:
                    break
            else:
                return (self._unknown_id,)
            ids.append(index)
            start = end
            pieces = self._continuing_ids
        return tuple(ids)


def split_text(text: str, spec: TokenizerSpec) -> List[str]:
    """Splits a text into what a vocabulary is counted from: words, or characters for "char".

    >>> split_text("Hello, world", TokenizerSpec("wordpiece", True, max_chars_per_word=100))
    ['hello', ',', 'world']
    """
    if spec.kind == "wordpiece":
        return normalize.split_words(text, spec.lowercase)
    if spec.kind == "char":
        return list(normalize.clean_text(text, spec.lowercase))
    if spec.lowercase:
        text = normalize.lower_text(text)
    return [piece for piece in re.split(spec.delimiter_pattern, text) if piece]


def _remember(cache: Dict[str, Tuple[int, ...]], key: str, ids: Tuple[int, ...]) -> None:
    if len(key) <= _MAX_CACHED_WORD_CHARS:
        if len(cache) >= _MAX_CACHED_WORDS:
            cache.clear()
        cache[key] = ids
