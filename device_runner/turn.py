"""One model and its inputs → single calls of it, timed, and the samples that are kept of them."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Optional, Sequence

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


@dataclass(frozen=True)
class Reading:
    """The state of the device at one moment of a long measurement.

    Attributes:
        temperatures_celsius: Thermal zone → degrees; empty where the system gives none.
        frequencies_hz: Present clock of each core, or None.
    """

    temperatures_celsius: Dict[str, float]
    frequencies_hz: Optional[List[int]]


@dataclass(eq=False)
class Measurement:
    """What was measured of one contestant; times in nanoseconds, samples in order, none removed.

    Attributes:
        first_invoke_ns: The first call, which is in no other number.
        warmup_runs: Calls of the warm-up; `warmup_ns` is their sum.
        latencies_ns: Each kept `invoke`; setting the input and reading the output lie outside.
        measured_ns: Sum of all calls but the dropped ones.
        kept_candidates: How many such calls there were.
        sample_stride: Every so many-th of them is kept, whatever it took; 1 is every one.
        dropped_runs: First calls of blocks, which are not kept.
        end_to_end_ns: Text → token ids → invoke → label, each kept run.
        tokenize_ns: The first part of `end_to_end_ns`.
        end_to_end_invoke_ns: The part of `end_to_end_ns` that is the call itself.
        decode_ns: The last part of `end_to_end_ns`.
        minute_starts: For every minute, how many samples had been kept before it.
        readings: Minute → what was read from the device in it.
        measure_elapsed_ns: How long those minutes lasted altogether.
        start_delays_ns: Begin of each kept request after its time on the schedule.
        responses_ns: End of each kept request after its time on the schedule.
        capped: Phases cut short by the profile's `max_ns`.
    """

    first_invoke_ns: int = 0
    warmup_runs: int = 0
    warmup_ns: int = 0
    latencies_ns: array[int] = field(default_factory=_samples)
    measured_ns: int = 0
    kept_candidates: int = 0
    sample_stride: int = 1
    dropped_runs: int = 0
    end_to_end_ns: array[int] = field(default_factory=_samples)
    tokenize_ns: array[int] = field(default_factory=_samples)
    end_to_end_invoke_ns: array[int] = field(default_factory=_samples)
    decode_ns: array[int] = field(default_factory=_samples)
    minute_starts: List[int] = field(default_factory=list)
    readings: Dict[int, List[Reading]] = field(default_factory=dict)
    measure_elapsed_ns: int = 0
    start_delays_ns: array[int] = field(default_factory=_samples)
    responses_ns: array[int] = field(default_factory=_samples)
    capped: List[str] = field(default_factory=list)


class Turn:
    """One contestant's place in its inputs, and the time it has used in the present phase."""

    def __init__(self, contestant: Contestant, clock: Callable[[], int]) -> None:
        self.contestant = contestant
        self.clock = clock
        self.position = 0
        self.used_ns = 0
        self.result = Measurement()

    @property
    def has_texts(self) -> bool:
        """Whether it can run from text to label."""
        contestant = self.contestant
        return bool(contestant.texts and contestant.encode and contestant.decode)

    def run_once(self) -> int:
        """Sets the next input and returns how long the call took; only the call is timed."""
        model, clock, inputs = self.contestant.model, self.clock, self.contestant.inputs
        model.set_input(inputs[self.position % len(inputs)])
        self.position += 1
        invoke = model.invoke
        start = clock()
        invoke()
        return clock() - start

    def run_end_to_end(self, *, keep: bool) -> int:
        """Runs from the next text to its label and returns how long the call within took."""
        contestant, clock, result = self.contestant, self.clock, self.result
        model, encode, decode = contestant.model, contestant.encode, contestant.decode
        text = contestant.texts[self.position % len(contestant.texts)]
        self.position += 1
        if encode is None or decode is None:
            raise ValueError(
                f"{contestant.name} has no encode or no decode, expected both. Give an artifact."
            )
        began = clock()
        token_ids = encode(text)
        encoded = clock()
        model.set_input(token_ids)
        called = clock()
        model.invoke()
        returned = clock()
        output = model.get_output()
        computed = clock()
        decode(output)
        ended = clock()
        if keep:
            result.end_to_end_ns.append(ended - began)
            result.tokenize_ns.append(encoded - began)
            result.end_to_end_invoke_ns.append(returned - called)
            result.decode_ns.append(ended - computed)
        return returned - called

    def warm_up(self, profile: Profile) -> bool:
        """Makes the first call and those of the warm-up; this contestant is then done."""
        start, result = self.clock(), self.result
        result.first_invoke_ns = self.run_once()
        while result.warmup_runs < profile.warmup_runs or result.warmup_ns < profile.warmup_ns:
            result.warmup_ns += self.run_once()
            result.warmup_runs += 1
            if self.clock() - start > profile.max_ns:
                result.capped.append("warm-up")
                break
        return True


def run_block(turn: Turn, block: Callable[[Turn], bool]) -> bool:
    """Runs one block of a contestant; a failure of the runtime becomes an error with its name.

    Raises:
        ValueError: The runtime fails in a call.
    """
    try:
        return block(turn)
    except RuntimeError as error:
        raise ValueError(
            f"{turn.contestant.name}: the runtime failed in call {turn.position}: {error}. Give "
            "token ids that the model's embedding has, or export it again."
        ) from error
