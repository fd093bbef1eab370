"""A device's name → how the host runs device_runner on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from tfpipe.devices.local import LocalDevice
from tfpipe.devices.runner import RunnerDiedError as RunnerDiedError


class Device(Protocol):
    """Where artifacts are run.

    Attributes:
        name: As the user gave it, such as "local".
        kind: "native", "emulated" or "software-gpu"; numbers of different kinds never compare.
    """

    name: str
    kind: str

    def run(self, arguments: Sequence[str], *, time_limit_s: float) -> Any:
        """Runs `python -m device_runner ARGUMENTS…` there and returns the JSON it prints.

        Args:
            arguments: Command and options; the paths in them are the host's.
            time_limit_s: After this many seconds the runner is killed.

        Raises:
            RunnerDiedError: A signal ended it, such as a crash of the runtime.
            ValueError: It refused, with its own message, or took too long.
        """


# The part of a device's name before the first ":" → what makes the device from the whole name.
DEVICES: dict[str, Callable[[str], Device]] = {"local": LocalDevice}


def open_device(name: str) -> Device:
    """Returns the device of that name.

    Raises:
        ValueError: There is no such kind of device.
    """
    kind = name.split(":", 1)[0]
    if kind not in DEVICES:
        raise ValueError(f"device={name!r} is unknown. Use one of: {', '.join(sorted(DEVICES))}.")
    return DEVICES[kind](name)
