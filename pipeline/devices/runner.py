"""Command line of a runner's process → the JSON that it printed, or one clear error."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

# What a runtime says before it dies is at the end.
_SHOWN_CHARS = 2000


class RunnerDiedError(ValueError):
    """A signal ended the runner: the runtime crashed, or the system killed it."""


def run_process(
    command: Sequence[str], *, time_limit_s: float, environment: Mapping[str, str] | None = None
) -> Any:
    """Runs one command of the device runner.

    Args:
        command: Program and arguments; no shell reads them.
        time_limit_s: After this many seconds the process is killed.
        environment: Variables that the process has beside those of this one.

    Returns:
        The value of the JSON on the last line of its stdout.

    Raises:
        RunnerDiedError: A signal ended it; the message has the signal and what it last said.
        ValueError: It exited with an error, which becomes the message; or took too long; or
            printed something else.
    """
    shown = shlex.join(command)
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=time_limit_s,
            env={**os.environ, **(environment or {})},
        )
    except subprocess.TimeoutExpired as error:
        raise too_slow(shown, time_limit_s) from error
    return read_outcome(shown, done)


def too_slow(shown: str, time_limit_s: float) -> ValueError:
    """Returns the error for a runner that was stopped at its time limit."""
    return ValueError(
        f"{shown} took more than {time_limit_s:.0f} s and was stopped. Measure fewer artifacts "
        "at once or with --profile quick, or look whether the device hangs."
    )


def read_outcome(shown: str, done: subprocess.CompletedProcess[bytes]) -> Any:
    """Returns the JSON that a runner printed before it ended; raises as `run_process` does.

    Args:
        shown: The command, for messages.
        done: How it ended.
    """
    said = done.stderr.decode("utf-8", "replace").strip()
    if done.returncode < 0:
        raise RunnerDiedError(
            f"{shown} was ended by {_signal_name(-done.returncode)}. {_likely_cause(done)} Its "
            f"last words: {said[-_SHOWN_CHARS:] or 'none'}"
        )
    if done.returncode != 0:
        # The runner's own message; what the runtime logged before it is noise.
        start = said.rfind("Error: ")
        raise ValueError(
            said[start + len("Error: ") :]
            if start >= 0
            else f"{shown} exited with code {done.returncode}, expected 0. It said: "
            f"{said[-_SHOWN_CHARS:] or 'nothing'}"
        )
    # "\n" alone: a text in the JSON may hold other line ends.
    last = done.stdout.decode("utf-8", "replace").rstrip("\n").split("\n")[-1]
    try:
        return json.loads(last)
    except ValueError as error:
        raise ValueError(
            f"{shown} printed {last[:200]!r}, expected JSON. Use the device_runner of this tfpipe."
        ) from error


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _likely_cause(done: subprocess.CompletedProcess[bytes]) -> str:
    if -done.returncode == signal.SIGKILL:
        return "The system may have run out of memory: use a smaller model or free some."
    return (
        "The TFLite runtime crashed on this file: check that it is whole, export it again, or try "
        "another runtime version."
    )
