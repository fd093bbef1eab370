"""Tests of percentiles, of the measuring loop with a clock of our own, and of the verdict."""

from __future__ import annotations

import gc
import math
from fractions import Fraction
from itertools import pairwise
from math import comb
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_runner import latency, percentiles, validity
from device_runner.latency import Contestant, Measurement, measure
from device_runner.profiles import PROFILES, Profile
from device_runner.validity import MachineState

# MLPerf's early stopping at 99 % confidence, as published.
SMALLEST = {50.0: 11, 90.0: 64, 95.0: 130, 97.0: 219, 99.0: 662, 99.9: 6636}


@pytest.mark.parametrize(("percent", "count"), SMALLEST.items())
def test_smallest_sample_is_mlperfs(percent: float, count: int) -> None:
    assert percentiles.smallest_sample_count(percent) == count


@pytest.mark.parametrize("percent", [50, 90, 95])
def test_smallest_sample_follows_the_binomial_exactly(percent: int) -> None:
    """F(1; n, 1 - p) in fractions: at most 1/100 at n, more at n - 1."""
    over = 1 - Fraction(percent, 100)

    def at_most_one(n: int) -> Fraction:
        return (1 - over) ** n + n * over * (1 - over) ** (n - 1)

    n = percentiles.smallest_sample_count(float(percent))
    assert at_most_one(n) <= Fraction(1, 100) < at_most_one(n - 1)


@pytest.mark.parametrize(("count", "rank"), [(64, 64), (100, 98), (1024, 945)])
def test_early_stopping_bound_of_p90(count: int, rank: int) -> None:
    samples = list(np.random.default_rng(0).permutation(count) + 1)
    assert percentiles.early_stopping_bound(samples, 90.0) == rank


@pytest.mark.parametrize("count", [64, 200, 999])
def test_early_stopping_discards_as_many_as_the_binomial_allows(count: int) -> None:
    def cdf(t: int) -> Fraction:
        tenth = Fraction(1, 10)
        return sum(
            (comb(count, k) * tenth**k * (1 - tenth) ** (count - k) for k in range(t + 1)),
            Fraction(0),
        )

    rank = percentiles.early_stopping_bound(range(1, count + 1), 90.0)
    assert rank is not None
    over = count - rank + 1  # t - 1 samples are slower than the bound
    assert cdf(over) <= Fraction(1, 100) < cdf(over + 1)


def test_bound_of_a_million_samples_is_near_the_percentile() -> None:
    """The logarithms do not underflow where 0.9^n does."""
    bound = percentiles.early_stopping_bound(range(1_000_000), 90.0)
    # 2.33 standard deviations of the binomial, of 300, above the percentile itself.
    assert bound is not None and 900_600 < bound < 900_800


def test_percentile_of_too_few_samples_is_none() -> None:
    assert percentiles.percentile(range(661), 99.0) is None
    assert percentiles.percentile(range(1, 663), 99.0) == 656  # ceil(0.99 * 662)
    assert percentiles.early_stopping_bound(range(63), 90.0) is None


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=60), st.integers(1, 100))
def test_nearest_rank_has_enough_samples_at_or_below(samples: list[int], percent: int) -> None:
    value = percentiles.nearest_rank(samples, percent)
    assert value in samples
    at_or_below = sum(sample <= value for sample in samples)
    below = sum(sample < value for sample in samples)
    assert 100 * at_or_below >= percent * len(samples) > 100 * below


def test_nearest_rank_of_a_product_that_rounds_up() -> None:
    """0.07 * 100 is 7.000000000000001 in floating point."""
    assert percentiles.nearest_rank(range(1, 101), 7) == 7


def test_nearest_rank_refuses_nothing_and_zero() -> None:
    with pytest.raises(ValueError, match=r"samples has no entry, expected at least 1"):
        percentiles.nearest_rank([], 50)
    with pytest.raises(ValueError, match=r"percent=0, expected more than 0 and at most 100"):
        percentiles.nearest_rank([1], 0)
    with pytest.raises(ValueError, match=r"percent=100.0, expected more than 0 and less than 100"):
        percentiles.smallest_sample_count(100.0)


def test_description_of_hand_computed_samples() -> None:
    samples = [30] * 50 + [10] * 49 + [1000]
    assert percentiles.describe(samples) == {
        "p50_ns": 30,
        "p90_ns": 30,
        "p99_ns": None,
        "mean_ns": 29.9,
        "standard_deviation_ns": pytest.approx(math.sqrt(960499 / 99)),
        "min_ns": 10,
        "max_ns": 1000,
        "percentile_n": {"p50": 11, "p90": 64, "p99": 662},
        "early_stopping_p90_ns": 30,
    }


def test_description_of_nothing_has_no_numbers() -> None:
    described = percentiles.describe([])
    assert described.pop("percentile_n")
    assert set(described.values()) == {None}


class Clock:
    """Time passes only when a model is called, the tokenizer runs or the clock is read."""

    def __init__(self, read_ns: int = 0) -> None:
        self.now = 0
        self.read_ns = read_ns

    def __call__(self) -> int:
        self.now += self.read_ns
        return self.now


class Model:
    """Takes `duration_ns` for a call, and writes down what it is given."""

    def __init__(self, clock: Clock, durations_ns: Any, log: list[str], name: str) -> None:
        self.clock, self.durations_ns, self.log, self.name = clock, durations_ns, log, name
        self.inputs: list[Any] = []
        self.collecting: list[bool] = []

    def set_input(self, value: Any) -> None:
        self.clock.now += 1_000_000  # must not be seen in any latency
        self.inputs.append(value)

    def invoke(self) -> None:
        self.collecting.append(gc.isenabled())
        self.log.append(self.name)
        self.clock.now += self.durations_ns(len(self.log))

    def get_output(self) -> str:
        self.clock.now += 70
        return "output"


PROFILE = Profile("test", 10, 0, 100, 0, 100, 10**15)


def contestant(model: Model, count: int = 7, **more: Any) -> Contestant:
    return Contestant(model.name, model, [f"input {i}" for i in range(count)], **more)


def test_only_the_call_is_timed_and_every_run_has_a_new_input() -> None:
    clock, log = Clock(), []
    model = Model(clock, lambda _: 500, log, "a")
    (result,) = measure([contestant(model)], PROFILE, clock)
    assert set(result.latencies_ns) == {500}
    assert result.first_invoke_ns == 500
    assert result.warmup_runs == 10 and result.warmup_ns == 5000
    assert model.inputs == [f"input {i % 7}" for i in range(len(model.inputs))]
    # Three blocks of 50, the first 5 of each dropped, reach 100.
    assert (len(result.latencies_ns), result.dropped_runs) == (135, 15)
    assert len(log) == 1 + 10 + 150
    assert result.capped == []


def test_samples_stay_in_order_and_none_is_removed() -> None:
    clock, log = Clock(), []
    model = Model(clock, lambda call: 10**9 if call == 30 else call, log, "a")
    (result,) = measure([contestant(model)], PROFILE, clock)
    # Call 1 is the first one, 2 to 11 the warm-up, 12 to 16 the dropped ones of the first block.
    expected = [10**9 if call == 30 else call for call in range(17, 62)]
    assert list(result.latencies_ns)[:45] == expected


def test_first_call_is_in_no_other_number() -> None:
    clock, log = Clock(), []
    model = Model(clock, lambda call: 10**9 if call == 1 else 5, log, "a")
    (result,) = measure([contestant(model)], PROFILE, clock)
    assert result.first_invoke_ns == 10**9
    assert result.warmup_ns == 50 and max(result.latencies_ns) == 5


def test_phases_last_for_their_time_too() -> None:
    clock, log = Clock(), []
    model = Model(clock, lambda _: 1000, log, "a")
    profile = Profile("test", 10, 30_000, 100, 300_000, 0, 10**15)
    (result,) = measure([contestant(model)], profile, clock)
    assert result.warmup_runs == 30
    assert len(result.latencies_ns) == 315  # seven blocks: the first to reach 300 us


def test_slow_model_is_capped_by_time() -> None:
    clock, log = Clock(), []
    model = Model(clock, lambda _: 10**9, log, "a")
    profile = Profile("test", 10, 0, 100, 0, 100, 8 * 10**9)
    runner = contestant(model, texts=["t"], encode=lambda text: text, decode=lambda output: output)
    (result,) = measure([runner], profile, clock)
    assert result.capped == ["warm-up", "measurement", "end-to-end"]
    assert len(log) < 30


def test_models_are_measured_in_turn_in_blocks_and_the_order_rotates() -> None:
    clock, log = Clock(), []
    models = [Model(clock, lambda _: 5, log, name) for name in "abc"]
    results = measure([contestant(model) for model in models], PROFILE, clock)
    assert log[:33] == ["a"] * 11 + ["b"] * 11 + ["c"] * 11
    blocks = log[33:]
    order = "".join(blocks[0::50])
    assert order == "abc" + "bca" + "cab"
    assert blocks == [name for name in order for _ in range(50)]
    assert [len(result.latencies_ns) for result in results] == [135] * 3


def test_done_model_leaves_the_rounds() -> None:
    clock, log = Clock(), []
    models = [Model(clock, lambda _: 100, log, "slow"), Model(clock, lambda _: 10, log, "fast")]
    profile = Profile("test", 10, 0, 100, 20_000, 0, 10**15)
    slow, fast = measure([contestant(model) for model in models], profile, clock)
    assert len(slow.latencies_ns) == 225 and len(fast.latencies_ns) == 2025
    assert log[-50:] == ["fast"] * 50


def test_all_models_get_the_same_inputs() -> None:
    clock, log = Clock(), []
    models = [Model(clock, lambda _: 5, log, name) for name in "ab"]
    measure([contestant(model, 1000) for model in models], PROFILE, clock)
    assert models[0].inputs == models[1].inputs
    assert len(set(models[0].inputs)) == len(models[0].inputs)


def test_garbage_is_not_collected_while_measuring() -> None:
    clock, log = Clock(), []
    model = Model(clock, lambda _: 5, log, "a")
    assert gc.isenabled()
    measure([contestant(model)], PROFILE, clock)
    assert gc.isenabled()
    assert model.collecting and not any(model.collecting)


def test_garbage_collection_is_on_again_after_a_failure() -> None:
    clock, log = Clock(), []

    def fail(call: int) -> int:
        if call == 40:
            raise RuntimeError("gather index out of bounds")
        return 5

    with pytest.raises(
        ValueError, match=r"a: the runtime failed in call 40: gather index out of bounds"
    ):
        measure([contestant(Model(clock, fail, log, "a"))], PROFILE, clock)
    assert gc.isenabled()


def test_end_to_end_is_the_sum_of_its_parts() -> None:
    clock, log = Clock(), []
    model = Model(clock, lambda _: 500, log, "a")
    texts = [f"text {i}" for i in range(9)]
    seen = []

    def encode(text: str) -> str:
        seen.append(text)
        clock.now += 3000
        return text

    def decode(output: str) -> None:
        assert output == "output"
        clock.now += 20

    (result,) = measure(
        [contestant(model, texts=texts, encode=encode, decode=decode)], PROFILE, clock
    )
    assert len(result.end_to_end_ns) == 135
    assert set(result.tokenize_ns) == {3000}
    assert set(result.decode_ns) == {20}
    assert set(result.end_to_end_invoke_ns) == {500}
    assert set(result.end_to_end_ns) == {3000 + 1_000_000 + 500 + 70 + 20}
    assert seen == [texts[i % 9] for i in range(150)]


def test_no_contestant_and_no_input_are_refused() -> None:
    with pytest.raises(ValueError, match=r"contestants is empty or one has no inputs"):
        measure([], PROFILE)
    with pytest.raises(ValueError, match=r"contestants is empty or one has no inputs"):
        measure([Contestant("a", None, [])], PROFILE)


def test_timer_overhead_is_what_the_clock_takes() -> None:
    timer = latency.read_timer(Clock(read_ns=37))
    assert timer["timer_overhead_ns"] == 37
    assert timer["timer"]["monotonic"] is True
    assert 0 < timer["timer"]["resolution_ns"] <= 1000


def test_measurement_does_not_look_at_the_time_of_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is set while measuring, as NTP does, changes nothing."""
    for name in ("time", "time_ns"):
        monkeypatch.setattr(f"time.{name}", lambda: pytest.fail("the time of day was read"))
    clock, log = Clock(), []
    (result,) = measure([contestant(Model(clock, lambda _: 500, log, "a"))], PROFILE, clock)
    assert set(result.latencies_ns) == {500}


def test_clock_that_runs_backwards_is_invalid() -> None:
    assert judged([100] * 200 + [-5]) == ("invalid", ["the clock ran backwards while measuring"])


def test_profiles_are_those_of_the_documents() -> None:
    quick, mlperf = PROFILES["quick"], PROFILES["mlperf"]
    assert (quick.warmup_runs, quick.warmup_ns) == (10, 500_000_000)
    assert (quick.num_runs, quick.measure_ns) == (100, 10**9)
    assert (mlperf.num_runs, mlperf.measure_ns) == (1024, 60 * 10**9)
    assert all(profile.name == name for name, profile in PROFILES.items())


IDLE = MachineState(0.1, ["performance"] * 2, [2 * 10**9] * 2)


def measured(samples: list[int], capped: tuple[str, ...] = ()) -> Measurement:
    result = Measurement(capped=list(capped))
    result.latencies_ns.extend(samples)
    return result


def judged(
    samples: list[int], before: MachineState = IDLE, after: MachineState = IDLE, **more: Any
) -> tuple[str, list[str]]:
    capped = more.pop("capped", ())
    options = {"num_threads": 1, "num_cores": 2, **more}
    return validity.judge(measured(samples, capped), before, after, **options)


def test_quiet_measurement_is_valid() -> None:
    assert judged([100] * 200) == ("valid", [])
    unknown = MachineState(None, None, None)
    assert judged([100] * 200, unknown, unknown) == ("valid", [])


def test_too_few_runs_are_invalid() -> None:
    assert judged([100] * 10) == ("invalid", ["10 runs were measured; the median needs 11"])


DEGRADING: dict[str, tuple[dict[str, Any], str]] = {
    "cap": ({"capped": ("measurement",)}, "capped by time: measurement"),
    "load": (
        {"after": MachineState(2.5, IDLE.governors, IDLE.frequencies_hz)},
        "load average 2.50 on 2 cores: others were running",
    ),
    "governor": (
        {
            "before": MachineState(0, ["powersave"], None),
            "after": MachineState(0, ["powersave"], None),
        },
        'the frequency governor is "powersave"',
    ),
    "governor change": (
        {"after": MachineState(0, ["schedutil"], None)},
        "the frequency governor changed while measuring",
    ),
    "clock": (
        {"after": MachineState(0.1, IDLE.governors, [10**9])},
        "the clock changed from 2000 to 1000 MHz",
    ),
    "threads": ({"num_threads": 3}, "3 threads on 2 usable cores"),
    "note": ({"notes": ["not verified: a bare .tflite"]}, "not verified: a bare .tflite"),
}


@pytest.mark.parametrize("what", DEGRADING)
def test_disturbed_measurement_is_degraded_and_says_why(what: str) -> None:
    arguments, reason = DEGRADING[what]
    assert judged([100] * 200, **arguments) == ("degraded", [reason])


def test_drift_is_degraded() -> None:
    reason = "the 90th percentiles of the first and the last half differ by 30%"
    assert judged([100] * 100 + [130] * 100) == ("degraded", [reason])
    assert judged([100] * 100 + [119] * 100) == ("valid", [])


def test_percentile_interval_holds_the_percentile_as_often_as_it_says() -> None:
    # 2.576 / √2 standard deviations: 93.1 % of a normal distribution; whole ranks only widen it.
    drawn = np.random.default_rng(1).permuted(np.tile(np.arange(1000), (2000, 1)), axis=1)[:, :100]
    intervals = [percentiles.percentile_interval(row.tolist(), 90) for row in drawn]
    assert 0.93 <= np.mean([low <= 899 <= high for low, high in intervals]) <= 0.98


@pytest.mark.parametrize("num_runs", [135, 500, 2000])
def test_texts_of_other_lengths_are_no_drift(num_runs: int) -> None:
    """Four branches, each text in the shortest that holds it: the 90th percentile jumps."""
    random = np.random.default_rng(2)
    texts = random.choice([40, 70, 110, 170], p=[0.4, 0.35, 0.15, 0.1], size=(200, num_runs))
    verdicts = [judged(row.tolist())[0] for row in texts]
    assert verdicts.count("degraded") <= 4  # 2 %
    texts[:, num_runs // 2 :] *= 2  # something else began to run
    verdicts = [judged(row.tolist())[0] for row in texts]
    assert verdicts.count("degraded") >= 160


def test_every_reason_is_given() -> None:
    _, reasons = judged([100] * 100 + [130] * 100, capped=("warm-up",), num_threads=8)
    assert len(reasons) == 3
    assert all(first != second for first, second in pairwise(reasons))
