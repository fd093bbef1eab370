"""What is configured and attached → each device's fingerprint, or why it cannot be reached."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tfpipe.devices import open_device
from tfpipe.devices.adb import list_attached
from tfpipe.devices.address import configured_names, parse_address

TIME_LIMIT_S = 60.0


def list_devices(names: Sequence[str] = ()) -> dict[str, Any]:
    """Asks devices what they are, all at once.

    Args:
        names: Devices; none means this machine, the configured ones and what adb shows.

    Returns:
        `devices`: for each `device`, `reachable`, `device_kind`, what `device_runner info` says
        (`fingerprint`, `hardware`, `runtimes`, `delegates`, …) or None, and `error` or None.

    Raises:
        ValueError: A name is no device's, or the configuration or adb is broken.
        OSError: The configuration cannot be read.
    """
    found = list(names) or ["local", *configured_names()]
    if not names:
        taken = {parse_address(name).serial for name in found}
        found += [f"adb:{item.serial}" for item in list_attached() if item.serial not in taken]
    with ThreadPoolExecutor(max_workers=len(found)) as threads:
        return {"devices": list(threads.map(describe_device, found))}


def describe_device(name: str) -> dict[str, Any]:
    """Returns one device's entry; that it cannot be reached is in it."""
    entry: dict[str, Any] = {"device": name, "reachable": False, "device_kind": None}
    info, error = None, None
    try:
        device = open_device(name)
        entry["device"] = device.name
        info = device.run(["info"], time_limit_s=TIME_LIMIT_S)
        emulated = bool(info["hardware"]["emulation"])
        entry.update(reachable=True, device_kind="emulated" if emulated else "native")
    except (ValueError, OSError) as failure:
        error = str(failure)
    return {**entry, "info": info, "error": error}


def format_devices(result: dict[str, Any]) -> str:
    """Returns a paragraph for each device; "unknown" where it does not say."""
    return "\n\n".join(map(_format_device, result["devices"]))


def _format_device(entry: dict[str, Any]) -> str:
    info = entry["info"]
    if info is None:
        return f"{entry['device']}  not reachable\n  {entry['error']}"
    known, now = info["fingerprint"], info["hardware"]
    clusters = "; ".join(
        f"{len(item['cores'])} x {item['part'] or '?'}"
        + (f" up to {item['max_frequency_hz'] / 1e6:.0f} MHz" if item["max_frequency_hz"] else "")
        for item in now["clusters"] or []
    )
    frequencies = ", ".join(f"{value / 1e6:.0f}" for value in known["frequencies_hz"] or [])
    temperatures = now["temperatures_celsius"] or {}
    battery = now["battery"] or {}
    lines = {
        "processor": known["cpu_model"],
        "board": known["board"],
        "soc": now["soc"],
        "cores": f"{known['num_cores']}{f' ({clusters})' if clusters else ''}",
        "governors": ", ".join(sorted(set(known["governors"] or []))),
        "MHz now": frequencies,
        "temperature": ", ".join(f"{key} {value:.0f} C" for key, value in temperatures.items()),
        "battery": f"{battery['percent']} % {battery['status'] or ''}" if battery else "",
        "system": now["os_name"] or known["os"],
        "python": known["python"],
        "runtimes": ", ".join(f"{item['name']} {item['version']}" for item in info["runtimes"]),
        "delegates": _delegates(info["delegates"]),
        "free memory": _size(now["free_memory_bytes"]),
        "free disk": _size(now["free_disk_bytes"]),
    }
    head = f"{entry['device']}  {entry['device_kind']}"
    if now["emulation"]:
        head += f" ({now['emulation']})"
    body = [f"  {key:<12}{value or 'unknown'}" for key, value in lines.items()]
    return "\n".join([head, *body, *([f"  {info['message']}"] if info["message"] else [])])


def _delegates(found: dict[str, Any]) -> str:
    usable = found["edgetpu"]["library"] and found["edgetpu"]["devices"]
    return "cpu, edgetpu" if usable else "cpu"


def _size(num_bytes: int | None) -> str:
    return "" if num_bytes is None else f"{num_bytes / 2**20:,.0f} MiB"
