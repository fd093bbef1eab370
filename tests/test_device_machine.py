"""Tests of the fingerprint, read from folders laid out as devices have them."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from device_runner import machine

# A Raspberry Pi 4 as its kernel shows it, shortened.
PI_CPUINFO = """processor\t: 0
BogoMIPS\t: 108.00
CPU implementer\t: 0x41
CPU part\t: 0xd08

processor\t: 1
CPU part\t: 0xd08

Revision\t: c03111
"""


def lay_out(root: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(root)


def test_board_is_read_as_it_says(tmp_path: Path) -> None:
    cpu = "sys/devices/system/cpu"
    root = lay_out(
        tmp_path,
        {
            "proc/cpuinfo": PI_CPUINFO,
            "proc/meminfo": "MemTotal:        3884420 kB\nMemFree:  1 kB\n",
            "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.1\x00",
            f"{cpu}/cpu0/cpufreq/scaling_governor": "ondemand\n",
            f"{cpu}/cpu0/cpufreq/scaling_cur_freq": "600000\n",
            f"{cpu}/cpu0/cpufreq/cpuinfo_max_freq": "1500000\n",
            f"{cpu}/cpu1/cpufreq/scaling_governor": "performance\n",
            f"{cpu}/cpu10/cpufreq/scaling_governor": "powersave\n",
            f"{cpu}/cpufreq/policy0/scaling_governor": "not a core\n",
        },
    )
    found = machine.read_fingerprint(root)
    assert found["board"] == "Raspberry Pi 4 Model B Rev 1.1"
    assert found["cpu_model"] == "CPU part 0xd08"
    assert found["governors"] == ["ondemand", "performance", "powersave"]
    assert found["frequencies_hz"] == [600_000_000]
    assert found["max_frequencies_hz"] == [1_500_000_000]
    assert found["memory_bytes"] == 3884420 * 1024


def test_what_cannot_be_known_is_none(tmp_path: Path) -> None:
    found = machine.read_fingerprint(str(tmp_path))
    unknown = ("board", "governors", "frequencies_hz", "max_frequencies_hz", "memory_bytes")
    assert [found[key] for key in unknown] == [None] * 5
    assert machine.read_peak_memory(str(tmp_path)) is None


def test_this_machine_is_described() -> None:
    found = machine.read_fingerprint()
    assert found["machine"] == platform.machine()
    assert found["num_cores"] == os.cpu_count()
    assert found["python"].endswith(platform.python_version())
    assert machine.count_usable_cores() >= 1


def test_fingerprint_does_not_name_its_owner() -> None:
    text = repr(machine.read_fingerprint())
    assert platform.node() not in text


def test_x86_says_its_model(tmp_path: Path) -> None:
    root = lay_out(tmp_path, {"proc/cpuinfo": "model name\t: Some CPU @ 2 GHz\nmodel name\t: x\n"})
    assert machine.read_fingerprint(root)["cpu_model"] == "Some CPU @ 2 GHz"


def test_peak_memory_is_the_kernels_high_water_mark(tmp_path: Path) -> None:
    root = lay_out(tmp_path, {"proc/self/status": "VmPeak:\t 9 kB\nVmHWM:\t   1234 kB\n"})
    assert machine.read_peak_memory(root) == 1234 * 1024


def test_system_without_load_average_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "getloadavg")
    assert machine.read_load_average() is None


def test_system_without_affinity_counts_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert machine.read_affinity() is None
    assert machine.count_usable_cores() == os.cpu_count()
