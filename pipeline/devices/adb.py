"""An adb address → the adb client's command line, why it ended, and what is attached."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from tfpipe.devices.address import Address
from tfpipe.devices.ssh import BOOTSTRAP

# The one folder that Android's shell user may write to and run programs from.
ADB_FOLDER = "/data/local/tmp/tfpipe"
_LIST_LIMIT_S = 30.0


@dataclass(frozen=True)
class Attached:
    """One line of `adb devices -l`.

    Attributes:
        serial: Serial number, or address.
        state: "device" when it can be used, else such as "unauthorized" or "offline".
        model: As the device calls itself, or "".
    """

    serial: str
    state: str
    model: str


def adb_command(address: Address) -> list[str]:
    """Returns the client's command that starts the device's Python on a line of stdin."""
    # -T: no terminal, so that every byte passes as it is (shell protocol 2, Android 7 and newer).
    return [*adb_client(address), "shell", "-T", f"exec {address.python} -c {BOOTSTRAP}"]


def adb_client(address: Address) -> list[str]:
    """Returns the client's command up to its own subcommand."""
    return ["adb", *(["-s", address.serial] if address.serial else [])]


def explain_adb(address: Address, code: int, said: str) -> str:
    """Returns why an adb command ended, and what helps."""
    if "unauthorized" in said:
        return "it does not trust this computer. Unlock it and accept the key that it shows."
    if "more than one" in said:
        return "several are attached. Name one: adb:SERIAL, as `adb devices` shows it."
    if "no devices" in said:
        return "none is attached. Plug one in, switch on USB debugging, look at `adb devices`."
    if code in (126, 127) or f"{address.python}: " in said:
        return (
            f"{address.python} is not there or cannot run (exit code {code}). Android brings no "
            "Python: give the path of one with --device-python, or measure with --benchmark-model."
        )
    if "not found" in said or "offline" in said:
        return "it is not attached, or asleep. Look at `adb devices`; `adb connect` for Wi-Fi."
    return f"the connection was cut (exit code {code}). Look at the cable and at `adb devices`."


def list_attached() -> list[Attached]:
    """Returns what `adb devices -l` shows; nothing when adb is not installed.

    Raises:
        ValueError: adb fails or hangs.
    """
    try:
        done = subprocess.run(
            ["adb", "devices", "-l"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_LIST_LIMIT_S,
        )
    except FileNotFoundError:
        return []
    except subprocess.TimeoutExpired as error:
        raise ValueError(
            f"`adb devices` took more than {_LIST_LIMIT_S:.0f} s, the limit. Run `adb "
            "kill-server`, then try again."
        ) from error
    if done.returncode:
        said = " ".join(done.stderr.decode("utf-8", "replace").split())
        raise ValueError(
            f"`adb devices` ended with exit code {done.returncode}, expected 0: {said[-300:]}. "
            "Run `adb kill-server`, then try again."
        )
    return parse_attached(done.stdout.decode("utf-8", "replace"))


def parse_attached(text: str) -> list[Attached]:
    """Returns the devices that the output of `adb devices -l` names.

    >>> parse_attached("List of devices attached\\n0a1 device product:p model:Pixel_8 device:d\\n")
    [Attached(serial='0a1', state='device', model='Pixel_8')]
    """
    attached = []
    for line in text.split("\n"):
        words = line.split()
        if len(words) < 2 or line.startswith(("List of devices", "*")):
            continue
        known = dict(word.partition(":")[::2] for word in words[2:])
        attached.append(Attached(words[0], words[1], known.get("model", "")))
    return attached
