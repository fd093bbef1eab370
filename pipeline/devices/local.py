"""This machine as a device: device_runner in a process of its own, which may crash."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfpipe.devices.environment import Runtime, environment_python
from tfpipe.devices.runner import run_process
from tfpipe.devices.runner_zip import runner_bytes
from tfpipe.devices.software_gpu import gpu_environment


class LocalDevice:
    """The machine that tfpipe itself runs on, with its own runtime or another one.

    Attributes:
        name: "local".
        kind: "native".
        runtime: Another runtime, in an environment of its own; None for that of this Python.

    Raises:
        NoEnvironmentError: Made with a runtime that this machine cannot have.
    """

    kind = "native"

    def __init__(self, name: str = "local", runtime: Runtime | None = None) -> None:
        if name != "local":
            raise ValueError(f"device={name!r} names no other machine. Use 'local'.")
        self.name, self.runtime = name, runtime
        self._python = environment_python(runtime) if runtime else Path(sys.executable)

    def run(self, arguments: Sequence[str], *, time_limit_s: float) -> Any:
        """Runs a command of device_runner; see `tfpipe.devices.Device`."""
        environment = gpu_environment()
        if self.runtime is None:
            # -P: nothing in the user's present folder may stand in for a module of the runner.
            command = [str(self._python), "-P", "-m", "device_runner", *arguments]
            return run_process(command, time_limit_s=time_limit_s, environment=environment)
        with tempfile.TemporaryDirectory() as work:
            runner = Path(work) / "runner.pyz"
            runner.write_bytes(runner_bytes())
            command = [str(self._python), str(runner), *arguments]
            return run_process(command, time_limit_s=time_limit_s)
