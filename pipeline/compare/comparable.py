"""Files of benchmark results → the pairs in them that may be compared, or why they may not."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Result = dict[str, Any]


def _of_device(key: str) -> Callable[[Result], Any]:
    return lambda result: (result.get("fingerprint") or {}).get(key)


def _governors(result: Result) -> Any:
    """Returns the governors that are there, or None: their number is that of the cores."""
    return sorted(set(_of_device("governors")(result) or [])) or None


# What must be equal in both, by the name that allows it to differ.
FIELDS: dict[str, Callable[[Result], Any]] = {
    "device_kind": lambda result: result.get("device_kind"),
    "cpu_model": _of_device("cpu_model"),
    "governors": _governors,
    "browser": lambda result: (result.get("browser") or {}).get("user_agent"),
    "runtime": lambda result: result.get("runtime"),
    "runtime_version": lambda result: result.get("runtime_version"),
    "delegate": lambda result: result.get("delegate"),
    "num_threads": lambda result: result.get("num_threads"),
    "profile": lambda result: result.get("profile"),
    "inputs_sha256": lambda result: result.get("inputs_sha256"),
    # Of the same texts, another tokenizer makes another number of tokens: that is the model's.
    "mean_tokens": lambda result: (
        None if result.get("inputs_sha256") else result.get("mean_tokens")
    ),
}


def read_results(path: Path) -> list[Result]:
    """Returns the results of a file that `tfpipe bench` wrote.

    Raises:
        ValueError: Not such a file, or a result without samples.
        OSError: The file cannot be read.
    """
    fix = "Give a file that `tfpipe bench --output FILE` wrote."
    try:
        record = json.loads(path.read_bytes().decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}. {fix}") from error
    results = record.get("results") if isinstance(record, dict) else None
    if not isinstance(results, list) or not results:
        raise ValueError(f"{path} has no results, expected at least 1. {fix}")
    for index, result in enumerate(results):
        samples = result.get("latencies_ns") if isinstance(result, dict) else None
        if not isinstance(samples, list) or not all(type(sample) is int for sample in samples):
            raise ValueError(
                f"{path}: results[{index}] has no latencies_ns, expected whole numbers. {fix}"
            )
        if not isinstance(result.get("name"), str):
            raise ValueError(f"{path}: results[{index}] has no name, expected a text. {fix}")
    return results


def match_results(a: Sequence[Result], b: Sequence[Result]) -> list[tuple[Result, Result]]:
    """Returns the pairs to compare: the only two there are, else those of the same name.

    Raises:
        ValueError: No name stands in both, or one stands twice in a file.
    """
    if len(a) == len(b) == 1:
        return [(a[0], b[0])]
    named = []
    for side, results in (("A", a), ("B", b)):
        names = [result["name"] for result in results]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"{side} has several results called {', '.join(twice)}, expected each name once. "
                "Measure these in calls of their own."
            )
        named.append(dict(zip(names, results, strict=True)))
    both = [name for name in named[0] if name in named[1]]
    if not both:
        raise ValueError(
            f"A has {', '.join(named[0])} and B has {', '.join(named[1])}: no name stands in "
            "both. Export under the same names, or give files with one result each."
        )
    return [(named[0][name], named[1][name]) for name in both]


def refuse_differences(a: Result, b: Result, allowed: Sequence[str]) -> None:
    """Refuses two results whose difference says nothing of the models.

    Args:
        a: A result.
        b: The other.
        allowed: Keys of `FIELDS` that may differ.

    Raises:
        ValueError: A field differs, one is allowed that there is not, or a result is invalid.
    """
    unknown = sorted(set(allowed) - set(FIELDS))
    if unknown:
        raise ValueError(
            f"allow_different={', '.join(unknown)} is unknown. Use some of: {', '.join(FIELDS)}."
        )
    differing = {
        name: (read(a), read(b))
        for name, read in FIELDS.items()
        if name not in allowed and read(a) != read(b)
    }
    if differing:
        told = "; ".join(f"{name} is {x!r} and {y!r}" for name, (x, y) in differing.items())
        options = " ".join(f"--allow-different {name}" for name in differing)
        raise ValueError(
            f"{a['name']} and {b['name']} do not compare: {told}. Measure both alike, or say that "
            f"it does not matter: {options}"
        )
    for side, result in (("A", a), ("B", b)):
        if result.get("validity") == "invalid":
            reasons = "; ".join(map(str, result.get("validity_reasons", []))) or "no reason given"
            raise ValueError(
                f"{side}, {result['name']}, is invalid ({reasons}), expected a valid or degraded "
                "result. Measure it again."
            )
