"""A .tflite model whose ops changed → the oldest runtime that has them, recorded in its file."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfpipe.check.parse import read_model
from tfpipe.check.runtimes import min_tensorflow
from tfpipe.export.pack import content_of, pack_model

MIN_RUNTIME_KEY = b"min_runtime_version"


def with_min_runtime(model: Any) -> bytes:
    """Returns the packed file of a `schema.ModelT`, in which its oldest runtime is recorded."""
    data = pack_model(model)
    oldest = min_tensorflow(read_model(data).codes)
    entry = find_entry(model)
    if entry is None or oldest is None:
        return data
    model.buffers[entry.buffer].data = np.frombuffer(oldest.encode(), np.uint8)
    return pack_model(model)


def raise_min_runtime(merged: Any, model: Any) -> None:
    """Records the newer one of two models' oldest runtimes in the first of them."""
    entries = find_entry(merged), find_entry(model)
    if entries[0] is None or entries[1] is None:
        return
    ours, theirs = merged.buffers[entries[0].buffer], model.buffers[entries[1].buffer]
    if version_of(theirs) > version_of(ours):
        ours.data = theirs.data


def find_entry(model: Any) -> Any:
    """Returns the metadata in which the runtime is recorded; None where the converter left none."""
    found = model.metadata or ()
    return next((entry for entry in found if entry.name == MIN_RUNTIME_KEY), None)


def version_of(buffer: Any) -> list[int]:
    """Returns the numbers of a release that is written into a buffer, such as b"2.17.0"."""
    text = content_of(buffer).rstrip(b"\0").decode("ascii")
    return [int(part) for part in text.split(".")]
