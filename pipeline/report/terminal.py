"""report.json dict → an aligned table of at most 100 columns for the terminal."""

from __future__ import annotations

from typing import Any

from tfpipe.report.headline import baseline_sentence, trained_sentence
from tfpipe.report.markdown import missing_parts
from tfpipe.report.results import result_tables
from tfpipe.report.table import (
    TERMINAL_WIDTH,
    Table,
    cut_to_width,
    one_line,
    text_table,
    text_width,
)

# Left out for their width: the artifact's name usually says scheme and lowering, and the Keras
# model has a line of its own.
_LEFT_OUT = ("scheme", "lowering", "target", "Keras", "e2e p50", "memory")


def format_table(report: dict[str, Any]) -> str:
    """Returns the results for a terminal: baselines, one table for each device, reasons below.

    Args:
        report: What `write_report` returns.
    """
    blocks = [_wrap(trained_sentence(report)) + _wrap(baseline_sentence(report))]
    blocks += [_block(table) for table in result_tables(report)]
    blocks += ["".join(_wrap(note) for note in missing_parts(report))]
    return "\n".join(block for block in blocks if block)


def _block(table: Table) -> str:
    kept = [i for i, column in enumerate(table.columns) if column.short not in _LEFT_OUT]
    rows = [[row[i] for i in kept] for row in table.rows]
    lines = [
        _wrap(f"{row[0].text}: {row[-1].text}. {row[-1].note}") for row in rows if row[-1].note
    ]
    small = [cell.short for row in rows for cell in row if cell.short.startswith("n<")]
    if small:
        lines.insert(0, _wrap(f"{', '.join(sorted(set(small)))}: too few measured calls."))
    body = text_table([table.columns[i] for i in kept], rows)
    return _wrap(f"{table.title}. {table.caption}") + body + "".join(lines)


def _wrap(text: str) -> str:
    """Returns `text` in lines of at most `TERMINAL_WIDTH` columns, all but the first indented."""
    lines = [""]
    for word in one_line(text).split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1].strip() else lines[-1] + word
        if text_width(joined) > TERMINAL_WIDTH and lines[-1].strip():
            joined = "  " + word
            lines.append("")
        lines[-1] = joined
    return "".join(f"{cut_to_width(line, TERMINAL_WIDTH)}\n" for line in lines if line)
