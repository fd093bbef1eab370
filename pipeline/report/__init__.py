"""Run folder → report.html, report.json, report.md and a table for the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from device_runner.files import write_file_atomic, write_json_atomic
from tfpipe.report.collect import collect
from tfpipe.report.markdown import render_markdown
from tfpipe.report.page import render_page
from tfpipe.report.terminal import format_table
from tfpipe.verb import make_callable

__all__ = ["format_table", "write_report"]


def write_report(run: str | Path) -> dict[str, Any]:
    """Writes report.html, report.json and report.md into a run folder, each atomically.

    The same run folder always gives the same bytes: no clock is read.

    Args:
        run: Run folder; what it lacks (exports, bench, history), the report says.

    Returns:
        The content of report.json; its keys are documented in `tfpipe.report.collect`.

    Raises:
        ValueError: Not a run folder, or one of its files is damaged; the message names the file.
        OSError: The folder cannot be read or written.
    """
    run_path = Path(run)
    report = collect(run_path)
    page, markdown = render_page(report), render_markdown(report)
    write_json_atomic(run_path / "report.json", report)
    write_file_atomic(run_path / "report.md", markdown.encode("utf-8"))
    write_file_atomic(run_path / "report.html", page.encode("utf-8"))
    return report


make_callable(__name__, write_report)
