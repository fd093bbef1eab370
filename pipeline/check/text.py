"""A check's result → a text for people."""

from __future__ import annotations

from textwrap import indent, wrap
from typing import Any

WIDTH = 96
MAX_REASONS = 4
MARKS = {"error": "ERROR", "warning": "warning", "info": "note"}


def format_check(result: dict[str, Any]) -> str:
    """Returns verdict, findings, sizes and coverage as paragraphs of at most 96 columns."""
    verdict = "loads and runs whole" if result["ok"] else "does NOT load and run whole"
    parts = [f"{verdict} on {result['target']} with {result['runtime']}"]
    parts += [format_finding(entry) for entry in result["findings"]]
    return "\n\n".join([*parts, format_facts(result), format_coverage(result)])


def format_finding(entry: dict[str, str]) -> str:
    """Returns one finding: what, then what cures it."""
    head = "\n".join(wrap(f"{MARKS[entry['severity']]} {entry['code']}: {entry['message']}", WIDTH))
    return head + "\n" + indent("\n".join(wrap(entry["fix"], WIDTH - 4)), "    ")


def format_facts(result: dict[str, Any]) -> str:
    """Returns the file's size, memory, work and oldest runtimes, one line each."""
    runtimes = [f"{name} {first or 'none'}" for name, first in result["min_runtimes"].items()]
    work = [f"{name} {count:,}" for name, count in result["multiply_adds"].items()]
    arena = result["arena_bytes"]
    loops = ", a loop's body counted once" if result["loops"] else ""
    loops += ", every branch counted" if result["branches"] else ""
    graph = result["bytes_by_kind"]["graph"]
    constants = [f"{name} {size:,}" for name, size in result["bytes_by_dtype"].items()]
    twice = result["duplicate_bytes"]
    facts = {
        "file": f"{result['model_size_bytes']:,} bytes, {result['zip_size_bytes']:,} as zip, "
        f"{result['zstd_size_bytes']:,} as zstd; {graph:,} for the graph",
        "constants": join(constants) + (f"; {twice:,} bytes of them twice" if twice else ""),
        "activations": "not planned" if arena is None else f"at least {arena:,} bytes at the peak",
        "multiply-adds": (join(work) or "none") + loops,
        "ops": join(f"{name} {count}" for name, count in result["ops"].items()),
        "oldest runtimes": join(runtimes),
    }
    return "\n".join(
        "\n".join(wrap(f"{name:<16}{text}", WIDTH, subsequent_indent=" " * 16))
        for name, text in facts.items()
    )


def format_coverage(result: dict[str, Any]) -> str:
    """Returns for each target how many ops run there, and why others do not where they are few."""
    lines = []
    for target, entry in result["coverage"].items():
        refused = entry["refused"]
        total = entry["runs"] + sum(row["count"] for row in refused)
        lines.append(f"{target:<16}{entry['runs']} of {total} ops ({entry['basis']})")
        for row in refused[:MAX_REASONS]:
            text = f"{row['op']} × {row['count']}: {row['reason']}"
            lines += wrap(text, WIDTH, initial_indent=" " * 18, subsequent_indent=" " * 20)
        if len(refused) > MAX_REASONS:
            lines.append(f"{'':<18}and {len(refused) - MAX_REASONS} more; --format json has all")
    return "\n".join(lines)


def join(parts: Any) -> str:
    """Returns parts as a list in a line."""
    return ", ".join(parts)
