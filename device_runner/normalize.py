"""Text → the text whose words or characters are looked up, by rules frozen at Unicode 11.

Every Python from 3.7 on gives the same answer: which characters are spaces, controls, accents or
punctuation and what their lower case is comes from `unicode_table`; of the Python at hand only the
canonical decomposition is used, which Unicode's stability policy fixes for code points that are
assigned. Code points that Unicode 11 did not assign are kept as they are: not removed, not
decomposed, not lower-cased, part of a word (inside the blocks of Chinese characters, a word each).

Lower-casing goes character by character, so no letter depends on its neighbours (a final sigma
becomes an ordinary one).
"""

from __future__ import annotations

import bisect
import itertools
import string
import unicodedata
from typing import Callable, Dict, List, Optional

from device_runner import unicode_table

# More than any text's alphabet; a hostile text cannot make a map grow further.
_MAX_CACHED_CHARACTERS = 65536


class CharacterSet:
    """Code points in the ranges of one constant of `unicode_table`.

    Attributes:
        ranges: The ranges, ascending.

    >>> 0x20 in CharacterSet("9-a 20")
    True
    """

    def __init__(self, ranges: str) -> None:
        pairs = [part.partition("-") for part in ranges.split()]
        self.ranges = [range(int(a, 16), int(b or a, 16) + 1) for a, _, b in pairs]
        self._starts = [codes.start for codes in self.ranges]

    def __contains__(self, code: int) -> bool:
        index = bisect.bisect_right(self._starts, code) - 1
        return index >= 0 and code in self.ranges[index]


class _CharacterMap(Dict[int, str]):
    """A table for `str.translate` that works out a character when it first meets it."""

    def __init__(self, rule: Callable[[int], str]) -> None:
        super().__init__()
        self._rule = rule

    def __missing__(self, code: int) -> str:
        value = self._rule(code)
        if len(self) < _MAX_CACHED_CHARACTERS:
            self[code] = value
        return value


def _parse_lower(entries: str) -> Dict[int, str]:
    """Reads "first-last/step+difference" and "code=code,code"."""
    lower: Dict[int, str] = {}
    for entry in entries.split():
        code, _, several = entry.partition("=")
        if several:
            lower[int(code, 16)] = "".join(chr(int(part, 16)) for part in several.split(","))
            continue
        ends, _, change = entry.partition("/")
        first, _, last = ends.partition("-")
        step, difference = int(change[0]), int(change[1:])
        for upper in range(int(first, 16), int(last, 16) + 1, step):
            lower[upper] = chr(upper + difference)
    return lower


_UNASSIGNED = CharacterSet(unicode_table.UNASSIGNED)
_UNORDERED = CharacterSet(unicode_table.UNORDERED)
_REMOVED = CharacterSet(unicode_table.REMOVED)
_SPACES = CharacterSet(unicode_table.SPACES)
_CHINESE = CharacterSet(unicode_table.CHINESE)
_MARKS = CharacterSet(unicode_table.MARKS)
_PUNCTUATION = CharacterSet(unicode_table.PUNCTUATION)
_LOWER = _parse_lower(unicode_table.LOWER)


def _lower(code: int) -> str:
    return _LOWER.get(code) or chr(code)


def _clean(code: int) -> str:
    if code in _REMOVED:
        return ""
    return " " if code in _SPACES else chr(code)


def _clean_lower(code: int) -> str:
    return "".join(_lower(ord(char)) for char in _clean(code))


def _separate_chinese(code: int) -> str:
    return " %s " % chr(code) if code in _CHINESE else _clean(code)


def _separate_chinese_before_stripping(code: int) -> str:
    # The accents that go anyway go before the decomposition sorts them, which takes a time
    # quadratic in the length of a run. Those of class 0 stay: no mark is sorted past them.
    if code in _MARKS and unicodedata.combining(chr(code)) != 0:
        return ""
    return _separate_chinese(code)


def _separate_punctuation(code: int) -> str:
    return " %s " % chr(code) if code in _PUNCTUATION else chr(code)


def _strip_lower_separate(code: int) -> str:
    if code in _MARKS:
        return ""
    return "".join(_separate_punctuation(ord(char)) for char in _lower(code))


_LOWER_MAP = _CharacterMap(_lower)
_CLEAN_MAPS = {False: _CharacterMap(_clean), True: _CharacterMap(_clean_lower)}
_CHINESE_MAPS = {
    False: _CharacterMap(_separate_chinese),
    True: _CharacterMap(_separate_chinese_before_stripping),
}
_PUNCTUATION_MAPS = {
    False: _CharacterMap(_separate_punctuation),
    True: _CharacterMap(_strip_lower_separate),
}
_IN_ORDER_MAP = _CharacterMap(lambda c: "-" if c in _UNASSIGNED or c in _UNORDERED else "+")


def lower_text(text: str) -> str:
    """Returns the text in lower case, each character by itself.

    >>> lower_text("ΟΔΟΣ")
    'οδοσ'
    """
    return text.lower() if text.isascii() else text.translate(_LOWER_MAP)


def clean_text(text: str, lowercase: bool) -> str:
    """Removes control characters; makes each run of white space one space, none at the ends.

    >>> clean_text(" A\\tb\\x00 ", True)
    'a b'
    """
    pieces = text.translate(_CLEAN_MAPS[lowercase]).split(" ")
    return " ".join(piece for piece in pieces if piece)


def decompose(text: str) -> str:
    """Returns the canonical decomposition (NFD) of each run of code points that have one order.

    Those that Unicode 11 did not assign, and the few marks that the Hugging Face library does not
    know, part the runs.
    """
    if text.isascii():
        return text
    kinds = text.translate(_IN_ORDER_MAP)
    if "-" not in kinds:
        return unicodedata.normalize("NFD", text)
    parts = []
    start = 0
    for kind, run in itertools.groupby(kinds):
        end = start + sum(1 for _ in run)
        part = text[start:end]
        parts.append(unicodedata.normalize("NFD", part) if kind == "+" else part)
        start = end
    return "".join(parts)


def split_words(text: str, lowercase: bool) -> List[str]:
    """Splits by BERT's rules: at white space, around punctuation, around each Chinese character.

    Equal to the Hugging Face library's `BertNormalizer(lowercase=lowercase)` followed by
    `BertPreTokenizer`; with `lowercase`, accents (nonspacing marks) are removed as well.

    >>> split_words("Déjà-vu!", True)
    ['deja', '-', 'vu', '!']
    """
    text = text.translate(_CHINESE_MAPS[lowercase])
    if lowercase:
        text = decompose(text)
    return [word for word in text.translate(_PUNCTUATION_MAPS[lowercase]).split(" ") if word]


def strip_punctuation(text: str, lowercase: bool) -> str:
    """Does what Keras' TextVectorization does to a text before it splits it: "strip_punctuation",
    with `lowercase` "lower_and_strip_punctuation". Letters beyond ASCII stay as they are.

    >>> strip_punctuation("Don't, \u00c9mile!", True)
    'dont \u00c9mile'
    """
    return text.translate(_STRIP_LOWER if lowercase else _STRIP)


_STRIP: Dict[int, Optional[int]] = dict.fromkeys(map(ord, string.punctuation))
_STRIP_LOWER: Dict[int, Optional[int]] = {
    **_STRIP,
    **{code: code + 32 for code in range(ord("A"), ord("Z") + 1)},
}
