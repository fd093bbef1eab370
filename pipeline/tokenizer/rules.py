"""Kind and lower-casing → the tokenizer's rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from device_runner import unicode_table
from device_runner.encode import TokenizerSpec
from device_runner.normalize import CharacterSet

# BERT's own limit.
_MAX_CHARS_PER_WORD = 100


def tokenizer_spec(kind: str, lowercase: bool) -> TokenizerSpec:
    """Returns the rules of one kind.

    Args:
        kind: "word", "wordpiece" or "char".
        lowercase: Whether "Apple" and "apple" are one token; for "wordpiece" "é" and "e" as well.
            MediaPipe's own tokenizer never lower-cases: a model meant for it needs False.

    Raises:
        ValueError: `kind` is not one of the three.
    """
    return TokenizerSpec(
        kind=kind,
        lowercase=lowercase,
        delimiter_pattern=word_delimiter_pattern() if kind == "word" else "",
        max_chars_per_word=_MAX_CHARS_PER_WORD if kind == "wordpiece" else 0,
    )


def spec_of(section: Mapping[str, Any]) -> TokenizerSpec:
    """Returns the rules that a recipe's [tokenizer] section means, none of its values open."""
    return tokenizer_spec(section["kind"], section["lowercase"] == "true")


def word_delimiter_pattern() -> str:
    r"""Returns the regular expression of what stands between words.

    One class of listed characters (Unicode 11's spaces, punctuation, currency and mathematical
    signs, controls), which RE2, Python and JavaScript read alike: no `\w`, `\s`, `\b` or `\p`,
    whose meaning differs. Apostrophes are listed, the plain and the typographic one alike.
    """
    items = []
    for codes in CharacterSet(unicode_table.WORD_DELIMITERS).ranges:
        first, last = codes[0], codes[-1]
        dash = "-" if last > first + 1 else ""
        items.append(_class_item(first) + (dash + _class_item(last) if last > first else ""))
    return "[" + "".join(items) + "]+"


def _class_item(code: int) -> str:
    char = chr(code)
    if code <= 0xFF and not char.isprintable():
        return f"\\x{code:02x}"
    return "\\" + char if char in "\\[]^-" else char
