"""A command's call → which of its options were written there, and an error for those in vain."""

from __future__ import annotations

from collections.abc import Collection

import click
from click.core import ParameterSource


def given_options(names: Collection[str]) -> list[str]:
    """Returns those of the present command's options that stand on its command line.

    Args:
        names: The options' parameters, such as "num_threads".

    Returns:
        As they are written: "--num-threads", or "--no-scan" for a switch that is off.
    """
    context = click.get_current_context()
    found = []
    for option in context.command.params:
        if option.name in names and is_given(str(option.name)):
            is_off = option.secondary_opts and not context.params[option.name]
            found.append((option.secondary_opts if is_off else option.opts)[0])
    return found


def is_given(name: str) -> bool:
    """Returns whether an option of the present command, by its parameter, stands on its line."""
    source = click.get_current_context().get_parameter_source(name)
    return source is ParameterSource.COMMANDLINE


def refuse_in_vain(names: Collection[str], reason: str) -> None:
    """Refuses options that this call would ignore.

    Args:
        names: The options' parameters.
        reason: Why they change nothing here, and what to do instead.

    Raises:
        UsageError: One of them stands on the command line.
    """
    given = given_options(names)
    if given:
        raise click.UsageError(f"{', '.join(given)} would change nothing here: {reason}")
