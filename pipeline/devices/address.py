"""What a user calls a device → its kind, where it is, and the settings that belong to it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import environ
from pathlib import Path

from tfpipe.devices.environment import Runtime, parse_runtime

# Nothing that a shell or a client's option parser could take for something else.
_HOST = re.compile(r"(?:([A-Za-z0-9_][A-Za-z0-9_.-]*)@)?([A-Za-z0-9][A-Za-z0-9._-]*)(?::([0-9]+))?")
_HOST6 = re.compile(r"(?:([A-Za-z0-9_][A-Za-z0-9_.-]*)@)?\[([0-9A-Fa-f:]+)\](?::([0-9]+))?")
_SERIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*")
_PATH = re.compile(r"[A-Za-z0-9_.~/+][A-Za-z0-9_.~/+-]*")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_KINDS = {"adb", "browser", "local"}
_KEYS = {"address", "python", "folder", "ssh_config"}


@dataclass(frozen=True)
class Address:
    """Where a device is and what to use there.

    Attributes:
        name: As the user gave it, without settings; it stands in the results.
        kind: "local", "ssh", "adb" or what else comes before the first ":".
        user: Of an ssh device, or "" for the ssh client's own choice.
        host: Of an ssh device.
        port: Of an ssh device, or None for the ssh client's own choice.
        serial: Of an adb device, or "" for the only one.
        python: Path of the device's Python, or a name on its path.
        folder: Where files are kept on the device; "" for the usual place.
        ssh_config: A configuration file for the ssh client, or "" for the user's own.
        runtime: On this machine, another runtime than that of this Python; None for that.
    """

    name: str
    kind: str
    user: str = ""
    host: str = ""
    port: int | None = None
    serial: str = ""
    python: str = "python3"
    folder: str = ""
    ssh_config: str = ""
    runtime: Runtime | None = None


def parse_address(text: str) -> Address:
    """Returns what `local`, `ssh://[user@]host[:port]`, `adb[:serial]` or a configured name means.

    `?python=PATH` and `&folder=PATH` may follow: settings that win over the configured ones; after
    `local` also `?runtime=NAME==VERSION`.

    Raises:
        ValueError: A part has characters that it may not have.
        OSError: The configuration file cannot be read.
    """
    name, _, query = text.partition("?")
    settings = dict(part.partition("=")[::2] for part in query.split("&")) if query else {}
    runtime = settings.pop("runtime", None)
    address = _with_settings(_find(name), settings, {"python", "folder"}, f"device={text!r}")
    if runtime is None:
        return address
    if address.kind != "local":
        raise ValueError(
            f"device={text!r} has a runtime, which only local can choose: a device has the one "
            "that is installed there. Leave it out, or name another Python of the device."
        )
    return replace(address, runtime=parse_runtime(runtime))


def configured_names() -> list[str]:
    """Returns the names in the configuration file, in its order.

    Raises:
        ValueError: The file is damaged.
        OSError: The file cannot be read.
    """
    return list(_read_configuration())


def configuration_file() -> Path:
    """Returns the file that names devices: TFPIPE_DEVICES, or devices.toml of the user's own.

    Never one of the present folder: a downloaded project must not choose programs to run.
    """
    given = environ.get("TFPIPE_DEVICES")
    base = Path(environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return Path(given) if given else base / "tfpipe" / "devices.toml"


def _find(name: str) -> Address:
    # A damaged configuration must not stop what does not need it.
    configured = _read_configuration() if _NAME.fullmatch(name) and name not in _KINDS else {}
    if name in configured:
        table = configured[name]
        where = f"{configuration_file()}: devices.{name}"
        settings = {key: value for key, value in table.items() if key != "address"}
        found = _with_settings(_parse(table["address"]), settings, _KEYS, where)
        return replace(found, name=name)
    return _parse(name)


def _parse(name: str) -> Address:
    kind, _, rest = name.partition(":")
    if kind == "ssh":
        return _parse_ssh(name)
    if kind == "adb" and (rest or name == "adb"):
        if rest and not _SERIAL.fullmatch(rest):
            raise ValueError(
                f"device={name!r} has the serial {rest!r}, expected letters, digits and ._:- and "
                "no - first. Use one that `adb devices` shows."
            )
        return Address(name, kind, serial=rest)
    return Address(name, kind)


def _parse_ssh(name: str) -> Address:
    rest = name[len("ssh://") :] if name.startswith("ssh://") else ""
    found = _HOST.fullmatch(rest) or _HOST6.fullmatch(rest)
    port = int(found[3]) if found and found[3] else None
    if not found or (port is not None and not 1 <= port <= 65535):
        raise ValueError(
            f"device={name!r} is no address, expected ssh://user@host:port of letters, digits and "
            "._- with a port from 1 to 65535. Name anything else in ~/.ssh/config and use that "
            "name as the host."
        )
    return Address(name, "ssh", user=found[1] or "", host=found[2], port=port)


def _with_settings(
    address: Address, settings: dict[str, str], allowed: set[str], where: str
) -> Address:
    for key, value in settings.items():
        if key not in allowed:
            raise ValueError(f"{where} has the key {key!r}. Use: {', '.join(sorted(allowed))}.")
        if key != "ssh_config" and not _PATH.fullmatch(value):
            raise ValueError(
                f"{where} has {key}={value!r}, expected letters, digits and _.~/+- and no - "
                "first. Make a link there with such a name."
            )
    return replace(
        address,
        python=settings.get("python", address.python),
        folder=settings.get("folder", address.folder),
        ssh_config=settings.get("ssh_config", address.ssh_config),
    )


def _read_configuration() -> dict[str, dict[str, str]]:
    path = configuration_file()
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        if environ.get("TFPIPE_DEVICES"):
            raise FileNotFoundError(
                f"TFPIPE_DEVICES={path} is not there. Write the file, or unset the variable."
            ) from error
        return {}
    except ValueError as error:
        raise ValueError(f"{path} is not TOML: {error}. See docs/devices.md.") from error
    devices = content.get("devices", {})
    for name, table in devices.items() if isinstance(devices, dict) else [("", None)]:
        if (
            not _NAME.fullmatch(name)
            or name in {*_KINDS, "all"}
            or not isinstance(table, dict)
            or not {"address"} <= table.keys() <= _KEYS
            or not all(isinstance(value, str) for value in table.values())
        ):
            raise ValueError(
                f"{path}: devices.{name} is {table!r}, expected texts under address and "
                f"{', '.join(sorted(_KEYS - {'address'}))}. See docs/devices.md."
            )
    return devices if isinstance(devices, dict) else {}


def expand_names(
    names: Sequence[str], *, python: str | None = None, runtime: str | None = None
) -> list[str]:
    """Returns the names with "all" replaced by the configured ones, each once, in order.

    Args:
        names: As the user gave them.
        python: A setting that is added to those that are not this machine.
        runtime: A setting that is added to this machine.

    Raises:
        ValueError: There are none, or the configuration file is damaged.
    """
    expanded: list[str] = []
    for name in names:
        expanded += configured_names() if name == "all" else [name]
    if not expanded:
        raise ValueError(
            f"devices={list(names)} are none: {configuration_file()} names no device. Write it, "
            "see docs/devices.md."
        )
    if python is not None:
        expanded = [
            name if name == "local" else f"{name}{'&' if '?' in name else '?'}python={python}"
            for name in expanded
        ]
    if runtime is not None:
        expanded = [f"{name}?runtime={runtime}" if name == "local" else name for name in expanded]
    return list(dict.fromkeys(expanded))
