"""A benchmark's result → the same, with what the runtime's profiler says of each op."""

from __future__ import annotations

from typing import Any

from tfpipe.devices import Device, DeviceLostError, RunnerDiedError

# Starting Python and compiling the model a second time.
_START_S = 120.0
# Of one profiled call of a large model on a slow device.
_CALL_S = 2.0


def profile_ops(
    device: Device,
    result: dict[str, Any],
    texts: str,
    num_runs: int,
    failures: list[dict[str, str]],
) -> None:
    """Adds `op_profile` to a result, in a process of its own; where it cannot be had, it is None
    and `op_profile_reason` says why.

    Args:
        device: Where it was measured.
        result: Of the runner's `bench`.
        texts: File of texts for it, or "" for none.
        num_runs: Profiled calls.
        failures: Gets {"artifact", "error"} where the runtime died of it or the device was lost.
    """
    path = result["artifact"]
    words = ["ops", "--num-threads", str(result["num_threads"]), "--runs", str(num_runs)]
    words += ["--delegate", result["delegate"]] if "delegate" in result else []
    words += [f"--texts={texts}"] if texts else []
    result.update(op_profile=None, op_profile_reason=None)
    try:
        limit = _START_S + 2 * num_runs * _CALL_S
        result["op_profile"] = device.run([*words, "--", path], time_limit_s=limit)
    except (RunnerDiedError, DeviceLostError) as error:
        result["op_profile_reason"] = str(error)
        failures.append({"artifact": path, "error": f"{path}: no per-op profile: {error}"})
    except ValueError as error:
        result["op_profile_reason"] = str(error)
