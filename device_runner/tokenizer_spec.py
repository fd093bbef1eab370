"""Tokenizer rules, all but the vocabulary: what the manifest keeps → a checked record."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any, Dict, Tuple

# Kind → its special tokens, which are the first ids.
SPECIAL_TOKENS: Dict[str, Tuple[str, ...]] = {
    "word": ("<PAD>", "<START>", "<UNKNOWN>"),
    "wordpiece": ("[PAD]", "[UNK]"),
    "char": ("<PAD>", "<UNKNOWN>"),
    "text_vectorization": ("", "[UNK]"),
}

_PATTERN_ITEM = r"(?:\\x[0-9A-Fa-f]{2}|\\[\\\[\]^-]|[^\\\[\]^-])"
_PATTERN = re.compile(r"\[(?:%s(?:-%s)?)+\]\+" % (_PATTERN_ITEM, _PATTERN_ITEM))
_PATTERN_RANGE = re.compile("(%s)(?:-(%s))?" % (_PATTERN_ITEM, _PATTERN_ITEM))


@dataclass(frozen=True)
class TokenizerSpec:
    r"""The rules of a tokenizer, all but its vocabulary.

    Attributes:
        kind: "word" (MediaPipe's regex tokenizer), "wordpiece" (BERT's), "char", or
            "text_vectorization" (the words of Keras' layer of that name, for imported models).
        lowercase: Whether the text is lower-cased first; for "wordpiece" accents go as well, for
            "text_vectorization" the letters A to Z alone are.
        delimiter_pattern: What stands between words, for "word", else "". One character class such
            as `[\x00-\x20,.]+`, so that RE2, Python and JavaScript take it alike: literal
            characters below U+10000, ranges, `\xHH`, and `\\`, `\[`, `\]`, `\^`, `\-`.
        max_chars_per_word: A longer word is unknown, for "wordpiece", else 0.
    """

    kind: str
    lowercase: bool
    delimiter_pattern: str = ""
    max_chars_per_word: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.kind, str) or self.kind not in SPECIAL_TOKENS:
            raise ValueError(
                f"Tokenizer kind={self.kind!r} is not known. Use one of {sorted(SPECIAL_TOKENS)}."
            )
        if not isinstance(self.lowercase, bool):
            raise ValueError(f"lowercase={self.lowercase!r} is not a bool. Use true or false.")
        _check_delimiter_pattern(self.kind, self.delimiter_pattern)
        limit = self.max_chars_per_word
        is_valid = isinstance(limit, int) and not isinstance(limit, bool)
        if not is_valid or (limit < 1 if self.kind == "wordpiece" else limit != 0):
            raise ValueError(
                f"max_chars_per_word={limit!r} does not fit kind={self.kind!r}. "
                'Use an integer of at least 1 for "wordpiece", 0 for the others.'
            )

    def to_json(self) -> Dict[str, Any]:
        """Returns the spec as the manifest keeps it."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> TokenizerSpec:
        """Reads what `to_json` gave.

        Raises:
            ValueError: A key is missing or unknown, or a value is of the wrong type or kind.
        """
        keys = ["kind", "lowercase", "delimiter_pattern", "max_chars_per_word"]
        if not isinstance(value, dict) or set(value) != set(keys):
            found = list(value) if isinstance(value, dict) else value
            raise ValueError(
                f"The tokenizer's keys are {found!r}, not {keys!r}. Export the model again."
            )
        return cls(**value)


def _check_delimiter_pattern(kind: str, pattern: Any) -> None:
    if kind != "word":
        if pattern != "":
            raise ValueError(
                f'delimiter_pattern={pattern!r} does not fit kind={kind!r}. Leave it empty (""); '
                'only "word" has one.'
            )
        return
    if not isinstance(pattern, str) or not _PATTERN.fullmatch(pattern):
        raise ValueError(
            f"delimiter_pattern={pattern!r} is not one character class such as '[\\x00-\\x20,.]+', "
            "which RE2, Python and JavaScript read alike. List the characters; inside the brackets "
            "use \\xHH, \\\\, \\[, \\], \\^ or \\- where needed."
        )
    for first, last in _PATTERN_RANGE.findall(pattern[1:-2]):
        start, end = _code_of(first), _code_of(last or first)
        if start > end or end > 0xFFFF or (start <= 0xDFFF and end >= 0xD800):
            raise ValueError(
                f"delimiter_pattern has the range U+{start:04X} to U+{end:04X}, which engines read "
                "differently. Use ascending ranges below U+10000, without surrogates (U+D800 to "
                "U+DFFF)."
            )


def _code_of(item: str) -> int:
    if item.startswith("\\x"):
        return int(item[2:], 16)
    return ord(item[-1])
