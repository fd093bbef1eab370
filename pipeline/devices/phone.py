"""An adb address → commands and files on a device whose Python is not needed."""

from __future__ import annotations

import hashlib
import secrets
import shlex
import subprocess
import tempfile
from collections.abc import Sequence

from tfpipe.devices.adb import ADB_FOLDER, adb_client, explain_adb
from tfpipe.devices.address import Address
from tfpipe.devices.session import DeviceLostError

_COMMAND_S = 60.0
_SLOWEST_PUSH_BYTES_PER_S = 1e6


class Phone:
    """A device whose only program of ours is what is pushed; adb shell, push and nothing else.

    Attributes:
        address: Where it is.
        folder: Where files are kept, under their SHA-256.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self.folder = address.folder or ADB_FOLDER

    def shell(self, words: Sequence[str], *, time_limit_s: float = _COMMAND_S) -> str:
        """Runs a command there and returns what it printed; adb ends it when this process goes.

        Raises:
            DeviceLostError: The phone is not there, or the command took too long.
            ValueError: The command failed.
        """
        done = self._adb(["shell", "-T", shlex.join(words)], time_limit_s)
        text = (done.stdout + done.stderr).decode("utf-8", "replace")
        if done.returncode:
            if done.stderr.startswith((b"error:", b"adb:")):
                raise self._lost(done.returncode, text)
            raise ValueError(
                f"{shlex.join(words)} ended with exit code {done.returncode}, expected 0. Run it "
                f"by hand on the device. It said: {' '.join(text.split())[-300:] or 'nothing'}"
            )
        return text

    def push(self, data: bytes, *, executable: bool = False) -> str:
        """Makes a file with that content be there and returns its path; sent only if it is not.

        Raises:
            DeviceLostError: The phone is not there or went away.
            ValueError: It has no room, or the content arrived damaged.
        """
        digest = hashlib.sha256(data).hexdigest()
        path, part = f"{self.folder}/{digest}", f"{self.folder}/{secrets.token_hex(8)}.part"
        self.shell(["mkdir", "-p", self.folder])
        if self._digest(path) == digest:
            return path
        try:
            self._push(data, part)
            if self._digest(part) != digest:
                raise ValueError(
                    f"{self.address.name}: {len(data)} bytes arrived with another SHA-256 than "
                    f"{digest}. Try again with another cable."
                )
            self.shell(["chmod", "755" if executable else "644", part])
            self.shell(["mv", part, path])
        except ValueError as error:
            if not isinstance(error, DeviceLostError):
                self.shell(["rm", "-f", part])
            raise
        return path

    def _push(self, data: bytes, path: str) -> None:
        limit = _COMMAND_S + len(data) / _SLOWEST_PUSH_BYTES_PER_S
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            done = self._adb(["push", file.name, path], limit)
        text = (done.stdout + done.stderr).decode("utf-8", "replace")
        if done.returncode:
            said = " ".join(text.split())[-300:]
            if "remote" in text or "space" in text.lower():
                raise ValueError(
                    f"{self.address.name}: {len(data)} bytes could not be written to {path}: "
                    f"{said}. Free some room there."
                )
            raise self._lost(done.returncode, text)

    def _digest(self, path: str) -> str:
        try:
            return self.shell(["sha256sum", path]).split()[0]
        except DeviceLostError:
            raise
        except (ValueError, IndexError):
            return ""

    def _adb(self, words: list[str], limit: float) -> subprocess.CompletedProcess[bytes]:
        command = [*adb_client(self.address), *words]
        try:
            return subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=limit
            )
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"adb is not installed here, and {self.address.name} is reached with it. Install "
                "it, such as: apt install adb"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise DeviceLostError(
                f"{self.address.name}: adb {words[0]} took more than {limit:.0f} s and was ended, "
                "there too. Look whether the device hangs, then try again."
            ) from error

    def _lost(self, code: int, text: str) -> DeviceLostError:
        why = explain_adb(self.address, code, text)
        return DeviceLostError(
            f"{self.address.name}: {why} It said: {' '.join(text.split())[-300:]}"
        )
