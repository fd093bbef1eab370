"""A module and its main function → the module itself can be called: `tfpipe.train(...)`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


def make_callable(module_name: str, function: Callable[..., Any]) -> None:
    """Lets `module(...)` mean `function(...)`.

    The steps of the road are both files (`tfpipe/train.py`, `tfpipe/export/`) and verbs of the
    Python API, and Python binds one name for both: importing the file would hide the function.
    """

    class Verb(ModuleType):
        """A module that is also the verb of its name."""

        __call__ = staticmethod(function)
        __doc__ = function.__doc__

    sys.modules[module_name].__class__ = Verb
