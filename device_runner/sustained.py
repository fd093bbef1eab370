"""Calls without a pause for minutes → percentiles, temperature and clocks of every minute."""

from __future__ import annotations

import math
import os
import re
from typing import Any, Callable, Dict, List, Optional

from device_runner import machine
from device_runner.percentiles import PERCENTS, percentile
from device_runner.profiles import Profile
from device_runner.turn import BLOCK_RUNS, DROPPED_RUNS, Measurement, Reading, Turn

MINUTE_NS = 60 * 1000000000
# Reading a dozen files of the system once a second takes about a thousandth of the time.
READING_NS = 1000000000
# Enough for a 99th percentile in each of a thousand minutes, in a few megabytes an hour.
KEPT_PER_MINUTE = 20000
# A fall of the clock by one step of most frequency tables is a tenth.
THROTTLE_SHARE = 0.1


def read_device(root: str = "/") -> Reading:
    """Returns the temperature of every thermal zone and the clock of every core, now.

    Args:
        root: Where `/sys` is looked for; another folder in tests.
    """
    return Reading(read_temperatures(root), machine.read_frequencies(root))


def read_temperatures(root: str = "/") -> Dict[str, float]:
    """Returns zone → degrees Celsius; empty where the system gives none (virtual machines).

    Zones that share a type are told apart by their number. The kernel gives thousandths of a
    degree (Documentation/driver-api/thermal/sysfs-api.rst).

    Args:
        root: Where `/sys` is looked for; another folder in tests.
    """
    folder = os.path.join(root, "sys/class/thermal")
    try:
        zones = [zone for zone in os.listdir(folder) if re.fullmatch("thermal_zone[0-9]+", zone)]
    except OSError:
        return {}
    found: Dict[str, float] = {}
    for zone in sorted(zones, key=lambda zone: int(zone[len("thermal_zone") :])):
        kind = _read(os.path.join(folder, zone, "type")) or zone
        value = _read(os.path.join(folder, zone, "temp"))
        if value is not None and re.fullmatch("-?[0-9]+", value):
            number = zone[len("thermal_zone") :]
            found[f"{kind}-{number}" if kind in found else kind] = int(value) / 1000
    return found


class Endurance:
    """Blocks of calls until a time is over, and what the device says of itself between them."""

    def __init__(
        self, profile: Profile, clock: Callable[[], int], read: Callable[[], Reading]
    ) -> None:
        self._profile = profile
        self._read = read
        self._started = clock()
        self._next_reading = self._started
        self._readings: Dict[int, List[Reading]] = {}
        # The call that ends after the time is over belongs to the last minute.
        self._last_minute = (profile.duration_ns - 1) // MINUTE_NS

    def run_block(self, turn: Turn) -> bool:
        """Runs one block of calls, or what is left of the time; returns whether it is over."""
        result = turn.result
        if not result.minute_starts:
            result.sample_stride = _stride(result)
            result.readings = self._readings
        for run in range(BLOCK_RUNS):
            latency_ns = turn.run_once()
            elapsed_ns = turn.clock() - self._started
            minute = min(elapsed_ns // MINUTE_NS, self._last_minute)
            if run < DROPPED_RUNS:
                result.dropped_runs += 1
            else:
                self._keep(result, latency_ns, minute)
            result.measure_elapsed_ns = elapsed_ns
            if elapsed_ns + self._started >= self._next_reading:
                self._readings.setdefault(minute, []).append(self._read())
                self._next_reading = self._started + elapsed_ns + READING_NS
            if elapsed_ns >= self._profile.duration_ns:
                return True
        return False

    def _keep(self, result: Measurement, latency_ns: int, minute: int) -> None:
        while len(result.minute_starts) <= minute:
            result.minute_starts.append(len(result.latencies_ns))
        if result.kept_candidates % result.sample_stride == 0:
            result.latencies_ns.append(latency_ns)
        result.kept_candidates += 1
        result.measured_ns += latency_ns


def _stride(result: Measurement) -> int:
    """Returns every how many-th call is kept, so that a minute has at most `KEPT_PER_MINUTE`.

    It shares no factor with the kept calls of a block: else it would always keep the same places
    of a block, such as those just after another model.
    """
    mean_ns = max(1.0, result.warmup_ns / max(1, result.warmup_runs))
    stride = max(1, math.ceil(MINUTE_NS / mean_ns / KEPT_PER_MINUTE))
    while math.gcd(stride, BLOCK_RUNS - DROPPED_RUNS) != 1:
        stride += 1
    return stride


def describe_minutes(measurement: Measurement) -> List[Dict[str, Any]]:
    """Returns a record for each minute: `minute` (from 1), percentiles of its samples, state.

    `num_runs` are its samples, `duration_ns` its length (the last is mostly shorter),
    `max_temperatures_celsius` the highest of each zone in it, `mean_frequencies_hz` of each core
    or None. A percentile that the samples are too few for is None.
    """
    starts = measurement.minute_starts
    ends = starts[1:] + [len(measurement.latencies_ns)]
    minutes = []
    for index, (start, end) in enumerate(zip(starts, ends)):
        samples = measurement.latencies_ns[start:end]
        readings = measurement.readings.get(index, [])
        left_ns = measurement.measure_elapsed_ns - index * MINUTE_NS
        minute: Dict[str, Any] = {
            "minute": index + 1,
            "duration_ns": min(left_ns, MINUTE_NS),
            "num_runs": len(samples),
        }
        for name, percent in PERCENTS.items():
            minute[f"{name}_ns"] = percentile(samples, percent)
        minute["max_temperatures_celsius"] = _max_temperatures(readings)
        minute["mean_frequencies_hz"] = _mean_frequencies(readings)
        minutes.append(minute)
    return minutes


def find_throttling(minutes: List[Dict[str, Any]]) -> Dict[str, Any]:
    """Returns from which minute on the device was slower than it began.

    Args:
        minutes: What `describe_minutes` returns.

    Returns:
        `share`: the limit, 0.1. `minute`: the first whose median is more than that share above
        the first minute's, None if none is. `slowdown`: largest such share of all minutes, None
        with fewer than two medians.
    """
    medians = [(entry["minute"], entry["p50_ns"]) for entry in minutes if entry["p50_ns"]]
    if len(medians) < 2 or medians[0][0] != 1:
        return {"share": THROTTLE_SHARE, "minute": None, "slowdown": None}
    first = medians[0][1]
    shares = [(minute, median / first - 1) for minute, median in medians[1:]]
    over = [minute for minute, share in shares if share > THROTTLE_SHARE]
    return {
        "share": THROTTLE_SHARE,
        "minute": over[0] if over else None,
        "slowdown": max(share for _, share in shares),
    }


def _max_temperatures(readings: List[Reading]) -> Dict[str, float]:
    highest: Dict[str, float] = {}
    for reading in readings:
        for zone, value in reading.temperatures_celsius.items():
            highest[zone] = max(value, highest.get(zone, value))
    return highest


def _mean_frequencies(readings: List[Reading]) -> Optional[List[int]]:
    known = [reading.frequencies_hz for reading in readings if reading.frequencies_hz]
    widths = {len(entry) for entry in known}
    if len(widths) != 1:  # none known, or a core was switched off in between
        return None
    return [round(sum(column) / len(known)) for column in zip(*known)]


def _read(path: str) -> Optional[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return None
