"""Loaded models + inputs → latencies, measured in turn in blocks; nothing is judged here."""

from __future__ import annotations

import gc
import time
from typing import Any, Callable, Dict, List, Sequence

from device_runner.paced import Pace
from device_runner.profiles import Profile
from device_runner.sustained import Endurance, read_device
from device_runner.turn import BLOCK_RUNS, DROPPED_RUNS, Contestant, Measurement, Turn, run_block

__all__ = ["BLOCK_RUNS", "DROPPED_RUNS", "Contestant", "Measurement", "measure", "read_timer"]


def measure(
    contestants: Sequence[Contestant],
    profile: Profile,
    clock: Callable[[], int] = time.perf_counter_ns,
    *,
    sleep: Callable[[float], None] = time.sleep,
    read: Callable[[], Any] = read_device,
    progress: Callable[[str], None] = lambda phase: None,
) -> List[Measurement]:
    """Measures models in turn: a block of 50 calls each, round after round.

    Alternating call by call would measure how one model evicts the other's caches, and one after
    the other the machine's mood. The order rotates each round. A contestant that has enough
    leaves the rounds. Garbage collection is off meanwhile.

    Args:
        contestants: At least one, each with at least one input.
        profile: How long, and whether without a pause or at a pace.
        clock: Returns nanoseconds; never runs backwards.
        sleep: Waits for so many seconds.
        read: Returns a `Reading` of the device; called between calls, never within one.
        progress: Told the name of the phase after every block.

    Returns:
        One measurement for each contestant, in their order.

    Raises:
        ValueError: There is no contestant, one has no input, or the runtime fails in a call.
    """
    if not contestants or not all(len(contestant.inputs) for contestant in contestants):
        raise ValueError(
            "contestants is empty or one has no inputs, expected at least one of both. Give an "
            "artifact and texts."
        )
    turns = [Turn(contestant, clock) for contestant in contestants]
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        _in_rounds(turns, lambda turn: turn.warm_up(profile), lambda: progress("warm-up"))
        block: Callable[[Turn], bool]
        if profile.rate_hz:
            block = Pace(profile, sleep).run_block
        elif profile.duration_ns:
            block = Endurance(profile, clock, read).run_block
        else:
            block = _measuring_block(profile)
        _in_rounds(turns, block, lambda: progress("measuring"))
        for turn in turns:
            turn.used_ns = 0
            turn.position = 0
        if profile.end_to_end_runs:
            block = _end_to_end_block(profile)
            _in_rounds(turns, block, lambda: progress("end-to-end"))
    finally:
        if was_enabled:
            gc.enable()
    return [turn.result for turn in turns]


def read_timer(clock: Callable[[], int] = time.perf_counter_ns) -> Dict[str, Any]:
    """Returns what the clock is and what reading it costs.

    Args:
        clock: Returns nanoseconds.

    Returns:
        `timer_overhead_ns`: median time between two readings, one after the other, of 1,001; it
        is part of every sample, and is not subtracted. `timer`: the system's clock behind
        `time.perf_counter_ns`, whether setting the time of day leaves it alone (`monotonic`), and
        its resolution in nanoseconds.
    """
    differences = []
    for _ in range(1001):
        start = clock()
        differences.append(clock() - start)
    info = time.get_clock_info("perf_counter")
    return {
        "timer_overhead_ns": sorted(differences)[500],
        "timer": {
            "clock": info.implementation,
            "monotonic": info.monotonic,
            "resolution_ns": info.resolution * 1e9,
        },
    }


def _measuring_block(profile: Profile) -> Callable[[Turn], bool]:
    def run_block_of(turn: Turn) -> bool:
        """Runs one block of calls and returns whether this contestant is done."""
        start, result = turn.clock(), turn.result
        for run in range(BLOCK_RUNS):
            latency_ns = turn.run_once()
            if run < DROPPED_RUNS:
                result.dropped_runs += 1
            else:
                result.latencies_ns.append(latency_ns)
                result.measured_ns += latency_ns
            if turn.used_ns + turn.clock() - start > profile.max_ns:
                result.capped.append("measurement")
                return True
        turn.used_ns += turn.clock() - start
        return (
            len(result.latencies_ns) >= profile.num_runs
            and result.measured_ns >= profile.measure_ns
        )

    return run_block_of


def _end_to_end_block(profile: Profile) -> Callable[[Turn], bool]:
    def run_block_of(turn: Turn) -> bool:
        """Runs one block from text to label and returns whether this contestant is done."""
        if not turn.has_texts:
            return True
        start, result = turn.clock(), turn.result
        for run in range(BLOCK_RUNS):
            turn.run_end_to_end(keep=run >= DROPPED_RUNS)
            if turn.used_ns + turn.clock() - start > profile.max_ns:
                result.capped.append("end-to-end")
                return True
        turn.used_ns += turn.clock() - start
        return len(result.end_to_end_ns) >= profile.end_to_end_runs

    return run_block_of


def _in_rounds(
    turns: Sequence[Turn], block: Callable[[Turn], bool], after_block: Callable[[], None]
) -> None:
    """Gives every turn a block each round, first another one each time, until all are done."""
    pending = list(turns)
    first = 0
    while pending:
        first %= len(pending)
        done = []
        for turn in pending[first:] + pending[:first]:
            if run_block(turn, block):
                done.append(turn)
            after_block()
        pending = [turn for turn in pending if turn not in done]
        first += 1
