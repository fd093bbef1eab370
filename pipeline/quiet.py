"""TensorFlow's start-up notices → nowhere, so that a command's stderr holds its own words."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Sends what native code writes to stderr to nowhere; a Python exception still shows.

    For the import of TensorFlow and its search for GPUs: it prints notices about oneDNN and CUDA
    before its own log level is read (TF_CPP_MIN_LOG_LEVEL does not silence them in 2.21).
    """
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def import_tensorflow() -> None:
    """Imports TensorFlow and lets it look for GPUs, without its notices."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with quiet_stderr():
        import tensorflow as tf

        tf.config.list_physical_devices("GPU")
