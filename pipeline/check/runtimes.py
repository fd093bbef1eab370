"""A runtime's name and release → the ops, versions and types that it has."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from tfpipe.check.model import OperatorCode
from tfpipe.check.op_versions import OP_VERSIONS

Release = tuple[int, ...]
DEFAULT_RUNTIME = "ai-edge-litert"
OLD_RUNTIME = "tflite-runtime"
# ai-edge-litert counts its own releases. 1.0.1 has what TensorFlow 2.18 has, but for what is listed
# here; every op was loaded in every version by the wheels named, so an entry is the first of
# *those* releases that has it, and a release between two of them may have it already.
LITERT_BASE = (2, 18, 0)
LITERT_ADDITIONS: dict[str, dict[str, tuple[int, ...]]] = {
    "1.1.2": {
        "CAST": (7,), "DYNAMIC_UPDATE_SLICE": (3,), "STABLEHLO_AND": (1,), "STABLEHLO_CASE": (1,),
        "STABLEHLO_SHIFT_LEFT": (1,),
    },
    "1.2.0": {"TRANSPOSE": (7,)},
    "1.3.0": {"DYNAMIC_UPDATE_SLICE": (4,)},
    "2.0.3": {"PAD": (5,), "PADV2": (5,), "SQRT": (2,)},
    "2.1.0": {
        "CAST": (8,), "DEQUANTIZE": (7,), "EQUAL": (5,), "FULLY_CONNECTED": (14,),
        "NOT_EQUAL": (4,), "QUANTIZE": (4,), "SLICE": (7,),
    },
    "2.1.6": {
        "ADD": (6,), "CONCATENATION": (5, 6), "COS": (2,), "DEQUANTIZE": (8,),
        "DYNAMIC_UPDATE_SLICE": (5, 6), "EMBEDDING_LOOKUP": (5,), "GELU": (3,), "MUL": (8,),
        "QUANTIZE": (5, 6), "SIN": (2,), "SLICE": (8,), "SOFTMAX": (4,), "TRANSPOSE": (8, 9),
        "UNPACK": (5,),
    },
    "2.2.0": {
        "BROADCAST_TO": (4,), "CAST": (9,), "CONCATENATION": (7,), "DEQUANTIZE": (9,),
        "FILL": (5,), "GATHER": (8,), "GATHER_ND": (6,), "PACK": (5,), "PAD": (6,), "PADV2": (6,),
        "REVERSE_V2": (4,), "SPLIT": (5,), "SPLIT_V": (3,), "UNPACK": (6,),
    },
}  # fmt: skip
# Types that came later than the oldest release that is known here; measured in the same wheels.
LITERT_TYPES = {
    "int2": "2.1.0", "uint4": "2.1.6", "float8_e4m3fn": "2.1.6", "float8_e5m2": "2.1.6",
}  # fmt: skip
TENSORFLOW_TYPES = {"bfloat16": "2.18.0"}
# Not builtin, yet in the wheels: tflite/core/kernels/register.cc.
CUSTOM_KERNELS = frozenset({"AudioSpectrogram", "Mfcc", "NumericVerify"})
DETECTION = "TFLite_Detection_PostProcess"
KNOWN = {
    "ai-edge-litert": ("1.0.1", "2.3.0"),
    "tensorflow": ("2.1.0", "2.21.0"),
    "tflite-runtime": ("2.1.0", "2.14.0"),
}
FLEX_PREFIX = "Flex"


def parse_release(text: str) -> Release:
    """Returns "2.14.0" as (2, 14, 0); what follows the numbers, as in "2.0.0rc1", is left out.

    Raises:
        ValueError: It does not begin with numbers.
    """
    match = re.match(r"\d{1,5}(?:\.\d{1,5}){0,3}(?!\.?\d)", text)
    if match is None:
        raise ValueError(f"version={text!r} is no release. Write it like 2.14.0.")
    numbers = [int(part) for part in match[0].split(".")]
    return tuple(numbers + [0] * (3 - len(numbers)))


@dataclass(frozen=True)
class Runtime:
    """One release of one runtime.

    Attributes:
        name: A key of `KNOWN`.
        release: Such as (2, 14, 0).
        text: The release as it was given.
    """

    name: str
    release: Release
    text: str

    def __str__(self) -> str:
        return f"{self.name}=={self.text}"

    @property
    def is_newer_than_known(self) -> bool:
        """Whether the release came out after the newest that was looked at."""
        return self.release > parse_release(KNOWN[self.name][1])

    @property
    def needs_exact_sizes(self) -> bool:
        """Whether a constant with spare bytes at its end is refused; LiteRT lets it pass."""
        return self.name != "ai-edge-litert" and self.release < LITERT_BASE

    def has_op(self, code: OperatorCode) -> bool:
        """Returns whether a builtin op can be loaded in that version."""
        first = first_release(self.name, code)
        return first is not None and parse_release(first) <= self.release

    def has_type(self, dtype: str) -> bool:
        """Returns whether tensors of that type can be loaded."""
        if dtype.startswith("type_"):
            return False
        if dtype in LITERT_TYPES:
            return self.name == "ai-edge-litert" and self._is_from(LITERT_TYPES[dtype])
        if dtype in TENSORFLOW_TYPES and self.name != "ai-edge-litert":
            return self._is_from(TENSORFLOW_TYPES[dtype])
        return True

    def _is_from(self, release: str) -> bool:
        return self.release >= parse_release(release)

    def has_custom(self, name: str) -> bool:
        """Returns whether a custom op's kernel comes with the runtime."""
        if name.startswith(FLEX_PREFIX):
            return self.name == "tensorflow"
        return name in CUSTOM_KERNELS or name == DETECTION


def first_release(runtime: str, code: OperatorCode) -> str | None:
    """Returns the first release of a runtime that has an op's version; None where none is known.

    >>> first_release("tflite-runtime", OperatorCode("FULLY_CONNECTED", 9, False))
    '2.3.0'
    >>> first_release("ai-edge-litert", OperatorCode("FULLY_CONNECTED", 14, False))
    '2.1.0'
    """
    released = OP_VERSIONS.get(code.name, "").split()
    text = released[code.version - 1] if 1 <= code.version <= len(released) else "-"
    if text == "-":
        return None
    if runtime != "ai-edge-litert":
        newest = parse_release(KNOWN[OLD_RUNTIME][1])
        gone = runtime == OLD_RUNTIME and parse_release(text) > newest
        return None if gone else text
    for release, added in LITERT_ADDITIONS.items():
        if code.version in added.get(code.name, ()):
            return release
    if parse_release(text) > LITERT_BASE:
        return None
    return KNOWN[runtime][0]


def min_runtimes(codes: tuple[OperatorCode, ...]) -> dict[str, str | None]:
    """Returns {runtime: first release that has every builtin op}; None where none has."""
    found: dict[str, str | None] = {}
    for name, (oldest, _) in KNOWN.items():
        firsts = [first_release(name, code) for code in codes if not code.is_custom]
        known = [first for first in firsts if first is not None]
        newest = max([*known, oldest], key=parse_release)
        found[name] = newest if len(known) == len(firsts) else None
    return found


def min_tensorflow(codes: tuple[OperatorCode, ...]) -> str | None:
    """Returns the release, as TensorFlow counts them, that has every builtin op's version.

    This is what the converter records as min_runtime_version; None where an op is in no release.
    """
    firsts = [first_release("tensorflow", code) for code in codes if not code.is_custom]
    if any(first is None for first in firsts):
        return None
    return max((first for first in firsts if first), key=parse_release, default=None)


def parse_runtime(text: str | None) -> Runtime:
    """Returns the runtime that `--runtime NAME==VERSION` names; None means the one installed here.

    Raises:
        ValueError: Not of that form, or a runtime or release that is not known here.
    """
    if text is None:
        return installed_runtime()
    name, separator, release = text.partition("==")
    if name not in KNOWN or not separator:
        raise ValueError(
            f"runtime={text!r} is not known. Write NAME==VERSION with NAME one of {sorted(KNOWN)}, "
            "such as tflite-runtime==2.14.0."
        )
    found = Runtime(name, parse_release(release), release)
    oldest, newest = KNOWN[name]
    if found.release < parse_release(oldest):
        raise ValueError(
            f"runtime={text!r} is older than {name} {oldest}, the oldest whose ops are known here. "
            f"Name a release from {oldest} on."
        )
    if name == OLD_RUNTIME and found.is_newer_than_known:
        raise ValueError(
            f"runtime={text!r} does not exist: tflite-runtime ended with {newest}. Name a release "
            "up to it, or ai-edge-litert."
        )
    return found


def installed_runtime() -> Runtime:
    """Returns the release of ai-edge-litert that is installed, else the newest known."""
    try:
        text = version(DEFAULT_RUNTIME)
    except PackageNotFoundError:
        text = KNOWN[DEFAULT_RUNTIME][1]
    return Runtime(DEFAULT_RUNTIME, parse_release(text), text)
