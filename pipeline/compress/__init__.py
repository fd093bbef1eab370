"""A run and what to make of it → a compressed variant beside its base."""

from __future__ import annotations

from tfpipe.compress.variant import compress
from tfpipe.verb import make_callable

__all__ = ["compress"]

make_callable(__name__, compress)
