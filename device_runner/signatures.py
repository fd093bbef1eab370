"""A sequence length and a number of classes → the signature of the graph that takes them."""

from __future__ import annotations

from typing import Any, Dict, Optional

_BUCKET_PREFIX = "classify_"


def classification_signature(
    sequence_length: int, num_classes: int, *, name: str = "classify"
) -> Dict[str, Any]:
    """Returns the signature of a classification of one text.

    Args:
        sequence_length: Token ids of one input, padding included.
        num_classes: Probabilities of one output.
        name: Another one than that of the full length.
    """
    return {
        "name": name,
        "inputs": [{"name": "token_ids", "dtype": "int32", "shape": [1, sequence_length]}],
        "outputs": [{"name": "probabilities", "dtype": "float32", "shape": [1, num_classes]}],
    }


def bucket_name(sequence_length: int) -> str:
    """Returns the name of the signature for texts of at most so many tokens."""
    return f"{_BUCKET_PREFIX}{sequence_length}"


def bucket_length(name: str) -> Optional[int]:
    """Returns the length in a signature's name, None where it is no bucket's."""
    digits = name[len(_BUCKET_PREFIX) :]
    is_bucket = name.startswith(_BUCKET_PREFIX) and digits.isdecimal() and digits.isascii()
    return int(digits) if is_bucket and len(digits) < 10 else None
