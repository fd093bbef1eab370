"""An address → a headless Chromium that has it open, its profile its own, until it is left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

# The user's choice of a browser that takes Chromium's flags.
VARIABLE = "TFPIPE_BROWSER"
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Nothing but the page: no first run, no service that looks for news.
_FLAGS = (
    "--headless=new --no-first-run --no-default-browser-check --disable-dev-shm-usage "
    "--disable-background-networking --disable-component-update --disable-sync --disable-quic "
    "--disable-breakpad --disable-extensions --mute-audio --window-size=1280,900"
)
# On Linux it is off otherwise. Where there is no GPU, Chromium then takes SwiftShader.
WEBGPU_FLAGS = ("--enable-unsafe-webgpu",)
_SAID_BYTES = 1500
# Linux' way to end a program with the one that started it, killed or not (util-linux).
_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL")


class Chromium:
    """A running browser.

    Attributes:
        program: What was started.
    """

    def __init__(self, program: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.program = program
        self._process, self._log = process, log

    def ended(self) -> str | None:
        """Returns how the browser ended and its last words; None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        said = self._log.read_bytes()[-_SAID_BYTES:].decode("utf-8", "replace").strip()
        return f"ended with code {code}. Its last words: {said or 'none'}"


@contextmanager
def open_chromium(address: str, flags: Sequence[str] = ()) -> Iterator[Chromium]:
    """Opens an address in a Chromium of its own; leaving the block ends it and all its processes.

    Raises:
        FileNotFoundError: There is no Chromium.
    """
    program = find_chromium()
    # Chromium refuses to run as root with its sandbox; the page is ours alone.
    as_root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        log = Path(folder) / "log.txt"
        profile = f"--user-data-dir={folder}/profile"
        bound = _WITH_PARENT if shutil.which(_WITH_PARENT[0]) else ()
        command = [*bound, program, *_FLAGS.split(), *as_root, *flags, profile, address]
        with log.open("wb") as said:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        try:
            yield Chromium(program, process, log)
        finally:
            _end(process)


def find_chromium() -> str:
    """Returns the path of the browser to start.

    Raises:
        FileNotFoundError: There is none.
    """
    chosen = os.environ.get(VARIABLE)
    for name in (chosen,) if chosen else PROGRAMS:
        found = shutil.which(name)
        if found:
            return found
    what = f"{VARIABLE}={chosen} is no program" if chosen else f"none of {', '.join(PROGRAMS)} is"
    raise FileNotFoundError(
        f"{what} on the PATH, and the page is measured in a Chromium. Install it, such as: apt "
        f"install chromium; or name one with {VARIABLE}; or open `tfpipe serve` in any browser."
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the browser with its children, which are in a process group of their own."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
