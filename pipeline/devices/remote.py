"""A runner's command with paths of the host → the same on another device, and its JSON back."""

from __future__ import annotations

import hashlib
import re
import shlex
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from device_runner.artifact import read_artifact
from device_runner.files import write_file_atomic
from device_runner.manifest import MANIFEST_FILE
from tfpipe.devices.address import Address
from tfpipe.devices.runner import read_outcome, too_slow
from tfpipe.devices.session import DeviceLostError, Session

# Options of the runner whose value is a file to read, or to write.
_INPUTS = ("--texts", "--token-ids", "--file", "--input")
_OUTPUT = "--output"
# A board writes 1 MB/s at worst; the wait for the answer grows with what was sent.
_SLOWEST_BYTES_PER_S = 1e6
_ANSWER_S = 60.0


class RemoteDevice:
    """A device behind a connection; see `tfpipe.devices.Device`.

    Each call is one connection, so that nothing of an earlier one can be left.

    Attributes:
        name: As the user gave it.
        kind: "native", or "emulated" when the device says so; known after the first call.
        sent_bytes: What all calls together sent.
        python: The device's Python: a path, or a name on its path.
    """

    def __init__(
        self,
        address: Address,
        command: Sequence[str],
        explain: Callable[[Address, int, str], str],
        folder: str,
    ) -> None:
        """Names a device; the first call connects.

        Args:
            address: Where it is.
            command: See `Session`.
            explain: Address, exit code and last words of the command → why it ended.
            folder: Where files are kept there, unless the address says otherwise.
        """
        self.name = address.name
        self.kind = "native"
        self.sent_bytes = 0
        self.python = address.python
        self._address = address
        self._command = command
        self._explain = explain
        self._folder = address.folder or folder

    def connect(self) -> Session:
        """Returns a connection, to be left with `with`.

        Raises:
            DeviceLostError: The device cannot be reached or does not answer.
            OSError: The client's program is not installed.
        """
        try:
            session = Session(
                self.name,
                self._command,
                folder=self._folder,
                explain=lambda code, said: self._explain(self._address, code, said),
            )
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{self._command[0]} is not installed here, and {self.name} is reached with it. "
                f"Install it, such as: apt install {_PACKAGES[self._command[0]]}"
            ) from error
        self.kind = "emulated" if session.hello["emulation"] else "native"
        return session

    def run(self, arguments: Sequence[str], *, time_limit_s: float) -> Any:
        """Runs a command of device_runner there; see `tfpipe.devices.Device`.

        Raises:
            DeviceLostError: The connection broke, or the device hangs.
        """
        with self.connect() as session:
            try:
                return self._run(session, list(arguments), time_limit_s)
            finally:
                self.sent_bytes += session.sent_bytes

    def _run(self, session: Session, arguments: list[str], time_limit_s: float) -> Any:
        host_paths: dict[str, str] = {}
        outputs: dict[str, str] = {}
        translated = []
        are_paths = False
        for argument in arguments:
            option, equals, value = argument.partition("=")
            if are_paths or (option in _INPUTS and equals and value):
                given = argument if are_paths else value
                there = upload(session, Path(given))
                host_paths[there] = given
                argument = there if are_paths else f"{option}={there}"
            elif option == _OUTPUT:
                name = f"output{len(outputs)}{Path(value).suffix}"
                outputs[name] = value
                host_paths[f"{session.hello['work']}/{name}"] = value
                argument = f"{option}={session.hello['work']}/{name}"
            are_paths = are_paths or argument == "--"
            translated.append(argument)
        value = run_there(session, self.python, translated, time_limit_s, host_paths)
        for name, path in outputs.items():
            download(session, name, Path(path))
        return value


_PACKAGES = {"ssh": "openssh-client", "adb": "adb"}


def run_there(
    session: Session,
    python: str,
    arguments: Sequence[str],
    time_limit_s: float,
    host_paths: dict[str, str],
) -> Any:
    """Runs a command of device_runner, in which all paths are the device's, and returns its JSON.

    Args:
        session: The connection.
        python: The device's Python.
        arguments: Command and options.
        time_limit_s: After this many seconds the device ends it.
        host_paths: Path there → path here, replaced in the JSON and in messages.

    Raises:
        RunnerDiedError: A signal ended it.
        ValueError: It refused, or took too long.
        DeviceLostError: The connection broke, or the device hangs.
    """
    command = [python, session.runner, *arguments]
    reply, stdout = session.request(
        {"op": "run", "command": command, "time_limit_s": time_limit_s},
        time_limit_s=time_limit_s + _ANSWER_S,
    )
    shown = f"{session.name}: {shlex.join([python, 'runner.pyz', *arguments])}"
    try:
        if reply["timed_out"]:
            raise too_slow(shown, time_limit_s)
        stderr = str(reply["stderr"]).encode()
        done = subprocess.CompletedProcess(command, int(reply["returncode"]), stdout, stderr)
        return _replace_paths(read_outcome(shown, done), host_paths)
    except ValueError as error:
        text = str(error)
        for there, here in host_paths.items():
            text = text.replace(there, here)
        name = "" if text.startswith(session.name) else f"{session.name}: "
        raise type(error)(f"{name}{text}") from error


def upload(session: Session, path: Path) -> str:
    """Makes an artifact folder or a file be there, sending only what is not, and returns its path.

    Raises:
        ValueError: The artifact is not whole, or the device has no room.
        OSError: A file here cannot be read.
    """
    return place(session, files_of(path)) + ("" if path.is_dir() else f"/{plain_name(path)}")


def files_of(path: Path) -> dict[str, bytes]:
    """Returns the files that cross to a device: name → content.

    Raises:
        ValueError: An artifact folder is not whole.
        OSError: A file cannot be read.
    """
    if not path.is_dir():
        return {plain_name(path): path.read_bytes()}
    manifest = read_artifact(path).manifest
    return {name: (path / name).read_bytes() for name in sorted({*manifest.files, MANIFEST_FILE})}


def digest_of(files: dict[str, bytes]) -> str:
    """Returns one SHA-256 for names and contents together."""
    lines = [f"{hashlib.sha256(data).hexdigest()} {name}\n" for name, data in sorted(files.items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def plain_name(path: Path) -> str:
    """Returns a name that any system takes, with the same ending, which says what is inside."""
    suffix = path.suffix if path.suffix in (".tflite", ".jsonl", ".npy") else ".txt"
    stem = re.sub("[^A-Za-z0-9_.-]", "_", path.stem)[:100].lstrip(".-")
    return f"{stem or 'file'}{suffix}"


def place(session: Session, files: dict[str, bytes]) -> str:
    """Makes a folder with these files be there and returns its path; digests are checked there."""
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    contents = {digests[name]: data for name, data in files.items()}
    for sha256 in session.request({"op": "have", "sha256": list(contents)})[0]["missing"]:
        data = contents[sha256]
        session.request(
            {"op": "put", "sha256": sha256, "bytes": len(data)},
            data=data,
            time_limit_s=_ANSWER_S + len(data) / _SLOWEST_BYTES_PER_S,
        )
    total = sum(map(len, files.values()))
    reply, _ = session.request(
        {"op": "place", "digest": digest_of(files), "files": digests},
        time_limit_s=_ANSWER_S + 3 * total / _SLOWEST_BYTES_PER_S,
    )
    return str(reply["path"])


def download(session: Session, name: str, path: Path) -> None:
    """Fetches a file that a command wrote, checks its digest and writes it here, atomically.

    Raises:
        DeviceLostError: What arrived is not what the device announced.
        OSError: The file cannot be written here.
    """
    reply, data = session.request({"op": "get", "name": name}, time_limit_s=10 * _ANSWER_S)
    if reply["sha256"] != hashlib.sha256(data).hexdigest():
        raise DeviceLostError(
            f"{session.name}: {name} arrived with another SHA-256 than {reply['sha256']}. Try "
            "again, or use a better connection."
        )
    write_file_atomic(path, data)


def _replace_paths(value: Any, host_paths: dict[str, str]) -> Any:
    """Returns the JSON value with every text that is a path of the device as the host's path."""
    if isinstance(value, dict):
        return {key: _replace_paths(item, host_paths) for key, item in value.items()}
    if isinstance(value, list):
        if value and isinstance(value[0], int):  # a million samples
            return value
        return [_replace_paths(item, host_paths) for item in value]
    return host_paths.get(value, value) if isinstance(value, str) else value
