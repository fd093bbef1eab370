"""This machine → why its speed is not that of the hardware it shows, or None."""

from __future__ import annotations

import os
import platform
import re
from typing import Optional

from device_runner.android import read_property

# uname's machine → the other machines whose code the same cores run themselves.
_SAME_CORES = (
    {"x86_64", "amd64", "i386", "i486", "i586", "i686"},
    {"aarch64", "arm64", "armv8l", "armv7l", "armv6l", "arm"},
    {"ppc64", "ppc64le"},
    {"riscv64", "riscv32"},
)


def find_emulation(root: str = "/") -> Optional[str]:
    """Returns what emulates this machine, or None when nothing is known to.

    Four signs are looked for:

    - the name of this process is QEMU's. QEMU's user mode shows a program its own
      `/proc/self/exe`, `cmdline` and `maps`, but the name that the kernel keeps is the emulator's;
    - the kernel's own architecture (`/proc/sys/kernel/arch`, Linux 6.1 and newer) is of other
      cores than the architecture that this process sees;
    - the processor's name is the one QEMU gives to its virtual processors;
    - Android says that it is its own emulator.

    A virtual machine whose code the processor runs itself is not emulated. An emulator that hides
    well is not found.

    Args:
        root: Where `/proc` is looked for; another folder in tests.
    """
    name = _read(os.path.join(root, "proc/self/comm"))
    if re.match(r"qemu-[a-z0-9_]+", name):
        return f"QEMU user mode ({name})"
    seen, own = platform.machine(), _read(os.path.join(root, "proc/sys/kernel/arch"))
    if own and seen and not _same_cores(own, seen):
        return f"{seen} code on a kernel for {own}"
    if re.search(r"QEMU (TCG|Virtual) CPU", _read(os.path.join(root, "proc/cpuinfo"))):
        return "a virtual processor of QEMU"
    for key in ("ro.kernel.qemu", "ro.boot.qemu"):
        if read_property(key) == "1":
            return f"Android's emulator ({key}=1)"
    return None


def _same_cores(first: str, second: str) -> bool:
    names = {first.lower(), second.lower()}
    return len(names) == 1 or any(names <= family for family in _SAME_CORES)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""
