"""The log of TFLite's benchmark_model → latencies in nanoseconds; what it does not say is None."""

from __future__ import annotations

import re
from typing import Any

# Versions before 2.16 have no prefix "INFO: " and no p5, median, p95; those of 2018 have another
# summary: "Average inference timings in us: Warmup: 76605.9, Init: 9933, no stats: 66767.6".
_COUNT = re.compile(r"^(?:INFO: )?(count=\S+(?: \w+=\S+)*)\s*$", re.MULTILINE)
_SUMMARY = re.compile(
    r"Inference timings in us: Init: (\S+), First inference: (\S+), Warmup \(avg\): (\S+), "
    r"Inference \(avg\): (\S+)"
)
_OLD_SUMMARY = re.compile(
    r"Average inference timings in us: Warmup: (\S+), Init: (\S+), (?:no stats|w/o stats): (\S+)"
)


def parse_log(text: str) -> dict[str, Any]:
    """Returns the numbers of a log.

    Args:
        text: stdout and stderr of benchmark_model.

    Returns:
        `init_ns`, `first_invoke_ns`, `warmup_runs`, `num_runs`, `p50_ns` (the tool's own median),
        `mean_ns`, `standard_deviation_ns`, `min_ns`, `max_ns`. The tool gives no percentile from
        90 on: its p95 is none of ours.

    Raises:
        ValueError: There is no summary: the tool did not come to its end.
    """
    runs = [dict(word.split("=", 1) for word in line.split()) for line in _COUNT.findall(text)]
    found, old = _SUMMARY.search(text), _OLD_SUMMARY.search(text)
    if not runs or not (found or old):
        last = " ".join(text.split())[-300:]
        raise ValueError(
            f"benchmark_model ended without a summary, expected 'Inference timings in us: …'. Run "
            f"it by hand on the device. It said: {last or 'nothing'}"
        )
    measured, warmup = runs[-1], runs[0] if len(runs) > 1 else {}
    init = found[1] if found else old[2] if old else None
    first = found[2] if found else warmup.get("first", warmup.get("curr"))
    only = measured.get("curr")  # one run has no statistics
    return {
        "init_ns": _ns(init),
        "first_invoke_ns": _ns(first),
        "warmup_runs": int(float(warmup["count"])) if warmup else None,
        "num_runs": int(float(measured["count"])),
        "p50_ns": _ns(measured.get("median")),
        "mean_ns": _ns(measured.get("avg", only)),
        "standard_deviation_ns": _ns(measured.get("std")),
        "min_ns": _ns(measured.get("min", only)),
        "max_ns": _ns(measured.get("max", only)),
    }


def parse_delegate(text: str) -> str:
    """Returns "cpu", or "unknown" when the log speaks of a delegate other than XNNPACK."""
    named = re.findall(r"(\w+) delegate (?:created|for)", text, re.IGNORECASE)
    others = {name.upper() for name in named} - {"XNNPACK", "LITE"}
    return "unknown" if others else "cpu"


def _ns(microseconds: str | None) -> int | None:
    """The tool writes large numbers as 2.95034e+06."""
    return None if microseconds is None else round(float(microseconds.rstrip(",")) * 1000)
