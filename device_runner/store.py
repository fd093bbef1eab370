"""Files from the host → a folder here that keeps each content once, whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
import uuid
from typing import Any, Callable, Collection, Dict, List, Optional, Sequence, Tuple

from device_runner import schema
from device_runner.files import sha256_of_file, write_json_atomic
from device_runner.schema import shorten

# What no deployment needs and nobody has used for a week goes; so do the leftovers of a power cut.
KEEP_UNUSED_S = 7 * 24 * 3600.0
# By as much a file ages at most from one session to the next, however far the clock went.
_LONGEST_STEP_S = 24 * 3600.0
_CHUNK_BYTES = 1 << 18


class Store:
    """A folder of this user's:

    - `objects/SHA256`: every content that was received;
    - `placed/DIGEST/NAME…`: artifact folders and single files, hard links to objects;
    - `deployed/`: see `device_runner.deployments`;
    - `work/`: what one session needs, gone at its end; `runners/`: zip applications;
    - `unused.json`: see `sweep`.

    Attributes:
        folder: Absolute path.
    """

    def __init__(self, folder: str) -> None:
        self.folder = os.path.abspath(os.path.expanduser(folder))
        for part in ("objects", "placed", "deployed", "work", "runners"):
            os.makedirs(os.path.join(self.folder, part), mode=0o700, exist_ok=True)

    def free_bytes(self) -> int:
        """Returns how much this user may still write there."""
        return shutil.disk_usage(self.folder).free

    def missing(self, digests: Sequence[str]) -> List[str]:
        """Returns those whose content is not here; a damaged object is removed and so missing."""
        absent = []
        for sha256 in digests:
            path = self._object(sha256)
            try:
                if sha256_of_file(path) == sha256:
                    os.utime(path)
                    continue
                os.unlink(path)
            except FileNotFoundError:
                pass
            absent.append(sha256)
        return absent

    def receive(self, sha256: str, num_bytes: int, read: Callable[[int], bytes]) -> None:
        """Stores one content, under a temporary name until it is whole, checked and synced.

        Args:
            sha256: What its digest must be.
            num_bytes: Its size.
            read: Gives the next bytes, at most that many; b"" when the host has gone.

        Raises:
            ValueError: Another digest, or too little room.
            OSError: The disk is full or read-only. All bytes were read all the same, so that the
                host's next message is understood.
        """
        path, left = self._object(sha256), num_bytes
        temporary = self.work_name()
        digest = hashlib.sha256()
        failure: Optional[OSError] = None
        try:
            self._require_room(num_bytes)
            with open(temporary, "xb") as file:
                while left:
                    data = _read_some(read, left)
                    left -= len(data)
                    digest.update(data)
                    file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if digest.hexdigest() != sha256:
                raise ValueError(
                    f"the {num_bytes} bytes that arrived have the SHA-256 {digest.hexdigest()}, "
                    f"the host announced {sha256}. The connection or the disk damages data: try "
                    "again."
                )
            os.replace(temporary, path)
        except OSError as error:
            failure = error
        finally:
            _remove(temporary)
            while left:
                left -= len(_read_some(read, left))
        if failure is not None:
            raise OSError(failure.errno, failure.strerror or str(failure), self.folder)

    def place(self, digest: str, files: Dict[str, str]) -> str:
        """Makes a folder of received contents and returns its path.

        Args:
            digest: Name of the folder; the host derives it from `files`.
            files: Plain file name → SHA-256 of its content.

        Raises:
            ValueError: A name or digest is not one, a content is missing, or what lies on the disk
                is not what was written.
            OSError: The disk is full or read-only.
        """
        require(schema.SHA256, digest, "digest")
        folder = os.path.join(self.folder, "placed", digest)
        if self._differing(folder, files):
            shutil.rmtree(folder, ignore_errors=True)
            temporary = self.work_name()
            os.mkdir(temporary, 0o700)
            try:
                for name, sha256 in files.items():
                    require(schema.PLAIN_NAME, name, "name")
                    _link_or_copy(self._object(sha256), os.path.join(temporary, name))
                os.rename(temporary, folder)
            except OSError:
                if self._differing(folder, files):  # else another session was faster
                    raise
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
            damaged = self._differing(folder, files)
            if damaged:
                raise ValueError(
                    f"{os.path.join(folder, damaged[0])} has another SHA-256 than was written. "
                    "The disk damages data: use another one."
                )
        os.utime(folder)
        return folder

    def sweep(self, needed: Collection[str] = ()) -> None:
        """Removes what nobody has used for a while.

        A device's clock may be wrong when it starts, and jump. So a file's time says only whether
        it was used since the last sweep. What was not ages by the time between the two, from 0 to a
        day; these ages are kept in `unused.json`.

        Args:
            needed: Digests of placed folders that stay all the same.
        """
        ledger = os.path.join(self.folder, "unused.json")
        now = time.time()
        last, before = _read_ledger(ledger, now)
        step = min(max(now - last, 0.0), _LONGEST_STEP_S)
        ages: Dict[str, List[float]] = {}
        for part in ("placed", "work", "objects", "runners"):
            for entry in list(os.scandir(os.path.join(self.folder, part))):
                status = entry.stat(follow_symlinks=False)
                stamp, age = before.get(entry.name, (None, 0.0))
                age = age + step if stamp == status.st_mtime else 0.0
                shared = part == "objects" and status.st_nlink > 1
                if age > KEEP_UNUSED_S and entry.name not in needed and not shared:
                    _remove(entry.path)
                else:
                    ages[entry.name] = [status.st_mtime, age]
        with contextlib.suppress(OSError):  # a full disk must not end the session
            write_json_atomic(ledger, {"time": now, "ages": ages})

    def _object(self, sha256: str) -> str:
        require(schema.SHA256, sha256, "sha256")
        return os.path.join(self.folder, "objects", sha256)

    def work_name(self) -> str:
        """Returns an unused path on the same file system, for what is not whole yet."""
        return os.path.join(self.folder, "work", uuid.uuid4().hex)

    def _require_room(self, num_bytes: int) -> None:
        free = self.free_bytes()
        if num_bytes > free:
            raise ValueError(
                f"{num_bytes} bytes do not fit into {self.folder}: {free} are free on this "
                "device. Free some there, or give another folder."
            )

    def _differing(self, folder: str, files: Dict[str, str]) -> List[str]:
        """Returns the names whose content in `folder` is missing or another."""
        differing = []
        for name, sha256 in files.items():
            try:
                if sha256_of_file(os.path.join(folder, name)) != sha256:
                    differing.append(name)
            except OSError:
                differing.append(name)
        return differing


def _read_ledger(path: str, now: float) -> Tuple[float, Dict[str, List[float]]]:
    """Returns the time of the last sweep, and for each name its file's time and its age."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        ages = {name: [float(kept[0]), float(kept[1])] for name, kept in found["ages"].items()}
        return float(found["time"]), ages
    except (OSError, ValueError, TypeError, LookupError, AttributeError):  # none yet, or damaged
        return now, {}


def require(kind: schema.Kind, value: Any, name: str) -> None:
    """Refuses what the host may not ask for.

    Raises:
        ValueError: `value` is not of that kind.
    """
    if not kind[1](value):
        raise ValueError(f"{name}={shorten(value)}, expected {kind[0]}. Use this tfpipe's runner.")


def _read_some(read: Callable[[int], bytes], left: int) -> bytes:
    data = read(min(left, _CHUNK_BYTES))
    if not data:
        raise EOFError("the host has gone")
    return data


def _link_or_copy(source: str, target: str) -> None:
    if not os.path.isfile(source):
        raise ValueError(f"{os.path.basename(source)} was not received. Send it first.")
    try:
        os.link(source, target)
    except OSError:  # such as on Android, whose shell may not link
        shutil.copyfile(source, target)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:  # a folder, or gone already
        shutil.rmtree(path, ignore_errors=True)
