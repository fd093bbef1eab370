"""An ssh address → the OpenSSH client's command line, and why such a command ended."""

from __future__ import annotations

import os

from tfpipe.devices.address import Address

# Under sh, bash, zsh, fish and csh alike: no character in the quotes means anything to them.
BOOTSTRAP = "'import sys; exec(sys.stdin.buffer.readline())'"
_OPTIONS = (
    "BatchMode=yes",  # no question that nobody answers
    "StrictHostKeyChecking=yes",  # whatever the user's configuration says
    "ConnectTimeout=10",
    # A device that is switched off is noticed after 15 s.
    "ServerAliveInterval=5",
    "ServerAliveCountMax=3",
    "ClearAllForwardings=yes",
    "ForwardAgent=no",
    "ForwardX11=no",
    "RequestTTY=no",
    "EscapeChar=none",
    "LogLevel=ERROR",
)


def ssh_command(address: Address) -> list[str]:
    """Returns the client's command that starts the device's Python on a line of stdin."""
    config = address.ssh_config or os.environ.get("TFPIPE_SSH_CONFIG", "")
    command = ["ssh", "-T", *(["-F", config] if config else [])]
    for option in _OPTIONS:
        command += ["-o", option]
    if address.port is not None:
        command += ["-p", str(address.port)]
    target = f"{address.user}@{address.host}" if address.user else address.host
    return [*command, "--", target, f"{address.python} -c {BOOTSTRAP}"]


def explain_ssh(address: Address, code: int, said: str) -> str:
    """Returns why an ssh command ended, and what helps."""
    port = f"-p {address.port} " if address.port is not None else ""
    by_hand = f"ssh {port}{address.user + '@' if address.user else ''}{address.host}"
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in said:
        return (
            "the host key is another than the known one: another device has this address, or "
            f"it was set up anew. Compare its key, then: ssh-keygen -R HOST, and {by_hand} once."
        )
    if "Host key verification failed" in said:
        return f"the host key is not known. Connect once by hand and compare it: {by_hand}"
    if "Permission denied" in said:
        return (
            "it accepts none of your keys. Put one there (ssh-copy-id), or name the right one as "
            "IdentityFile in ~/.ssh/config; passwords are never asked for."
        )
    if code in (126, 127):
        return (
            f"{address.python} is not there or cannot run (exit code {code}). Install Python 3.7 "
            "or newer on the device, or give its path with --device-python."
        )
    if code == 255:
        return f"no connection, or it was cut. Check that this works: {by_hand} true"
    return f"Python ended with code {code} there. Check that this works: {by_hand} {address.python}"
