"""The tokenizer's frozen character classes → the table that the page's tokenizer reads."""

from __future__ import annotations

import unicodedata

from device_runner import unicode_table
from device_runner.normalize import CharacterSet

# Constants of `unicode_table` that the rules of `device_runner.normalize` use.
CLASSES = (
    "UNASSIGNED",
    "UNORDERED",
    "REMOVED",
    "SPACES",
    "CHINESE",
    "MARKS",
    "PUNCTUATION",
    "LOWER",
)


def character_table() -> dict[str, str]:
    """Returns the constants by name, and `COMBINING_MARKS`: the marks whose combining class is not
    0, which JavaScript cannot tell (Unicode's stability policy fixes it for assigned characters).
    """
    combining = [
        f"{code:x}"
        for codes in CharacterSet(unicode_table.MARKS).ranges
        for code in codes
        if unicodedata.combining(chr(code)) != 0
    ]
    table = {name: getattr(unicode_table, name) for name in CLASSES}
    return {**table, "COMBINING_MARKS": " ".join(combining)}
