"""The npm step → the folder of @litertjs/core, of the one version that the page is written for."""

from __future__ import annotations

import json
import os
from pathlib import Path

RUNTIME = "@litertjs/core"
# Holds package.json and package-lock.json; `npm ci` puts node_modules beside them.
NPM_FOLDER = Path(__file__).resolve().parent / "npm"
# Another folder with a node_modules, for an installation that cannot be written to.
VARIABLE = "TFPIPE_WEB_PACKAGES"
# What of the packages the page loads: all else stays on the disk.
SERVED = (
    "@litertjs/core/dist/index.js",
    "@litertjs/core/wasm/*.js",
    "@litertjs/core/wasm/*.wasm",
    "@litertjs/wasm-utils/dist/index.js",
)


def pinned_version() -> str:
    """Returns the version of @litertjs/core that package.json asks for, such as "2.5.3"."""
    content = json.loads((NPM_FOLDER / "package.json").read_text("utf-8"))
    return str(content["dependencies"][RUNTIME])


def find_packages() -> Path:
    """Returns the node_modules folder that holds @litertjs/core.

    Raises:
        FileNotFoundError: The npm step was not done; the message has its command.
        ValueError: Another version is installed there.
    """
    base = Path(os.environ.get(VARIABLE) or NPM_FOLDER)
    fix = (
        f"Run `make web` in a checkout, or: npm ci --ignore-scripts --prefix {NPM_FOLDER} (Node's "
        f"npm downloads 38 MB once). {VARIABLE} names another folder with a node_modules."
    )
    folder = base / "node_modules"
    try:
        found = json.loads((folder / RUNTIME / "package.json").read_text("utf-8"))["version"]
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{folder / RUNTIME} is not there, and the page runs models with it. {fix}"
        ) from error
    if found != pinned_version():
        raise ValueError(
            f"{folder / RUNTIME} is version {found}, the page is written for {pinned_version()}. "
            f"{fix}"
        )
    return folder


def served_files() -> dict[str, Path]:
    """Returns what the page may load of the packages: path below node_modules → file.

    Raises:
        FileNotFoundError: The npm step was not done.
        ValueError: Another version is installed.
    """
    folder = find_packages()
    return {
        path.relative_to(folder).as_posix(): path
        for pattern in SERVED
        for path in sorted(folder.glob(pattern))
    }
