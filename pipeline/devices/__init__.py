"""A device's name → how the host runs device_runner on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from tfpipe.devices.adb import ADB_FOLDER, adb_command, explain_adb
from tfpipe.devices.address import (
    Address,
    configuration_file,
    configured_names,
    parse_address,
)
from tfpipe.devices.local import LocalDevice
from tfpipe.devices.remote import RemoteDevice
from tfpipe.devices.runner import RunnerDiedError as RunnerDiedError
from tfpipe.devices.session import DeviceLostError as DeviceLostError
from tfpipe.devices.ssh import explain_ssh, ssh_command

_SSH_FOLDER = "~/.cache/tfpipe"


class Device(Protocol):
    """Where artifacts are run.

    Attributes:
        name: As the user gave it, such as "local".
        kind: "native", "emulated", "browser" or "software-gpu"; numbers of different kinds never
            compare.
    """

    name: str
    kind: str

    def run(self, arguments: Sequence[str], *, time_limit_s: float) -> Any:
        """Runs `python -m device_runner ARGUMENTS…` there and returns the JSON it prints.

        Args:
            arguments: Command and options; the paths in them are the host's. What follows "--" is
                paths of artifacts or models.
            time_limit_s: After this many seconds the runner is killed.

        Raises:
            RunnerDiedError: A signal ended it, such as a crash of the runtime.
            DeviceLostError: The device cannot be reached, went away, hangs or answers garbage.
            ValueError: It refused, with its own message, or took too long.
        """


def _open_browser(address: Address) -> Device:
    # Imported for this device alone: its web server takes a third of a second.
    from tfpipe.devices.browser import BrowserDevice

    return BrowserDevice(address)


# What stands in a device's name before the first ":" → what makes the device from its address.
DEVICES: dict[str, Callable[[Address], Device]] = {
    "local": lambda address: LocalDevice(address.name, address.runtime),
    "browser": _open_browser,
    "adb": lambda address: RemoteDevice(address, adb_command(address), explain_adb, ADB_FOLDER),
    "ssh": lambda address: RemoteDevice(address, ssh_command(address), explain_ssh, _SSH_FOLDER),
}


def open_device(name: str) -> Device:
    """Returns the device of that name; nothing is connected before its first use.

    Args:
        name: "local", "ssh://user@host[:port]", "adb[:serial]" or a name from devices.toml, with
            settings after "?"; see `tfpipe.devices.address`.

    Raises:
        ValueError: There is no such kind of device, or the name has characters it may not have.
    """
    address = parse_address(name)
    if address.kind not in DEVICES:
        kinds = ", ".join(sorted(DEVICES))
        names = ", ".join(configured_names()) or "none"
        raise ValueError(
            f"device={name!r} is unknown. Use one of: {kinds}, such as ssh://user@host "
            f"or adb:SERIAL, or a name from {configuration_file()} (there: {names})."
        )
    return DEVICES[address.kind](address)
