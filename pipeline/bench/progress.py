"""A measurement that runs elsewhere → how long it has gone on, on stderr."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import TextIO

from device_runner.profiles import Profile, expected_ns

# A line of a log is worth less than one on a terminal, which replaces the last.
_EVERY_S = {True: 1.0, False: 15.0}


class BenchProgress:
    """Shows elapsed and expected time while its block runs, whatever device measures.

    A line that changes every second on a terminal; elsewhere a line every 15 seconds, so that a
    short measurement writes nothing. The expected time is that of the profile with short calls,
    without starting Python and loading models.

    Args:
        profile: What is measured with.
        num_artifacts: How many are measured.
        stream: Where to write; None is stderr.
        every_s: Seconds between two lines; None chooses.
    """

    def __init__(
        self,
        profile: Profile,
        num_artifacts: int,
        *,
        stream: TextIO | None = None,
        every_s: float | None = None,
    ) -> None:
        self._text = f"measuring, profile {profile.name}"
        self._expected_s = expected_ns(profile, num_artifacts) / 1e9
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._every_s = _EVERY_S[self._live] if every_s is None else every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._show, daemon=True)

    def __enter__(self) -> BenchProgress:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        if self._live:
            self._write("\r\033[K")

    def _show(self) -> None:
        started = time.monotonic()
        while not self._over.wait(self._every_s):
            elapsed = time.monotonic() - started
            line = f"{self._text}: {elapsed:.0f} s, expected about {self._expected_s:.0f} s"
            self._write(f"\r\033[K{line}" if self._live else f"{line}\n")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
