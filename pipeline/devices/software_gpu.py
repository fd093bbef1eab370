"""This machine → the environment in which LiteRT finds a GPU, a software one if need be."""

from __future__ import annotations

import os
from pathlib import Path

# Where Vulkan's loader looks for drivers, and where Chromium keeps SwiftShader, a software one,
# with a loader of its own. Dawn, in the accelerator, refuses Mesa's lavapipe before 23.
SYSTEM_DRIVERS = (Path("/usr/share/vulkan/icd.d"), Path("/etc/vulkan/icd.d"))
CHROMIUM_FOLDERS = tuple(
    map(Path, ("/usr/lib/chromium", "/usr/lib/chromium-browser", "/opt/google/chrome"))
)
SOFTWARE_DRIVER = "vk_swiftshader_icd.json"


def gpu_environment() -> dict[str, str]:
    """Returns the variables that lead to SwiftShader where no Vulkan driver is installed.

    Nothing is changed where the user has chosen a driver with VK_ICD_FILENAMES or
    VK_DRIVER_FILES, where the system has one, or where there is no Chromium either.
    """
    chosen = os.environ.get("VK_ICD_FILENAMES") or os.environ.get("VK_DRIVER_FILES")
    if chosen or any(any(folder.glob("*.json")) for folder in SYSTEM_DRIVERS):
        return {}
    for folder in CHROMIUM_FOLDERS:
        if (folder / SOFTWARE_DRIVER).is_file():
            paths = [str(folder), os.environ.get("LD_LIBRARY_PATH", "")]
            return {
                "VK_ICD_FILENAMES": str(folder / SOFTWARE_DRIVER),
                "LD_LIBRARY_PATH": ":".join(filter(None, paths)),
            }
    return {}
