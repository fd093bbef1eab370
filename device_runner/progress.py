"""Phases of a long measurement → a line on stderr every few seconds: how far it is."""

from __future__ import annotations

import time
from typing import Any, Callable

from device_runner.profiles import Profile, expected_ns

EVERY_S = 5.0


class ProgressLines:
    """Writes how long measuring has gone on; a short one writes nothing.

    Args:
        profile: What is measured with.
        num_artifacts: How many are measured.
        stream: Where the lines go.
        clock: Returns seconds.
    """

    def __init__(
        self,
        profile: Profile,
        num_artifacts: int,
        stream: Any,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._name = profile.name
        self._expected_s = expected_ns(profile, num_artifacts) / 1e9
        self._stream = stream
        self._clock = clock
        self._started = clock()
        self._next = self._started + EVERY_S

    def __call__(self, phase: str) -> None:
        """Writes a line if the last one is long enough ago.

        Args:
            phase: What is going on.
        """
        now = self._clock()
        if now < self._next:
            return
        self._next = now + EVERY_S
        self._stream.write(
            f"profile {self._name}, {phase}: {now - self._started:.0f} s of about "
            f"{self._expected_s:.0f} s\n"
        )
        self._stream.flush()
