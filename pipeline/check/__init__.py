"""Anybody's .tflite file → whether it loads and runs whole, and what it is made of; nothing is run.

Everything is read from the flatbuffer: no TensorFlow and no runtime is imported.
"""

from __future__ import annotations

from tfpipe.check.preflight import check, inspect_tflite
from tfpipe.check.text import format_check
from tfpipe.verb import make_callable

make_callable(__name__, check)

__all__ = ["check", "format_check", "inspect_tflite"]
