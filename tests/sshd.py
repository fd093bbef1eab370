"""A real sshd of this user's on a port of loopback, with keys and files of its own."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SSHD = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


@dataclass
class Sshd:
    """A running server.

    Attributes:
        address: What `--device` takes.
        folder: Where its user's home is and where files on the "device" go.
        config: The client's configuration, with the right key and known hosts.
        process: The server.
    """

    address: str
    folder: Path
    config: Path
    process: subprocess.Popen[bytes]

    def connections(self) -> list[int]:
        """Process ids of the server's children, one a connection."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def cut(self) -> None:
        """Ends every connection at once, as a board that is unplugged."""
        for pid in self.connections():
            os.kill(pid, signal.SIGKILL)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running_sshd(folder: Path, *, python: str = sys.executable) -> Iterator[Sshd]:
    """Starts a server; `python` is what the device calls python3."""
    folder.chmod(0o700)
    (folder / "bin").mkdir()
    (folder / "bin" / "python3").write_text(f'#!/bin/sh\nexec {python} "$@"\n')
    (folder / "bin" / "python3").chmod(0o755)
    for name in ("host", "user"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True)
    port = free_port()
    lines = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": folder / "host",
        "PidFile": folder / "pid",
        "AuthorizedKeysFile": folder / "user.pub",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "StrictModes": "no",
        "PrintMotd": "no",
        "MaxStartups": "100",
        "SetEnv": f"PATH={folder / 'bin'}:/usr/bin:/bin HOME={folder}",
    }
    config = folder / "sshd_config"
    config.write_text("".join(f"{key} {value}\n" for key, value in lines.items()))
    assert SSHD is not None
    log = folder / "sshd.log"
    if os.geteuid() == 0:  # what a system's own sshd finds made
        Path("/run/sshd").mkdir(exist_ok=True)
    # Absolute names: the server changes to / and runs itself again.
    process = subprocess.Popen([SSHD, "-D", "-f", str(config), "-E", str(log)])
    key = (folder / "host.pub").read_text().split()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {key[0]} {key[1]}\n")
    client = folder / "ssh_config"
    client.write_text(
        f"IdentityFile {folder / 'user'}\nIdentitiesOnly yes\n"
        f"UserKnownHostsFile {folder / 'known_hosts'}\nGlobalKnownHostsFile none\n"
    )
    try:
        wait_for_port(port, process, log)
        address = f"ssh://{getpass.getuser()}@127.0.0.1:{port}"
        yield Sshd(address, folder, client, process)
    finally:
        process.terminate()
        process.wait()


def wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(100):
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError(f"no server on port {port}: {log.read_text()}")
