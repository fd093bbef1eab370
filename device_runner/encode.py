"""Text → token ids; the one implementation, used by training and by the device."""

from __future__ import annotations

import re
from typing import Dict, Iterable, List, Optional, Sequence, Tuple

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
        self._chunk_cache: Dict[str, Tuple[int, ...]] = {}
        self._word_cache: Dict[str, Tuple[int, ...]] = {}
        self._continuing_ids = {
            token[2:]: index for token, index in self._ids.items() if token.startswith("##")
        }
        self._max_piece_chars = max(len(token) for token in self.vocabulary)

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

    def _encode(self, text: str, max_tokens: Optional[int]) -> List[int]:
        if self.spec.kind == "char":
            return self._encode_chars(text, max_tokens)
        ids = [1] if self.spec.kind == "word" else []  # <START>
        cache = self._chunk_cache
        for chunk in split_chunks(text, self.spec):
            found = cache.get(chunk)
            if found is None:
                found = self._encode_chunk(chunk)
            ids += found
            if max_tokens is not None and len(ids) >= max_tokens:
                return ids[:max_tokens]
        return ids

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

    def _encode_chunk(self, chunk: str) -> Tuple[int, ...]:
        ids: List[int] = []
        for word in split_text(chunk, self.spec):
            if self.spec.kind != "wordpiece":
                ids.append(self._ids.get(word, self._unknown_id))
                continue
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
    if spec.kind == "text_vectorization":
        # As TensorFlow splits: at ASCII's white space alone.
        words = re.split("[ \t-\r]+", normalize.strip_punctuation(text, spec.lowercase))
        return [word for word in words if word]
    if spec.lowercase:
        text = normalize.lower_text(text)
    return [piece for piece in re.split(spec.delimiter_pattern, text) if piece]


def split_chunks(text: str, spec: TokenizerSpec) -> List[str]:
    """Splits a text where no token reaches across, so that each part can be split by itself.

    What stands between spaces repeats from text to text: its tokens can be remembered.
    """
    # No kind's rule looks across a space, unless the pattern of "word" leaves spaces in words.
    if spec.kind == "word" and any(re.split(spec.delimiter_pattern, " \n")):
        return [text]
    return text.replace("\n", " ").split(" ")


def _remember(cache: Dict[str, Tuple[int, ...]], key: str, ids: Tuple[int, ...]) -> None:
    if len(key) <= _MAX_CACHED_WORD_CHARS:
        if len(cache) >= _MAX_CACHED_WORDS:
            cache.clear()
        cache[key] = ids
