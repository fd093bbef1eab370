"""Work that can be interrupted: one process at a time does it, and an error says how to go on."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

if sys.platform != "win32":
    import fcntl


@contextlib.contextmanager
def only_one(path: Path, refusal: str) -> Iterator[None]:
    """Holds `path`, a file that is there, while the block runs. A process that dies lets go of it
    (flock(2)). Windows, and a file system without such locks, keep nobody apart.

    Args:
        path: The file; its content stays as it is.
        refusal: What to say where another process holds it.

    Raises:
        ValueError: Another process holds it.
    """
    with path.open("rb") as file:
        try:
            if sys.platform != "win32":
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(refusal) from None
        except OSError:
            pass  # no such locks here
        yield


@contextlib.contextmanager
def os_errors_named(what: str, way_on: str) -> Iterator[None]:
    """Adds what was being made and the way on to an error of the file system.

    Raises:
        OSError: One was raised within.
    """
    try:
        yield
    except OSError as error:
        raise OSError(
            f"{what} stopped: {error}. Free space or fix the permissions, then {way_on} to go on."
        ) from error
