"""A comparison's record → lines for the terminal."""

from __future__ import annotations

from typing import Any


def format_comparison(record: dict[str, Any]) -> str:
    """Returns the comparisons and their verdicts as text.

    Args:
        record: What `tfpipe.compare` returns.
    """
    lines = []
    for item in record["comparisons"]:
        low, high = item["interval"]
        lines += [
            f"{item['verdict'].upper()}  {item['name']}: {item['ratio']:.3f} times as long "
            f"(95 % interval {low:.3f} to {high:.3f}), {record['max_regression']:.1%} slower is "
            "allowed",
            *(f"  {side}: {_told(item[key])}" for side, key in (("A", "a"), ("B", "b"))),
            f"  noise floor {item['noise_floor']:.1%}: {item['noise_floor_source']}",
            *(f"  {reason}" for reason in item["reasons"]),
            *(f"  {note}" for note in item["notes"]),
        ]
    return "\n".join(lines)


def _told(side: dict[str, Any]) -> str:
    median = "unknown" if side["p50_ns"] is None else f"{side['p50_ns'] / 1000:.1f} us"
    threads = side["num_threads"]
    return (
        f"{side['artifact']}, p50 {median} of {side['num_runs']} calls, {side['device']} "
        f"({side['device_kind']}), {side['runtime']} {side['runtime_version']}, delegate "
        f"{side['delegate']}, {threads} thread{'s' * (threads != 1)}"
    )
