"""A command that reaches a device → a runner there that answers requests, with bounded waits."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from tfpipe.devices.loader import loader_line
from tfpipe.devices.runner_zip import runner_bytes, runner_sha256

# Connecting, and starting Python on a slow board or under an emulator.
START_LIMIT_S = 120.0
# How long not one byte may move while a file is sent.
STALL_LIMIT_S = 30.0
_GRACE_S = 5.0
_CHUNK_BYTES = 1 << 16
_SHOWN_CHARS = 600
_MAX_LINE_BYTES = 1 << 22
_MAX_REPLY_BYTES = 1 << 28


class DeviceLostError(ValueError):
    """The device cannot be reached, went away, hangs, or answers what is no answer."""


class Session:
    """One connection to a device; leaving it ends everything that it started there.

    Attributes:
        hello: What the runner said first: `python`, `emulation`, `folder`, `work`, `free_bytes`.
        sent_bytes: Bytes given to the connection so far, runner and requests included.
        runner: Path of the zip application on the device.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        folder: str,
        explain: Callable[[int, str], str],
        start_limit_s: float = START_LIMIT_S,
    ) -> None:
        """Starts the runner on the device.

        Args:
            name: The device's, for messages.
            command: Runs `exec(sys.stdin.buffer.readline())` in the device's Python, with its
                stdin and stdout; no shell of this machine reads it.
            folder: Where the runner keeps files on the device; "~" is its user's home.
            explain: Exit code and last words of a command that ended → why, and what helps.
            start_limit_s: How long the runner may take until it first answers.

        Raises:
            DeviceLostError: There is no connection, no Python, or no answer.
            ValueError: The device refused, such as for a full disk.
            OSError: The command's program is not installed.
        """
        self.name = name
        self.sent_bytes = 0
        self._explain = explain
        self._mark = f"tfpipe-{secrets.token_hex(8)}:"
        self._buffer = b""
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, bufsize=0
        )
        try:
            os.set_blocking(self._pipe("stdin"), False)
            os.set_blocking(self._pipe("stdout"), False)
            self.hello = self._start(folder, time.monotonic() + start_limit_s)
        except BaseException:
            self.close()
            raise
        self.runner = f"{self.hello['folder']}/runners/{runner_sha256()}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def request(
        self, message: dict[str, Any], *, data: bytes = b"", time_limit_s: float = STALL_LIMIT_S
    ) -> tuple[dict[str, Any], bytes]:
        """Sends a request with its bytes and returns the reply with its bytes.

        Args:
            message: What `device_runner.serve` understands.
            data: Sent after the message, which holds their number under "bytes".
            time_limit_s: From the last byte sent to the last one received.

        Raises:
            ValueError: The device's own message.
            DeviceLostError: No answer in time, no connection, or garbage.
        """
        self._send((json.dumps(message) + "\n").encode("ascii") + data)
        return self._receive(time.monotonic() + time_limit_s)

    def close(self) -> None:
        """Ends the connection; the runner then ends what it started."""
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()
        try:
            self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._said.close()

    def _start(self, folder: str, deadline: float) -> dict[str, Any]:
        self._send(loader_line(self._mark, folder))
        reply, _ = self._receive(deadline)
        if "need" in reply:
            self._send(runner_bytes())
            reply, _ = self._receive(deadline)
        return reply

    def _send(self, data: bytes) -> None:
        view, stdin = memoryview(data), self._pipe("stdin")
        while view:
            _, ready, _ = select.select([], [stdin], [], STALL_LIMIT_S)
            if not ready:
                raise DeviceLostError(
                    f"{self.name}: {len(view)} bytes left to send, and none moved for "
                    f"{STALL_LIMIT_S:.0f} s. Look whether the device hangs, then try again."
                )
            try:
                count = os.write(stdin, view[:_CHUNK_BYTES])
            except BlockingIOError:
                continue
            except BrokenPipeError:  # it ended; what it said last explains why
                return
            self.sent_bytes += count
            view = view[count:]

    def _receive(self, deadline: float) -> tuple[dict[str, Any], bytes]:
        line = self._read_line(deadline)
        try:
            reply = json.loads(line)
            size = reply.get("bytes", 0)
            if not 0 <= size <= _MAX_REPLY_BYTES:
                raise ValueError(f"bytes={size}")
        except (ValueError, TypeError, AttributeError) as error:
            raise DeviceLostError(
                f"{self.name} answered {line[:80]!r}, expected JSON ({error}). Look at what its "
                "shell or its Python prints, and try again."
            ) from error
        while len(self._buffer) < size:
            self._read_more(deadline)
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        if "error" in reply:
            raise ValueError(f"{self.name}: {reply['error']}")
        return reply, data

    def _read_line(self, deadline: float) -> bytes:
        """Returns what follows the mark; a shell's greeting before it is skipped."""
        mark = self._mark.encode("ascii")
        while True:
            start = self._buffer.find(mark)
            end = self._buffer.find(b"\n", start + len(mark)) if start >= 0 else -1
            if end >= 0:
                line = self._buffer[start + len(mark) : end]
                self._buffer = self._buffer[end + 1 :]
                return line
            if len(self._buffer) > _MAX_LINE_BYTES:
                raise DeviceLostError(
                    f"{self.name} answered {self._buffer[:80]!r} and more, expected the runner's "
                    "answer. Look at what its shell prints when it starts, and try again."
                )
            self._read_more(deadline)

    def _read_more(self, deadline: float) -> None:
        stdout = self._pipe("stdout")
        ready, _, _ = select.select([stdout], [], [], max(deadline - time.monotonic(), 0))
        if not ready:
            raise DeviceLostError(
                f"{self.name} did not answer in time and was given up; what ran there is ended. "
                "Look whether the device hangs, then try again."
            )
        data = os.read(stdout, 1 << 20)
        if not data:
            raise self._lost()
        self._buffer += data

    def _lost(self) -> DeviceLostError:
        """Returns the error for a connection that ended by itself."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_S)
        code = self._process.poll()
        self._said.seek(0)
        said = self._said.read().decode("utf-8", "replace").strip()
        garbage = self._buffer.decode("utf-8", "replace").strip()
        words = " ".join((said or garbage).split())[-_SHOWN_CHARS:]
        why = self._explain(-1 if code is None else code, f"{said}\n{garbage}")
        return DeviceLostError(f"{self.name}: {why} It said: {words or 'nothing'}")

    def _pipe(self, which: str) -> int:
        descriptor: int = getattr(self._process, which).fileno()
        return descriptor
