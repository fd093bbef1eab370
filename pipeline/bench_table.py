"""A benchmark's record → a table for the terminal, with the reasons for every doubt below it."""

from __future__ import annotations

from typing import Any

_COLUMNS = (
    ("artifact", "name"),
    ("scheme", "scheme"),
    ("p50", "p50_ns"),
    ("p90", "p90_ns"),
    ("p99", "p99_ns"),
    ("end-to-end p50", "end_to_end_p50_ns"),
    ("first call", "first_invoke_ns"),
    ("init", "init_ns"),
    ("peak memory", "peak_memory_bytes"),
    ("runs", "num_runs"),
    ("validity", "validity"),
)


def format_bench(record: dict[str, Any]) -> str:
    """Returns the results as aligned text; "-" where a number is null.

    Args:
        record: What `tfpipe.bench` returns.
    """
    results = record["results"]
    several = len({result["device"] for result in results}) > 1
    columns = (("device", "device"), *_COLUMNS) if several else _COLUMNS
    rows = [[heading for heading, _ in columns]]
    rows += [[_cell(key, result.get(key)) for _, key in columns] for result in results]
    widths = [max(len(row[index]) for row in rows) for index in range(len(columns))]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    for result in results:
        lines += [f"{result['name']}: {reason}" for reason in result["validity_reasons"]]
    lines += [f"not measured: {failure['error']}" for failure in record["failures"]]
    first = results[0]
    threads = first["num_threads"]
    lines.append(
        f"{first['device']} ({first['device_kind']}), {first['runtime']} "
        f"{first['runtime_version']}, delegate {first['delegate']}, {threads} "
        f"thread{'s' * (threads != 1)}, profile {first['profile']}"
    )
    return "\n".join(lines)


def _cell(key: str, value: Any) -> str:
    if value is None:
        return "-"
    if key.endswith("_ns"):
        return f"{value / 1e6:.2f} ms" if value >= 1e6 else f"{value / 1e3:.1f} us"
    if key.endswith("_bytes"):
        return f"{value / 2**20:.1f} MiB"
    return str(value)
