"""This machine as a device: device_runner in a process of its own, which may crash."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from tfpipe.devices.runner import run_process
from tfpipe.devices.software_gpu import gpu_environment


class LocalDevice:
    """The machine that tfpipe itself runs on, with the same Python and its runtime.

    Attributes:
        name: "local".
        kind: "native".
    """

    kind = "native"

    def __init__(self, name: str = "local") -> None:
        if name != "local":
            raise ValueError(f"device={name!r} names no other machine. Use 'local'.")
        self.name = name

    def run(self, arguments: Sequence[str], *, time_limit_s: float) -> Any:
        """Runs a command of device_runner; see `tfpipe.devices.Device`."""
        # -P: nothing in the user's present folder may stand in for a module of the runner.
        command = [sys.executable, "-P", "-m", "device_runner", *arguments]
        return run_process(command, time_limit_s=time_limit_s, environment=gpu_environment())
