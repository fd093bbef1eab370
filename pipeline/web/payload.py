"""The JSON that a page sends, none of it trusted → checked values, or what is wrong with it."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_runner import schema
from device_runner.artifact import Artifact
from device_runner.schema import shorten
from device_runner.turn import Measurement

ACCELERATORS = ("wasm", "webgpu")
_TIMES: schema.Kind = (
    "a list of integers from 0 to 2^53",
    lambda v: isinstance(v, list) and all(type(item) is int and 0 <= item < 2**53 for item in v),
)
_NUMBER: schema.Kind = ("an integer from 0 to 2^53", lambda v: type(v) is int and 0 <= v < 2**53)
_MEASUREMENT: dict[str, schema.Kind] = {
    "first_invoke_ns": _NUMBER,
    "warmup_runs": _NUMBER,
    "warmup_ns": _NUMBER,
    "latencies_ns": _TIMES,
    "measured_ns": _NUMBER,
    "dropped_runs": _NUMBER,
    "end_to_end_ns": _TIMES,
    "tokenize_ns": _TIMES,
    "end_to_end_invoke_ns": _TIMES,
    "decode_ns": _TIMES,
    "capped": (
        "a list of texts",
        lambda v: isinstance(v, list) and all(schema.TEXT[1](item) for item in v),
    ),
}
ENGINE: dict[str, schema.Kind] = {
    "accelerator": (" or ".join(ACCELERATORS), lambda v: v in ACCELERATORS),
    "num_threads": schema.COUNT,
    "adapter": schema.OPTIONAL_TEXT,
    "is_software_gpu": schema.BOOLEAN,
}
BROWSER: dict[str, schema.Kind] = {
    "user_agent": schema.TEXT,
    "num_cores": ("a count or null", lambda v: v is None or schema.COUNT[1](v)),
    "is_cross_origin_isolated": schema.BOOLEAN,
}
TIMER: dict[str, schema.Kind] = {"timer_overhead_ns": _NUMBER, "timer_resolution_ns": _NUMBER}
BENCH: dict[str, schema.Kind] = {
    "engine": schema.OBJECT,
    "browser": schema.OBJECT,
    "init_ns": _TIMES,
    "measurements": schema.LIST,
    "timer": schema.OBJECT,
    "was_hidden": schema.BOOLEAN,
}
_OUTPUTS: dict[str, schema.Kind] = {
    "token_ids": ("lists of integers", lambda v: isinstance(v, list)),
    "outputs": ("lists of numbers", lambda v: isinstance(v, list)),
}


def check_result(value: Any, kinds: dict[str, schema.Kind], where: str) -> dict[str, Any]:
    """Returns the checked keys of an object that a page sent; others are left out.

    Raises:
        ValueError: Not an object, or a value is not what it must be.
    """
    if not isinstance(value, dict):
        raise ValueError(
            f"the page's {where} is {shorten(value)}, expected an object. Load the page again."
        )
    for key, (expected, accepts) in kinds.items():
        if key not in value or not accepts(value[key]):
            raise ValueError(
                f"the page's {where}: {key}={shorten(value.get(key))}, expected {expected}. Load "
                "the page again."
            )
    return {key: value[key] for key in kinds}


def read_engine(payload: Any) -> dict[str, Any]:
    """Returns the accelerator, threads and adapter of a page's result.

    Raises:
        ValueError: The page sent something else.
    """
    found = check_result(payload, {"engine": schema.OBJECT}, "result")
    return check_result(found["engine"], ENGINE, "engine")


def read_measurement(value: Any) -> Measurement:
    """Returns the measurement in what the page sent.

    Raises:
        ValueError: A value is of another kind, or the parts of end-to-end runs differ in number.
    """
    found = check_result(value, _MEASUREMENT, "measurement")
    parts = ("end_to_end_ns", "tokenize_ns", "end_to_end_invoke_ns", "decode_ns")
    if len({len(found[part]) for part in parts}) > 1:
        raise ValueError(
            "the page's measurement has end-to-end runs without all of their parts. Load the page "
            "again."
        )
    times = {key: array("q", found[key]) for key in ("latencies_ns", *parts)}
    return Measurement(**{**found, **times})


def read_outputs(payload: Any, artifact: Artifact) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Returns int32 `(n, sequence_length)` and float32 `(n, num_classes)` of what a page sent.

    Raises:
        ValueError: Something else, or an output that is not finite.
    """
    found = check_result(payload, _OUTPUTS, "result")
    manifest = artifact.manifest
    try:
        token_ids = np.array(found["token_ids"], np.int32).reshape(-1, manifest.sequence_length)
        # JSON has null for NaN.
        outputs = np.array(found["outputs"], np.float32).reshape(-1, manifest.num_classes)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"{manifest.name} gave outputs in the browser that are no table of finite numbers "
            f"({error}). Verify it with --device local first."
        ) from error
    if len(outputs) != len(token_ids) or not np.isfinite(outputs).all():
        raise ValueError(
            f"{manifest.name} gave {len(outputs)} rows of outputs in the browser for "
            f"{len(token_ids)} texts, or some that are not finite. Verify it with --device local "
            "first."
        )
    return token_ids, outputs
