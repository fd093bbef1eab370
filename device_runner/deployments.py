"""Placed artifact folders of this device → names that point at one of them and the one before."""

from __future__ import annotations

import os
from typing import Any, Dict, Optional, Set

from device_runner import schema
from device_runner.store import Store, require

_CURRENT, _PREVIOUS = "current", "previous"


class Deployments:
    """The links `deployed/NAME/current` and `deployed/NAME/previous` of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def deploy(self, name: str, digest: str) -> Dict[str, Any]:
        """Points `deployed/NAME/current` at a placed folder; what it pointed at is `previous`.

        Returns:
            `path` of the link, and the digests `current` and `previous` (None if there is none).

        Raises:
            ValueError: `name` is not a plain name, or nothing was placed under that digest.
            OSError: The disk is full or read-only.
        """
        require(schema.PLAIN_NAME, name, "name")
        require(schema.SHA256, digest, "digest")
        if not os.path.isdir(os.path.join(self._store.folder, "placed", digest)):
            raise ValueError(f"digest={digest} was not placed, expected a placed one. Place it.")
        folder = os.path.join(self._store.folder, "deployed", name)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        present = self._linked(name, _CURRENT)
        if present not in (None, digest):
            self._point(name, _PREVIOUS, str(present))
        if present != digest:
            self._point(name, _CURRENT, digest)
        return self.read(name)

    def undo(self, name: str) -> Dict[str, Any]:
        """Exchanges `current` and `previous`, and returns what `deploy` returns.

        Raises:
            ValueError: There is nothing to go back to.
        """
        require(schema.PLAIN_NAME, name, "name")
        present, before = self._linked(name, _CURRENT), self._linked(name, _PREVIOUS)
        if present is None or before is None:
            raise ValueError(
                f"{name!r} has {'no' if present is None else 'one'} deployed version here, "
                "expected two. Deploy it first."
            )
        self._point(name, _CURRENT, before)
        self._point(name, _PREVIOUS, present)
        return self.read(name)

    def read(self, name: str) -> Dict[str, Any]:
        """Returns where a deployed name is and which versions it has."""
        return {
            "path": os.path.join(self._store.folder, "deployed", name, _CURRENT),
            "current": self._linked(name, _CURRENT),
            "previous": self._linked(name, _PREVIOUS),
        }

    def needed(self) -> Set[str]:
        """Returns the digests of all placed folders that a link points at."""
        found: Set[str] = set()
        for name in os.listdir(os.path.join(self._store.folder, "deployed")):
            for which in (_CURRENT, _PREVIOUS):
                digest = self._linked(name, which)
                if digest is not None:
                    found.add(digest)
        return found

    def _linked(self, name: str, which: str) -> Optional[str]:
        try:
            target = os.readlink(os.path.join(self._store.folder, "deployed", name, which))
        except OSError:
            return None
        return os.path.basename(target)

    def _point(self, name: str, which: str, digest: str) -> None:
        temporary = self._store.work_name()
        os.symlink(os.path.join("..", "..", "placed", digest), temporary)
        os.replace(temporary, os.path.join(self._store.folder, "deployed", name, which))
