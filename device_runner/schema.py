"""JSON + what each field must be → the checked value, or an error naming the key."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Callable, Dict, List, Optional, Tuple

# What a field must be, in words, and the test for it.
Kind = Tuple[str, Callable[[Any], bool]]


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    try:
        return (_is_integer(value) or isinstance(value, float)) and math.isfinite(value)
    except OverflowError:  # an integer that no float holds
        return False


def _is_text(value: Any) -> bool:
    """Text that every terminal and file can take: no lone surrogate, as "\\ud800" would make."""
    return isinstance(value, str) and not any("\ud800" <= char <= "\udfff" for char in value)


def _is_plain_name(value: Any) -> bool:
    return (
        _is_text(value)
        and value not in ("", ".", "..")
        and not re.search(r"[\x00-\x1f\x7f/\\:]", value)
        and len(value.encode("utf-8")) <= 255
    )


# Sizes and counts stay below 2^31: what an int32 tensor's shape can hold.
COUNT: Kind = ("an integer from 1 to 2147483647", lambda v: _is_integer(v) and 1 <= v < 2**31)
BYTES: Kind = ("an integer from 0 to 2^63 - 1", lambda v: _is_integer(v) and 0 <= v < 2**63)
TEXT: Kind = ("a text", _is_text)
OPTIONAL_TEXT: Kind = ("a text or null", lambda v: v is None or _is_text(v))
BOOLEAN: Kind = ("true or false", lambda v: isinstance(v, bool))
NUMBER: Kind = ("a finite number", _is_number)
TOLERANCE: Kind = ("a finite number of at least 0", lambda v: _is_number(v) and v >= 0)
PROBABILITY: Kind = ("a number between 0 and 1", lambda v: _is_number(v) and 0 < v < 1)
OPTIONAL_PROBABILITY: Kind = (
    "a number between 0 and 1, or null",
    lambda v: v is None or PROBABILITY[1](v),
)
OBJECT: Kind = ("an object", lambda v: isinstance(v, dict))
TEXT_OBJECT: Kind = (
    "an object of texts",
    lambda v: isinstance(v, dict) and all(_is_text(item) for item in v.values()),
)
LIST: Kind = ("a list with at least one entry", lambda v: isinstance(v, list) and len(v) > 0)
SHAPE: Kind = (
    "a list of integers from 1 to 2147483647",
    lambda v: isinstance(v, list) and all(COUNT[1](item) for item in v),
)
INTEGERS: Kind = (
    "a list of integers",
    lambda v: isinstance(v, list) and all(_is_integer(item) for item in v),
)
NUMBERS: Kind = (
    "a list of finite numbers",
    lambda v: isinstance(v, list) and all(_is_number(item) for item in v),
)
PLAIN_NAME: Kind = (
    'a plain name (no "/", "\\", ":", "..", no control character)',
    _is_plain_name,
)
SHA256: Kind = (
    "64 lower-case hexadecimal digits",
    lambda v: isinstance(v, str) and re.fullmatch("[0-9a-f]{64}", v) is not None,
)
UTC_TIME: Kind = (
    "a UTC time such as 2025-01-31T12:00:00Z",
    lambda v: (
        isinstance(v, str)
        and re.fullmatch(
            r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|\+00:00)", v
        )
        is not None
    ),
)


def check_fields(value: Any, kinds: Dict[str, Kind], where: str) -> Dict[str, Any]:
    """Returns `value` when it is an object with exactly the keys of `kinds`, each of its kind.

    Args:
        value: What was read from JSON.
        kinds: What each key must be. Every key is needed and no other may stand there.
        where: What the value is, for the message, such as `manifest.json signatures[0]`.

    Raises:
        ValueError: Not an object; a key is unknown, missing, or of another kind. It names the key.
    """
    if not isinstance(value, dict):
        raise ValueError(
            f"{where} is {shorten(value)}, expected an object with the keys {', '.join(kinds)}. "
            "Export the artifact again."
        )
    unknown = sorted(set(value) - set(kinds))
    missing = sorted(set(kinds) - set(value))
    if unknown or missing:
        raise ValueError(
            f"{where}: unknown keys: {', '.join(map(shorten, unknown)) or 'none'}; missing keys: "
            f"{', '.join(missing) or 'none'}; expected exactly: {', '.join(kinds)}. Export the "
            "artifact again, and do not edit it by hand."
        )
    for key, (expected, accepts) in kinds.items():
        if not accepts(value[key]):
            raise ValueError(
                f"{where}: {key}={shorten(value[key])}, expected {expected}. Export the artifact "
                "again, and do not edit it by hand."
            )
    return value


def parse_json(data: bytes, where: str) -> Any:
    """Returns the value of a UTF-8 JSON text; stricter than `json.loads`.

    Raises:
        ValueError: Not UTF-8, not JSON, a key given twice, NaN or Infinity, nested too deeply.
    """
    try:
        return json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique_keys, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{where} is not valid JSON: {error}. It is cut off or was edited: get the file again."
        ) from error


def parse_lines(data: bytes, where: str) -> List[str]:
    """Returns the lines of a UTF-8 text, split on "\\n" alone, without the last empty one.

    Raises:
        ValueError: The bytes are not UTF-8; it names the offset of the first bad byte.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{where} is not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}. Save "
            "it as UTF-8."
        ) from error
    lines = text.split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def shorten(value: Any, limit: int = 60) -> str:
    """Returns `repr(value)`, cut to `limit` characters for a message.

    >>> shorten("abc")
    "'abc'"
    """
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _unique_keys(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    value: Dict[str, Any] = {}
    for key, item in pairs:
        if key in value:
            raise ValueError(f"the key {shorten(key)} stands twice")
        value[key] = item
    return value


def _refuse_constant(name: str) -> Optional[float]:
    raise ValueError(f"{name} is not a JSON number")
