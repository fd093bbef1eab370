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


@contextlib.contextmanager
def setting(name: str, value: str) -> Iterator[None]:
    """Sets an environment variable for the block, if it is not set."""
    was_set = name in os.environ
    os.environ.setdefault(name, value)
    try:
        yield
    finally:
        if not was_set:
            del os.environ[name]


def import_tensorflow() -> None:
    """Imports TensorFlow and lets it look for GPUs, without its notices.

    By default it imports Keras 3 as well, and with that scikit-learn and SciPy, which takes a
    quarter of the time; tf_keras, which the models are made of, is needed anyway.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with quiet_stderr(), setting("TF_USE_LEGACY_KERAS", "1"):
        import tensorflow as tf

        tf.config.list_physical_devices("GPU")
    # Advice to programmers, such as on functions that are traced again for another model.
    tf.get_logger().setLevel("ERROR")
