"""vocabulary.txt ↔ tokens in id order."""

from __future__ import annotations

import re
from typing import Any, List, Sequence

from device_runner.tokenizer_spec import SPECIAL_TOKENS


def check_vocabulary(kind: str, vocabulary: Sequence[str]) -> None:
    """Checks that a vocabulary is one of this kind.

    Raises:
        ValueError: A special token is not where it belongs, a token is there twice, or no file of
            this kind can hold it.
    """
    special = SPECIAL_TOKENS[kind]
    if tuple(vocabulary[: len(special)]) != special:
        raise ValueError(
            f"The vocabulary begins with {list(vocabulary[: len(special)])!r}; kind={kind!r} needs "
            f"{list(special)!r}. Use the vocabulary.txt that was made with the model."
        )
    seen = set(special)
    for index, token in enumerate(vocabulary[len(special) :], len(special)):
        fault = _token_fault(kind, token) or ("is there twice" if token in seen else "")
        if fault:
            raise ValueError(
                f"Token {index} of the vocabulary, {token!r}, {fault}. "
                "Use the vocabulary.txt that was made with the model."
            )
        seen.add(token)


def _token_fault(kind: str, token: Any) -> str:
    if not isinstance(token, str) or not token:
        return "is empty or not a text"
    if "\n" in token:
        return "has a line end"
    if re.search("[\ud800-\udfff]", token):
        return "has a lone surrogate, which UTF-8 cannot hold"
    if kind == "char" and len(token) != 1:
        return "is not one character, as kind='char' needs"
    return ""


def format_vocabulary(tokens: Sequence[str]) -> str:
    r"""Returns the text of vocabulary.txt: one token a line, in id order.

    >>> format_vocabulary(["<PAD>", "<UNKNOWN>", " "])
    '<PAD>\n<UNKNOWN>\n \n'
    """
    return "".join(token + "\n" for token in tokens)


def read_vocabulary(path: Any) -> List[str]:
    """Reads vocabulary.txt: one token a line, lines end in "\\n" only, in id order.

    Raises:
        ValueError: The file is not UTF-8.
        OSError: The file cannot be read.
    """
    with open(path, "rb") as file:
        data = file.read()
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as e:
        raise ValueError(
            f"{path} is not UTF-8: byte {e.start} is 0x{data[e.start]:02x}. "
            "Use the vocabulary.txt that was made with the model."
        ) from e
    tokens = text.split("\n")
    return tokens[:-1] if tokens[-1] == "" else tokens
