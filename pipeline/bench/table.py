"""A benchmark's record → a table for the terminal, with the reasons for every doubt below it."""

from __future__ import annotations

from typing import Any

_COLUMNS = (
    ("artifact", "name"),
    ("scheme", "scheme"),
    ("p50", "p50_ns"),
    ("p90", "p90_ns"),
    ("p99", "p99_ns"),
    ("mean", "mean_ns"),
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
    lines += [line for result in results for line in _details(result)]
    for result in results:
        lines += [f"{result['name']}: {reason}" for reason in result["validity_reasons"]]
    lines += [f"not measured: {failure['error']}" for failure in record["failures"]]
    first = results[0]
    threads = first["num_threads"]
    overhead = first.get("timer_overhead_ns")
    lines.append(
        f"{first['device']} ({first['device_kind']}), {first['runtime']} "
        f"{first['runtime_version']}, delegate {first['delegate']}, {threads} "
        f"thread{'s' * (threads != 1)}, profile {first['profile']}"
        + (f", reading the clock takes {overhead} ns" if overhead is not None else "")
    )
    return "\n".join(lines)


def _minutes(result: dict[str, Any]) -> list[str]:
    """Returns a line for each minute of a sustained measurement, and where it throttled."""
    lines = []
    for entry in result.get("minutes", []):
        hot = entry["max_temperatures_celsius"]
        clocks = entry["mean_frequencies_hz"]
        lines.append(
            f"{result['name']} minute {entry['minute']}: "
            + ", ".join(f"{name} {_cell('_ns', entry[f'{name}_ns'])}" for name in ("p50", "p90"))
            + (f", {max(hot.values()):.0f} degrees Celsius" if hot else ", temperature unknown")
            + (f", {max(clocks) / 1e6:.0f} MHz" if clocks else ", clock unknown")
        )
    throttling = result.get("throttling")
    if throttling and throttling["slowdown"] is not None:
        first = throttling["minute"]
        lines.append(
            f"{result['name']}: "
            + (f"throttled from minute {first} on" if first else "not throttled")
            + f"; slowest minute {throttling['slowdown']:+.1%} against the first"
        )
    return lines


def _pace(result: dict[str, Any]) -> list[str]:
    """Returns a line about the schedule of a paced measurement."""
    pace = result.get("pace")
    if not pace:
        return []
    return [
        f"{result['name']}: {pace['rate_hz']:g} requests a second, "
        f"{pace['missed_deadlines']} of {pace['num_requests']} missed their deadline, response "
        f"p50 {_cell('_ns', pace['response_p50_ns'])}, p90 {_cell('_ns', pace['response_p90_ns'])}"
    ]


_SHOWN_OPS = 6


def _details(result: dict[str, Any]) -> list[str]:
    more = _parts(result) + _cycles(result) + _nodes(result) + _ops(result)
    return _buckets(result) + _minutes(result) + _pace(result) + more


def _buckets(result: dict[str, Any]) -> list[str]:
    """Returns a line about the graphs that the texts were shared among."""
    found = result.get("buckets")
    if not found:
        return []
    told = ", ".join(f"{entry['sequence_length']}: {entry['share']:.0%}" for entry in found)
    return [
        f"{result['name']}: texts of {result['mean_tokens']:.1f} tokens in the mean; run in graphs "
        f"of length {told}"
    ]


def _cycles(result: dict[str, Any]) -> list[str]:
    """Returns a line about the processor's cycles, none where it does not count them."""
    cycles = result.get("cycles_per_inference")
    return [f"{result['name']}: {cycles:,} cycles a call"] if cycles is not None else []


def _parts(result: dict[str, Any]) -> list[str]:
    """Returns a line about the parts of the time from text to label."""
    shares = result.get("end_to_end_shares")
    if not shares:
        return []
    told = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    return [f"{result['name']}: from text to label: {told}"]


def _nodes(result: dict[str, Any]) -> list[str]:
    """Returns a line about what the delegate took, where the runtime says it."""
    nodes = result.get("nodes")
    if not nodes:
        return []
    pieces = nodes["partitions"]
    return [
        f"{result['name']}: {nodes['delegated']} of {nodes['total']} nodes run by "
        + ("a delegate" if nodes["delegate"] == "none" else nodes["delegate"])
        + (f", in {pieces} partition{'s' * (pieces != 1)}" if pieces else "")
    ]


_METHODS = {
    "runtime": "by the runtime's profiler",
    "prefixes": "by timing the graph cut off behind each op",
}


def _ops(result: dict[str, Any]) -> list[str]:
    """Returns a line about the slowest ops."""
    found = result.get("op_profile")
    if not found:
        reason = result.get("op_profile_reason")
        return [f"{result['name']}: no per-op times: {reason}"] if reason else []
    shown = found["ops"][:_SHOWN_OPS]
    told = ", ".join(f"{op['op']} {op['share']:.0%} ({op['count']})" for op in shown)
    rest = len(found["ops"]) - len(shown)
    return [
        f"{result['name']}: {_METHODS.get(found.get('method'), _METHODS['runtime'])}: {told}"
        + (f", {rest} more kinds" if rest > 0 else "")
        + (f"; {found['short_ops']} ops too short to be seen" if found["short_ops"] else ""),
    ]


def _cell(key: str, value: Any) -> str:
    if value is None:
        return "-"
    if key.endswith("_ns"):
        return f"{value / 1e6:.2f} ms" if value >= 1e6 else f"{value / 1e3:.1f} us"
    if key.endswith("_bytes"):
        return f"{value / 2**20:.1f} MiB"
    return str(value)
