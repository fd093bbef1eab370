"""Tests of what a device says about itself, on made-up systems of known boards and phones."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest
from boards import write_script

from device_runner import hardware
from device_runner.emulation import find_emulation

PI_CPUINFO = "".join(
    f"processor\t: {core}\nBogoMIPS\t: 108.00\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n\n"
    for core in range(4)
)


def write(root: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(root)


@pytest.fixture(autouse=True)
def no_android(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A path without Android's programs; a test may write its own there."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return tmp_path / "bin"


def test_raspberry_pi_is_described(tmp_path: Path) -> None:
    root = write(
        tmp_path / "pi",
        {
            "proc/cpuinfo": PI_CPUINFO,
            "proc/meminfo": "MemTotal:  3884396 kB\nMemAvailable:  3000000 kB\n",
            "proc/device-tree/compatible": "raspberrypi,4-model-b\0brcm,bcm2711\0",
            "sys/devices/system/cpu/cpufreq/policy0/related_cpus": "0 1 2 3\n",
            "sys/devices/system/cpu/cpufreq/policy0/cpuinfo_max_freq": "1800000\n",
            "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
            "sys/class/thermal/thermal_zone0/temp": "48199\n",
            "etc/os-release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
        },
    )
    found = hardware.read_hardware(root, str(tmp_path))
    assert found["soc"] == "brcm,bcm2711"
    assert found["clusters"] == [
        {"cores": [0, 1, 2, 3], "part": "0xd08", "max_frequency_hz": 1_800_000_000}
    ]
    assert found["temperatures_celsius"] == {"cpu-thermal": 48.199}
    assert found["os_name"] == "Debian GNU/Linux 12 (bookworm)"
    assert found["free_memory_bytes"] == 3_000_000 * 1024
    assert found["free_disk_bytes"] > 0 and found["battery"] is None


def test_phone_has_clusters_and_a_battery(tmp_path: Path, no_android: Path) -> None:
    getprop = (
        'case "$1" in ro.soc.manufacturer) echo Google;; ro.soc.model) echo Tensor;; '
        "ro.build.version.release) echo 14;; esac"
    )
    write_script(no_android / "getprop", getprop)
    dumpsys = "printf '  AC powered: false\\n  USB powered: true\\n  level: 87\\n'"
    write_script(no_android / "dumpsys", dumpsys)
    base = "sys/devices/system/cpu/cpufreq"
    root = write(
        tmp_path / "phone",
        {
            f"{base}/policy6/related_cpus": "6 7",
            f"{base}/policy6/cpuinfo_max_freq": "2802000",
            f"{base}/policy0/related_cpus": "0 1 2 3",
            f"{base}/policy4/related_cpus": "4 5",
        },
    )
    found = hardware.read_hardware(root)
    assert [item["cores"] for item in found["clusters"]] == [[0, 1, 2, 3], [4, 5], [6, 7]]
    assert found["clusters"][2]["max_frequency_hz"] == 2_802_000_000
    assert found["clusters"][0]["max_frequency_hz"] is None
    assert (found["soc"], found["os_name"]) == ("Google Tensor", "Android 14")
    assert found["battery"] == {"percent": 87, "status": "Charging"}


def test_android_property_that_hangs_or_fails_is_unknown(no_android: Path) -> None:
    write_script(no_android / "getprop", "exit 1")
    assert hardware.read_hardware("/nothing")["soc"] is None


def test_laptop_has_a_battery(tmp_path: Path) -> None:
    supply = "sys/class/power_supply/BAT0"
    files = {f"{supply}/type": "Battery", f"{supply}/capacity": "55", f"{supply}/status": "Full"}
    assert hardware.read_battery(write(tmp_path, files)) == {"percent": 55, "status": "Full"}


def test_kinds_of_cores_without_cpufreq_are_clusters(tmp_path: Path) -> None:
    text = PI_CPUINFO.replace("0xd08", "0xd03", 2)
    clusters = hardware.read_clusters(write(tmp_path, {"proc/cpuinfo": text}))
    assert clusters == [
        {"cores": [0, 1], "part": "0xd03", "max_frequency_hz": None},
        {"cores": [2, 3], "part": "0xd08", "max_frequency_hz": None},
    ]


def test_sensors_of_one_name_are_kept_apart(tmp_path: Path) -> None:
    zones = "sys/class/thermal/thermal_zone"
    files = {f"{zones}{i}/type": "soc" for i in range(2)}
    files.update({f"{zones}0/temp": "41000", f"{zones}1/temp": "43", f"{zones}2/temp": "N/A"})
    found = hardware.read_temperatures(write(tmp_path, files))
    assert found == {"soc": 41.0, "soc (thermal_zone1)": 43.0}


def test_bare_system_is_unknown_not_wrong(tmp_path: Path) -> None:
    found = hardware.read_hardware(str(tmp_path), str(tmp_path / "nothing"))
    assert set(found.values()) == {None}


def test_coral_stick_is_found(tmp_path: Path) -> None:
    usb = "sys/bus/usb/devices/2-1"
    root = write(tmp_path, {f"{usb}/idVendor": "18d1\n", f"{usb}/idProduct": "9302\n"})
    assert hardware.read_delegates(root)["edgetpu"]["devices"] == 1
    assert hardware.read_delegates("/nothing") == {
        "cpu": True,
        "edgetpu": {"library": None, "devices": 0},
    }


def test_this_machine_is_not_emulated() -> None:
    if "QEMU" in Path("/proc/cpuinfo").read_text():
        pytest.skip("this machine is QEMU's")
    assert find_emulation() is None


def test_process_of_qemu_is_emulated(tmp_path: Path) -> None:
    root = write(tmp_path, {"proc/self/comm": "qemu-aarch64-st\n"})
    assert find_emulation(root) == "QEMU user mode (qemu-aarch64-st)"


@pytest.mark.parametrize(
    ("kernel", "machine", "emulated"),
    [
        ("x86_64", "aarch64", True),
        ("aarch64", "armv7l", False),
        ("x86_64", "i686", False),
        ("aarch64", "arm64", False),
        ("", "aarch64", False),
    ],
)
def test_code_for_other_cores_is_emulated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: str, machine: str, emulated: bool
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    found = find_emulation(write(tmp_path, {"proc/sys/kernel/arch": kernel}))
    assert (found is not None) == emulated
    assert found is None or found == f"{machine} code on a kernel for {kernel}"


def test_virtual_processor_of_qemu_is_emulated(tmp_path: Path) -> None:
    text = "model name\t: QEMU Virtual CPU version 2.5+\n"
    assert find_emulation(write(tmp_path, {"proc/cpuinfo": text})) == "a virtual processor of QEMU"


def test_emulator_of_android_is_emulated(tmp_path: Path, no_android: Path) -> None:
    write_script(no_android / "getprop", '[ "$1" = ro.boot.qemu ] && echo 1')
    assert find_emulation(str(tmp_path)) == "Android's emulator (ro.boot.qemu=1)"


def test_command_that_hangs_is_given_up(no_android: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from device_runner import android

    monkeypatch.setattr(android, "_TIME_LIMIT_S", 0.3)
    write_script(no_android / "getprop", "exec sleep 99")
    assert android.read_property("ro.soc.model") is None
    assert os.access(no_android / "getprop", os.X_OK)
