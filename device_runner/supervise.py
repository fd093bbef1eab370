"""A command line and a time limit → its exit code and output; nothing of it is left running."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import Any, Dict, List, Sequence

# A megabyte a second of measuring is what a benchmark's samples take; more is a runaway.
MAX_OUTPUT_BYTES = 1 << 27
_KEPT_STDERR_BYTES = 4000
# How long a process may take to end by itself once it is told to.
_GRACE_S = 2.0


class HostGoneError(Exception):
    """The host closed the connection, or it broke."""


@dataclass(frozen=True)
class Completed:
    """How a supervised process ended.

    Attributes:
        returncode: As of `subprocess`: negative for a signal.
        stdout: All that it printed.
        stderr: The last bytes of what it said.
        timed_out: Whether it was stopped at the time limit.
    """

    returncode: int
    stdout: bytes
    stderr: bytes
    timed_out: bool


def run_supervised(command: Sequence[str], *, time_limit_s: float, host: int) -> Completed:
    """Runs a command in a process group of its own, which ends with it.

    This process sleeps meanwhile: it wakes when the command says something or ends, at the time
    limit, and when the host goes.

    Args:
        command: Program and arguments.
        time_limit_s: After this many seconds the group is ended.
        host: File descriptor that the host holds open and is silent on; its end means that the
            host has gone.

    Raises:
        HostGoneError: It did; the group was killed.
        ValueError: The command printed more than `MAX_OUTPUT_BYTES`.
        OSError: The program cannot be started.
    """
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    before = signal.signal(signal.SIGCHLD, lambda *_: None)
    before_fd = signal.set_wakeup_fd(wake)
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            return _watch(child, time_limit_s, host, woken)
        finally:
            end_group(child.pid, signal.SIGKILL)
            child.wait()
            for stream in (child.stdout, child.stderr):
                if stream is not None:
                    stream.close()
    finally:
        signal.set_wakeup_fd(before_fd)
        signal.signal(signal.SIGCHLD, before)
        os.close(woken)
        os.close(wake)


def _watch(child: Any, time_limit_s: float, host: int, woken: int) -> Completed:
    out, err = child.stdout.fileno(), child.stderr.fileno()
    said: Dict[int, List[bytes]] = {out: [], err: []}
    streams, deadline, timed_out = [out, err], time.monotonic() + time_limit_s, False
    while child.poll() is None:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            end_group(child.pid, signal.SIGKILL if timed_out else signal.SIGTERM)
            timed_out, deadline = True, time.monotonic() + _GRACE_S
            continue
        ready, _, _ = select.select([host, woken, *streams], [], [], remaining)
        if host in ready:
            raise HostGoneError("the host closed the connection")
        if woken in ready:
            os.read(woken, 4096)
        for stream in [stream for stream in streams if stream in ready]:
            if not _take(stream, said, is_output=stream == out):
                streams.remove(stream)
    end_group(child.pid, signal.SIGKILL)  # so that no grandchild holds the pipes open
    for stream in streams:
        while _take(stream, said, is_output=stream == out):
            pass
    return Completed(child.returncode, b"".join(said[out]), b"".join(said[err]), timed_out)


def _take(stream: int, said: Dict[int, List[bytes]], *, is_output: bool) -> bool:
    """Reads what is there; False at the end of the stream."""
    data = os.read(stream, 1 << 16)
    kept = said[stream]
    kept.append(data)
    if is_output:
        if len(kept) % 256 == 0:
            kept[:] = [b"".join(kept)]
        if sum(map(len, kept)) > MAX_OUTPUT_BYTES:
            raise ValueError(
                f"the command printed more than {MAX_OUTPUT_BYTES} bytes, the limit. Measure "
                "fewer artifacts at once."
            )
    else:
        kept[:] = [b"".join(kept)[-_KEPT_STDERR_BYTES:]]
    return bool(data)


def end_group(group: int, number: int) -> None:
    """Sends a signal to all processes of a group; one that has ended already is as good."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        pass
