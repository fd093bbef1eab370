"""An artifact folder → a device that keeps it, checked there, and can go back to the one before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from device_runner.artifact import read_artifact
from tfpipe.devices import open_device
from tfpipe.devices.remote import RemoteDevice, digest_of, files_of, place, run_there
from tfpipe.devices.session import Session
from tfpipe.verb import make_callable

TIME_LIMIT_S = 300.0


def deploy(
    artifact: str | Path, *, device: str, name: str | None = None, undo: bool = False
) -> dict[str, Any]:
    """Copies an artifact to a device, proves it there and makes it the current one of its name.

    Only files that the device lacks are sent. They arrive under temporary names; digests are
    checked as they lie on its disk; then, if the device has a TFLite runtime, its goldens. Only
    after that the link `deployed/NAME/current` is moved, in one step.

    Args:
        artifact: The folder.
        device: "ssh://…", "adb…" or a configured name.
        name: Name on the device; None takes the artifact's own.
        undo: Go back to the version that was current before; nothing is sent.

    Returns:
        `artifact`, `name`, `device`, `device_kind`, `path` (of the link on the device), `current`
        and `previous` (digests), `sent_bytes`, and `goldens`: "passed", or why they were not
        checked; None for `undo`.

    Raises:
        ValueError: The artifact is not whole, the device is this machine or cannot be reached, a
            digest or a golden differs there, or there is nothing to go back to. The current
            version stays.
        OSError: A file cannot be read.
    """
    target = open_device(device)
    if not isinstance(target, RemoteDevice):
        raise ValueError(
            f"device={device!r} keeps no artifacts, expected one that is reached by ssh or adb. "
            "Here, use the folder itself."
        )
    folder = Path(artifact)
    called = name or read_artifact(folder, check_digests=False).manifest.name
    with target.connect() as session:
        goldens = None
        if undo:
            placed, _ = session.request({"op": "deploy", "name": called})
        else:
            files = files_of(folder)
            path = place(session, files)
            goldens = check_goldens(session, target.python, path, folder)
            request = {"op": "deploy", "name": called, "digest": digest_of(files)}
            placed, _ = session.request(request)
    return {
        "artifact": str(artifact),
        "name": called,
        "device": target.name,
        "device_kind": target.kind,
        **placed,
        "sent_bytes": session.sent_bytes,
        "goldens": goldens,
    }


def check_goldens(session: Session, python: str, path: str, artifact: Path) -> str:
    """Runs a placed artifact's goldens on the device.

    Args:
        session: The connection.
        python: The device's Python.
        path: The placed folder.
        artifact: The same folder here, for messages.

    Returns:
        "passed", or "not checked: " and why the device cannot run a model.

    Raises:
        ValueError: They fail, or the runtime refuses the file or crashes on it.
    """
    info = run_there(session, python, ["info"], TIME_LIMIT_S, {})
    if info["runtime"] is None:
        return f"not checked: {info['message']}"
    run_there(session, python, ["verify", "--", path], TIME_LIMIT_S, {path: str(artifact)})
    return "passed"


make_callable(__name__, deploy)
