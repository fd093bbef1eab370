"""Options that say who teaches, of the commands that train."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from tfpipe.cli.paths import FILE, RUN


def teacher_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --teacher, as `teachers`, and --unlabelled; see `tfpipe.train.teacher.Teaching.of`."""
    for option in (
        click.option(
            "--unlabelled", type=FILE, help="Texts without labels, for teachers to teach with."
        ),
        click.option(
            "--teacher",
            "teachers",
            type=RUN,
            multiple=True,
            help="Run that teaches beside labels, or tfidf.",
        ),
    ):
        function = option(function)
    return function


def refuse_teacher_settings(overrides: Sequence[str], teachers: Sequence[object]) -> None:
    """Refuses `--set train.teacher_…` where nobody teaches.

    Raises:
        UsageError: There is such a setting.
    """
    given = [text for text in overrides if text.strip().startswith("train.teacher_")]
    if given and not teachers:
        raise click.UsageError(
            f"--set {given[0]} would change nothing here: nobody teaches. Give --teacher RUN, or "
            "leave it out."
        )
