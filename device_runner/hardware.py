"""This device → what it is made of and how it is now; what cannot be known is None."""

from __future__ import annotations

import ctypes.util
import os
import re
import shutil
from typing import Any, Dict, List, Optional

from device_runner.android import read_command, read_property
from device_runner.emulation import find_emulation

# USB ids of Coral's accelerator before and after its firmware is loaded.
_CORAL_USB = {("1a6e", "089a"), ("18d1", "9302")}


def read_hardware(root: str = "/", folder: str = ".") -> Dict[str, Any]:
    """Returns what a list of devices shows beside `machine.read_fingerprint`.

    Args:
        root: Where `/proc`, `/sys` and `/etc` are looked for; another folder in tests.
        folder: Where `free_disk_bytes` is looked for.

    Returns:
        `soc`, `clusters` (`cores`, `part`, `max_frequency_hz`, smallest core first),
        `temperatures_celsius` (sensor → now), `battery` (`percent`, `status`), `os_name`,
        `free_memory_bytes`, `free_disk_bytes`, `emulation`. What the system does not give is None.
    """
    return {
        "soc": _soc(root),
        "clusters": read_clusters(root),
        "temperatures_celsius": read_temperatures(root),
        "battery": read_battery(root),
        "os_name": _os_name(root),
        "free_memory_bytes": _free_memory(root),
        "free_disk_bytes": _free_disk(folder),
        "emulation": find_emulation(root),
    }


def read_clusters(root: str = "/") -> Optional[List[Dict[str, Any]]]:
    """Returns the groups of cores that share a clock, or, where none is told, a kind of core.

    From `cpufreq/policy*/related_cpus` of sysfs; else from the "CPU part" of `/proc/cpuinfo`.
    """
    parts = _cpu_parts(root)
    base = os.path.join(root, "sys/devices/system/cpu/cpufreq")
    clusters = []
    for policy in _list(base):
        cores = _numbers(_read(os.path.join(base, policy, "related_cpus")))
        limit = _numbers(_read(os.path.join(base, policy, "cpuinfo_max_freq")))
        if cores:
            clusters.append(
                {
                    "cores": cores,
                    "part": parts.get(cores[0]),
                    "max_frequency_hz": limit[0] * 1000 if limit else None,
                }
            )
    for part in sorted(set(parts.values())) if not clusters else []:
        cores = [core for core in parts if parts[core] == part]
        clusters.append({"cores": cores, "part": part, "max_frequency_hz": None})
    return sorted(clusters, key=lambda item: int(item["cores"][0])) or None


def read_temperatures(root: str = "/") -> Optional[Dict[str, float]]:
    """Returns what each thermal zone of sysfs measures, in degrees Celsius, or None."""
    base, found = os.path.join(root, "sys/class/thermal"), {}
    for zone in _list(base):
        text = _read(os.path.join(base, zone, "temp"))
        if zone.startswith("thermal_zone") and re.fullmatch("-?[0-9]+", text):
            name = _read(os.path.join(base, zone, "type")) or zone
            # The kernel's unit is a thousandth; some drivers give whole degrees.
            value = int(text) / 1000 if abs(int(text)) >= 1000 else float(text)
            found[name if name not in found else f"{name} ({zone})"] = value
    return found or None


def read_battery(root: str = "/") -> Optional[Dict[str, Any]]:
    """Returns `percent` and `status` of the battery, or None: there is none, or nobody says."""
    base = os.path.join(root, "sys/class/power_supply")
    for supply in _list(base):
        if _read(os.path.join(base, supply, "type")) == "Battery":
            percent = _numbers(_read(os.path.join(base, supply, "capacity")))
            if percent:
                status = _read(os.path.join(base, supply, "status")) or None
                return {"percent": percent[0], "status": status}
    # Android's shell may not read sysfs there.
    program = shutil.which("dumpsys")
    text = read_command(program, "battery") if program else None
    level = re.search(r"^\s*level: ([0-9]+)", text or "", re.MULTILINE)
    if level is None:
        return None
    charging = re.search(r"^\s*(AC|USB|Wireless) powered: true", text or "", re.MULTILINE)
    return {"percent": int(level.group(1)), "status": "Charging" if charging else "Discharging"}


def read_delegates(root: str = "/") -> Dict[str, Any]:
    """Returns what a model could be run by: "cpu", and what was found of other accelerators.

    `edgetpu`: `library` (of libedgetpu, or None) and `devices` (number of them); both are needed.
    """
    devices = [name for name in _list(os.path.join(root, "dev")) if name.startswith("apex_")]
    usb = os.path.join(root, "sys/bus/usb/devices")
    for name in _list(usb):
        ids = (_read(os.path.join(usb, name, key)) for key in ("idVendor", "idProduct"))
        if tuple(ids) in _CORAL_USB:
            devices.append(name)
    library = ctypes.util.find_library("edgetpu") if devices else None
    return {"cpu": True, "edgetpu": {"library": library, "devices": len(devices)}}


def _soc(root: str) -> Optional[str]:
    maker, model = read_property("ro.soc.manufacturer"), read_property("ro.soc.model")
    if model:
        return f"{maker} {model}" if maker else model
    platform_name = read_property("ro.board.platform")
    if platform_name:
        return platform_name
    base = os.path.join(root, "sys/devices/soc0")
    parts = [_read(os.path.join(base, key)) for key in ("family", "soc_id")]
    if any(parts):
        return " ".join(part for part in parts if part)
    # A device tree lists what the board is compatible with, the chip last.
    names = _read(os.path.join(root, "proc/device-tree/compatible")).strip("\x00").split("\x00")
    return names[-1] or None


def _os_name(root: str) -> Optional[str]:
    release = read_property("ro.build.version.release")
    if release:
        return f"Android {release}"
    text = _read(os.path.join(root, "etc/os-release"))
    match = re.search(r'^PRETTY_NAME="?([^"\n]+)', text, re.MULTILINE)
    return match.group(1) if match else None


def _free_memory(root: str) -> Optional[int]:
    text = _read(os.path.join(root, "proc/meminfo"))
    match = re.search(r"^MemAvailable:\s*([0-9]+) kB", text, re.MULTILINE)
    return int(match.group(1)) * 1024 if match else None


def _free_disk(folder: str) -> Optional[int]:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def _cpu_parts(root: str) -> Dict[int, str]:
    """Returns core → "CPU part" of ARM's cpuinfo."""
    parts: Dict[int, str] = {}
    core = -1
    for line in _read(os.path.join(root, "proc/cpuinfo")).split("\n"):
        key, _, value = (item.strip() for item in line.partition(":"))
        if key == "processor" and value.isdigit():
            core = int(value)
        elif key == "CPU part" and core >= 0:
            parts[core] = value
    return parts


def _numbers(text: str) -> List[int]:
    return [int(word) for word in text.split() if word.isdigit()]


def _list(folder: str) -> List[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""
