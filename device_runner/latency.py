"""Loaded models + inputs → latencies, measured in turn in blocks; nothing is judged here."""

from __future__ import annotations

import gc
import time
from array import array
from dataclasses import dataclass, field
from typing import Any, Callable, List, Optional, Sequence

from device_runner.profiles import Profile

BLOCK_RUNS = 50
# The first calls of a block find the caches filled by another model.
DROPPED_RUNS = 5


@dataclass(eq=False)
class Contestant:
    """One model in a measurement, and what it is fed with.

    Attributes:
        name: What it is called in errors.
        model: Has `set_input`, `invoke` and `get_output`, as `interpreter.Model` has.
        inputs: int32 (1, T) token ids; each run takes the next one, from the first again after
            the last.
        texts: Texts for the end-to-end runs; without any, these are left out.
        encode: Text → token ids.
        decode: Output → label.
    """

    name: str
    model: Any
    inputs: Sequence[Any]
    texts: Sequence[str] = ()
    encode: Optional[Callable[[str], Any]] = None
    decode: Optional[Callable[[Any], Any]] = None


def _samples() -> array[int]:
    return array("q")  # 8 bytes a sample; a list's integers take 40


@dataclass(eq=False)
class Measurement:
    """What was measured of one contestant; times in nanoseconds, samples in order, none removed.

    Attributes:
        first_invoke_ns: The first call, which is in no other number.
        warmup_runs: Calls of the warm-up; `warmup_ns` is their sum.
        latencies_ns: Each kept `invoke`; setting the input and reading the output lie outside.
        dropped_runs: First calls of blocks, which are not kept.
        end_to_end_ns: Text → token ids → invoke → label, each kept run.
        tokenize_ns: The first part of `end_to_end_ns`.
        decode_ns: The last part of `end_to_end_ns`.
        capped: Phases cut short by the profile's `max_ns`.
    """

    first_invoke_ns: int = 0
    warmup_runs: int = 0
    warmup_ns: int = 0
    latencies_ns: array[int] = field(default_factory=_samples)
    dropped_runs: int = 0
    end_to_end_ns: array[int] = field(default_factory=_samples)
    tokenize_ns: array[int] = field(default_factory=_samples)
    decode_ns: array[int] = field(default_factory=_samples)
    capped: List[str] = field(default_factory=list)


class _Turn:
    """One contestant's place in its inputs, and the time it has used in the present phase."""

    def __init__(self, contestant: Contestant, clock: Callable[[], int]) -> None:
        self.contestant = contestant
        self.clock = clock
        self.position = 0
        self.used_ns = 0
        self.measured_ns = 0
        self.result = Measurement()

    def run_once(self) -> int:
        """Sets the next input and returns how long the call took; only the call is timed."""
        model, clock, inputs = self.contestant.model, self.clock, self.contestant.inputs
        model.set_input(inputs[self.position % len(inputs)])
        self.position += 1
        invoke = model.invoke
        start = clock()
        invoke()
        return clock() - start

    def warm_up(self, profile: Profile) -> bool:
        """Makes the first call and those of the warm-up; this contestant is then done."""
        start = self.clock()
        self.result.first_invoke_ns = self.run_once()
        while (
            self.result.warmup_runs < profile.warmup_runs
            or self.result.warmup_ns < profile.warmup_ns
        ):
            self.result.warmup_ns += self.run_once()
            self.result.warmup_runs += 1
            if self.clock() - start > profile.max_ns:
                self.result.capped.append("warm-up")
                break
        return True

    def measure_block(self, profile: Profile) -> bool:
        """Runs one block of calls and returns whether this contestant is done."""
        start, result = self.clock(), self.result
        for run in range(BLOCK_RUNS):
            latency_ns = self.run_once()
            if run < DROPPED_RUNS:
                result.dropped_runs += 1
            else:
                result.latencies_ns.append(latency_ns)
                self.measured_ns += latency_ns
            if self.used_ns + self.clock() - start > profile.max_ns:
                result.capped.append("measurement")
                return True
        self.used_ns += self.clock() - start
        return (
            len(result.latencies_ns) >= profile.num_runs and self.measured_ns >= profile.measure_ns
        )

    def end_to_end_block(self, profile: Profile) -> bool:
        """Runs one block from text to label and returns whether this contestant is done."""
        contestant, result = self.contestant, self.result
        if not contestant.texts or contestant.encode is None or contestant.decode is None:
            return True
        start = self.clock()
        for run in range(BLOCK_RUNS):
            text = contestant.texts[self.position % len(contestant.texts)]
            self.position += 1
            began = self.clock()
            token_ids = contestant.encode(text)
            encoded = self.clock()
            contestant.model.set_input(token_ids)
            contestant.model.invoke()
            output = contestant.model.get_output()
            computed = self.clock()
            contestant.decode(output)
            ended = self.clock()
            if run >= DROPPED_RUNS:
                result.end_to_end_ns.append(ended - began)
                result.tokenize_ns.append(encoded - began)
                result.decode_ns.append(ended - computed)
            if self.used_ns + self.clock() - start > profile.max_ns:
                result.capped.append("end-to-end")
                return True
        self.used_ns += self.clock() - start
        return len(result.end_to_end_ns) >= profile.end_to_end_runs


def measure(
    contestants: Sequence[Contestant],
    profile: Profile,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> List[Measurement]:
    """Measures models in turn: a block of 50 calls each, round after round.

    Alternating call by call would measure how one model evicts the other's caches, and one after
    the other the machine's mood. The order rotates each round. A contestant that has enough
    leaves the rounds. Garbage collection is off meanwhile.

    Args:
        contestants: At least one, each with at least one input.
        profile: How long.
        clock: Returns nanoseconds; never runs backwards.

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
    turns = [_Turn(contestant, clock) for contestant in contestants]
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        _in_rounds(turns, lambda turn: turn.warm_up(profile))
        _in_rounds(turns, lambda turn: turn.measure_block(profile))
        for turn in turns:
            turn.used_ns = 0
            turn.position = 0
        _in_rounds(turns, lambda turn: turn.end_to_end_block(profile))
    finally:
        if was_enabled:
            gc.enable()
    return [turn.result for turn in turns]


def measure_timer_overhead(clock: Callable[[], int] = time.perf_counter_ns) -> int:
    """Returns the median time between two readings of the clock, in nanoseconds.

    It is part of every sample, and is not subtracted.
    """
    differences = []
    for _ in range(1001):
        start = clock()
        differences.append(clock() - start)
    return sorted(differences)[500]


def _in_rounds(turns: Sequence[_Turn], block: Callable[[_Turn], bool]) -> None:
    """Gives every turn a block each round, first another one each time, until all are done."""
    pending = list(turns)
    first = 0
    while pending:
        first %= len(pending)
        order = pending[first:] + pending[:first]
        done = [turn for turn in order if _run_block(turn, block)]
        pending = [turn for turn in pending if turn not in done]
        first += 1


def _run_block(turn: _Turn, block: Callable[[_Turn], bool]) -> bool:
    try:
        return block(turn)
    except RuntimeError as error:
        raise ValueError(
            f"{turn.contestant.name}: the runtime failed in call {turn.position}: {error}. Give "
            "token ids that the model's embedding has, or export it again."
        ) from error
