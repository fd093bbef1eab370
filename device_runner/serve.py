"""A host's requests on stdin → replies on stdout: store files, run commands of this runner."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sys
import uuid
from typing import Any, BinaryIO, Callable, Dict, Tuple

from device_runner import __version__
from device_runner.deployments import Deployments
from device_runner.emulation import find_emulation
from device_runner.files import sha256_of_file
from device_runner.store import Store
from device_runner.supervise import HostGoneError, run_supervised

Reply = Tuple[Dict[str, Any], bytes]


class Server:
    """Answers one host until it closes the connection.

    A request is a line of JSON with an `op`, after which `bytes` bytes follow where it says so. A
    reply is a line of JSON after the host's mark, then its bytes in the same way. The host sends
    nothing while it waits for a reply, so that the end of stdin can be noticed during a run.

    Attributes:
        store: Where files are kept.
        work: Folder of this session, removed at its end.
    """

    def __init__(self, stdin: BinaryIO, stdout: BinaryIO, mark: str, store: Store) -> None:
        self._stdin = stdin
        self._stdout = stdout
        self._mark = mark.encode("ascii")
        self.store = store
        self._deployments = Deployments(store)
        self.work = os.path.join(store.folder, "work", uuid.uuid4().hex)
        os.mkdir(self.work, 0o700)

    def answer_all(self) -> None:
        """Answers requests until the host goes."""
        operations: Dict[str, Callable[[Dict[str, Any]], Reply]] = {
            "have": self._have,
            "put": self._put,
            "place": self._place,
            "run": self._run,
            "get": self._get,
            "deploy": self._deploy,
        }
        try:
            self.reply(describe(self.store, self.work))
            while True:
                line = self._stdin.readline()
                if not line:
                    return
                request = json.loads(line.decode("utf-8"))
                try:
                    value, data = operations[request["op"]](request)
                except (ValueError, KeyError, OSError) as error:
                    value, data = {"error": explain(error)}, b""
                self.reply(value, data)
        except (HostGoneError, EOFError, BrokenPipeError):
            return
        finally:
            shutil.rmtree(self.work, ignore_errors=True)

    def reply(self, value: Dict[str, Any], data: bytes = b"") -> None:
        """Writes one message."""
        if data:
            value = dict(value, bytes=len(data))
        text = json.dumps(value, allow_nan=False)
        self._stdout.write(self._mark + text.encode("ascii") + b"\n" + data)
        self._stdout.flush()

    def _have(self, request: Dict[str, Any]) -> Reply:
        return {"missing": self.store.missing(request["sha256"])}, b""

    def _put(self, request: Dict[str, Any]) -> Reply:
        self.store.receive(request["sha256"], request["bytes"], self._stdin.read)
        return {}, b""

    def _place(self, request: Dict[str, Any]) -> Reply:
        return {"path": self.store.place(request["digest"], request["files"])}, b""

    def _run(self, request: Dict[str, Any]) -> Reply:
        done = run_supervised(
            request["command"], time_limit_s=request["time_limit_s"], host=self._stdin.fileno()
        )
        value = {
            "returncode": done.returncode,
            "timed_out": done.timed_out,
            "stderr": done.stderr.decode("utf-8", "replace"),
        }
        return value, done.stdout

    def _get(self, request: Dict[str, Any]) -> Reply:
        path = os.path.join(self.work, os.path.basename(request["name"]))
        with open(path, "rb") as file:
            return {"sha256": sha256_of_file(path)}, file.read()

    def _deploy(self, request: Dict[str, Any]) -> Reply:
        if request.get("digest") is None:
            return self._deployments.undo(request["name"]), b""
        return self._deployments.deploy(request["name"], request["digest"]), b""


def describe(store: Store, work: str) -> Dict[str, Any]:
    """Returns the first reply: what the host needs to know before it asks anything."""
    return {
        "runner_version": __version__,
        "python": sys.version.split()[0],
        "emulation": find_emulation(),
        "folder": store.folder,
        "work": work,
        "free_bytes": store.free_bytes(),
    }


def explain(error: Exception) -> str:
    """Returns the message of a failed request, with a fix where the system gives none."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"{error.filename}: no room left on this device ({error.strerror}). Free some there, "
            "or give another folder."
        )
    return str(error) or type(error).__name__


def serve(mark: str, folder: str) -> None:
    """Answers the host on stdin and stdout; ends with it, and lets nothing run on.

    Args:
        mark: What every reply begins with, so that the host tells it from a shell's greeting.
        folder: Where files are kept; "~" is this user's home.
    """
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    # What anything else prints must not stand between the replies.
    stdout = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        store = Store(folder)
        store.sweep(Deployments(store).needed())
        server = Server(sys.stdin.buffer, stdout, mark, store)
    except OSError as error:
        stdout.write((mark + json.dumps({"error": explain(error)}) + "\n").encode("ascii"))
        stdout.flush()
        return
    server.answer_all()


def _leave(number: int, _frame: Any) -> None:
    raise SystemExit(128 + number)
