"""This machine → its fingerprint, load and peak memory; what cannot be known is None."""

from __future__ import annotations

import os
import platform
import re
import sys
from typing import Any, Dict, List, Optional


def read_fingerprint(root: str = "/") -> Dict[str, Any]:
    """Returns what the measured speed depends on, and nothing that names its owner.

    Args:
        root: Where `/proc` and `/sys` are looked for; another folder in tests.

    Returns:
        `machine`, `cpu_model`, `board`, `num_cores`, `affinity` (cores this process may use),
        `governors`, `frequencies_hz` (now), `max_frequencies_hz`, `memory_bytes`, `os`, `python`.
        Lists are in the order of the cores. A value that the system does not give is None.
    """
    return {
        "machine": platform.machine() or None,
        "cpu_model": _cpu_model(root),
        "board": _board(root),
        "num_cores": os.cpu_count(),
        "affinity": read_affinity(),
        "governors": read_governors(root),
        "frequencies_hz": read_frequencies(root),
        "max_frequencies_hz": _frequencies(root, "cpuinfo_max_freq"),
        "memory_bytes": _memory_bytes(root),
        "os": platform.platform() or None,
        "python": f"{platform.python_implementation()} {sys.version.split()[0]}",
    }


def read_affinity() -> Optional[List[int]]:
    """Returns the cores that this process may run on, or None where the system does not say."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    return sorted(os.sched_getaffinity(0))


def count_usable_cores() -> int:
    """Returns how many cores this process may run on; 1 when nothing is known."""
    affinity = read_affinity()
    return len(affinity) if affinity else os.cpu_count() or 1


def read_governors(root: str = "/") -> Optional[List[str]]:
    """Returns the frequency governor of each core, or None (virtual machines have none)."""
    found = [_read(path) for path in _cpufreq_files(root, "scaling_governor")]
    known = [text for text in found if text]
    return known or None


def read_frequencies(root: str = "/") -> Optional[List[int]]:
    """Returns the present clock of each core in hertz, or None."""
    return _frequencies(root, "scaling_cur_freq")


def read_load_average() -> Optional[float]:
    """Returns the mean number of running processes over the last minute, or None."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None


def read_peak_memory(root: str = "/") -> Optional[int]:
    """Returns the largest resident size this process has had, in bytes, or None.

    From VmHWM of /proc/self/status, which counts shared libraries too.
    """
    return _kilobytes(os.path.join(root, "proc/self/status"), "VmHWM")


def _memory_bytes(root: str) -> Optional[int]:
    return _kilobytes(os.path.join(root, "proc/meminfo"), "MemTotal")


def _kilobytes(path: str, key: str) -> Optional[int]:
    match = re.search(rf"^{key}:\s*([0-9]+) kB", _read(path) or "", re.MULTILINE)
    return int(match.group(1)) * 1024 if match else None


def _cpu_model(root: str) -> Optional[str]:
    """x86 says "model name"; ARM says "Hardware" at best, else the numbers of its cores."""
    text = _read(os.path.join(root, "proc/cpuinfo")) or ""
    for key in ("model name", "Hardware", "cpu model"):
        match = re.search(rf"^{key}\s*:\s*(.+)$", text, re.MULTILINE)
        if match:
            return match.group(1).strip()
    parts = sorted(set(re.findall(r"^CPU part\s*:\s*(\S+)", text, re.MULTILINE)))
    return "CPU part " + ", ".join(parts) if parts else platform.processor() or None


def _board(root: str) -> Optional[str]:
    for path in ("proc/device-tree/model", "sys/devices/virtual/dmi/id/product_name"):
        text = (_read(os.path.join(root, path)) or "").strip("\x00 \n")
        if text:
            return text
    return None


def _frequencies(root: str, name: str) -> Optional[List[int]]:
    """The kernel gives kilohertz."""
    found = [_read(path) for path in _cpufreq_files(root, name)]
    known = [int(text) * 1000 for text in found if text and text.isdigit()]
    return known or None


def _cpufreq_files(root: str, name: str) -> List[str]:
    folder = os.path.join(root, "sys/devices/system/cpu")
    try:
        cores = [entry for entry in os.listdir(folder) if re.fullmatch("cpu[0-9]+", entry)]
    except OSError:
        return []
    cores.sort(key=lambda entry: int(entry[3:]))
    return [os.path.join(folder, core, "cpufreq", name) for core in cores]


def _read(path: str) -> Optional[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return None
