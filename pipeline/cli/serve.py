"""The command that serves a page: options → an address on stdout, until it is interrupted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tfpipe.cli.output import format_lines, format_option, print_result
from tfpipe.cli.paths import ARTIFACT, FILE


@click.command()
@click.argument("artifacts", nargs=-1, required=True, type=ARTIFACT)
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0: also for others.")
@click.option(
    "--port",
    default=8765,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="0 takes a free one.",
)
@click.option("--texts", type=FILE, help="Texts to measure with; else the run's test split.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File for what the page measures; else nothing is kept.",
)
@format_option
def serve(artifacts: tuple[Path, ...], output_format: str, **options: Any) -> None:
    """Serve a page that runs artifacts in a browser, predicts as you type, and measures.

    Only this machine reaches it, unless --host says otherwise: then the address has a token, new
    at every start. Ends with Ctrl-C.

    \b
    Example:
      tfpipe serve runs/topics/exports/web-float16
    """
    import threading

    from tfpipe.bench.table import format_bench
    from tfpipe.serve import serve

    def announce(result: dict[str, Any]) -> None:
        click.echo(format_bench({"results": [result], "failures": []}), err=True)

    with serve(artifacts, announce=announce, **options) as server:
        print_result(
            {"address": server.address, "artifacts": list(map(str, artifacts))},
            output_format,
            format_lines,
        )
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            click.echo("Stopped.", err=True)
