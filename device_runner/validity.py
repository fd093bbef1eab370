"""A measurement and the machine's state around it → may the numbers be trusted, and why not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Optional, Sequence, Tuple

from device_runner import machine
from device_runner.percentiles import (
    PERCENTS,
    nearest_rank,
    percentile_interval,
    smallest_sample_count,
)
from device_runner.turn import Measurement

# A change of a fifth is more than the block protocol lets through on an idle machine.
MAX_DRIFT = 0.2
# Below, the 90th percentile of a half is one of its two slowest samples: noise.
_MIN_DRIFT_SAMPLES = 40


@dataclass(frozen=True)
class MachineState:
    """What may disturb a measurement, at one moment.

    Attributes:
        load_average: Running processes over the last minute, or None.
        governors: Frequency governor of each core, or None.
        frequencies_hz: Present clock of each core, or None.
    """

    load_average: Optional[float]
    governors: Optional[List[str]]
    frequencies_hz: Optional[List[int]]


def read_state() -> MachineState:
    """Returns the state of this machine now."""
    return MachineState(
        machine.read_load_average(), machine.read_governors(), machine.read_frequencies()
    )


def judge(
    measurement: Measurement,
    before: MachineState,
    after: MachineState,
    *,
    num_threads: int,
    num_cores: int,
    notes: Sequence[str] = (),
) -> Tuple[str, List[str]]:
    """Returns "valid", "degraded" or "invalid", and the reasons.

    Args:
        measurement: What was measured.
        before: The machine before the first call.
        after: The machine after the last one.
        num_threads: Threads of the interpreter.
        num_cores: Cores that the process may use.
        notes: Reasons known beforehand for which the result is at best degraded.
    """
    fewest = smallest_sample_count(PERCENTS["p50"])
    count = len(measurement.latencies_ns)
    if count < fewest:
        return "invalid", [f"{count} runs were measured; the median needs {fewest}"]
    if min(measurement.latencies_ns) < 0:
        return "invalid", ["the clock ran backwards while measuring"]
    reasons = list(notes)
    if measurement.capped:
        reasons.append(f"capped by time: {', '.join(measurement.capped)}")
    if num_threads > num_cores:
        reasons.append(f"{num_threads} threads on {num_cores} usable cores")
    reasons += _machine_reasons(before, after, num_cores)
    drift = _drift(measurement.latencies_ns)
    if drift is not None and drift > MAX_DRIFT:
        reasons.append(f"the 90th percentiles of the first and the last half differ by {drift:.0%}")
    return ("degraded" if reasons else "valid"), reasons


def _machine_reasons(before: MachineState, after: MachineState, num_cores: int) -> List[str]:
    reasons = []
    loads = [load for load in (before.load_average, after.load_average) if load is not None]
    if loads and max(loads) > num_cores:
        reasons.append(f"load average {max(loads):.2f} on {num_cores} cores: others were running")
    # intel_pstate's "powersave" follows the load; elsewhere it means the lowest clock. Both are
    # not what "performance" gives.
    if "powersave" in (before.governors or []):
        reasons.append('the frequency governor is "powersave"')
    if before.governors != after.governors:
        reasons.append("the frequency governor changed while measuring")
    if before.frequencies_hz and after.frequencies_hz:
        first, last = max(before.frequencies_hz), max(after.frequencies_hz)
        if abs(first - last) > MAX_DRIFT * max(first, last):
            reasons.append(f"the clock changed from {first / 1e6:.0f} to {last / 1e6:.0f} MHz")
    return reasons


def _drift(samples: Sequence[int]) -> Optional[float]:
    """Returns the share by which the 90th percentiles of the halves differ; None where chance may
    be the cause.

    The halves hold different texts, and where the time of a call depends on the text (loops,
    branches, buckets) that alone moves the percentile of some hundred calls by more than
    `MAX_DRIFT`: so the intervals of the two must not touch.
    """
    half = len(samples) // 2
    if half < _MIN_DRIFT_SAMPLES:
        return None
    percent = PERCENTS["p90"]
    first, last = sorted(
        (nearest_rank(part, percent), *percentile_interval(part, percent))
        for part in (samples[:half], samples[-half:])
    )
    if last[1] <= first[2]:
        return None
    return last[0] / max(first[0], 1) - 1
