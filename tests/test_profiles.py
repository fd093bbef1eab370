"""Tests of the sustained and the paced profile with a clock of our own, and of their settings."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from device_runner import profiles, sustained
from device_runner.latency import measure
from device_runner.profiles import PROFILES, Profile, choose_profile, profile_options
from device_runner.progress import ProgressLines
from device_runner.record import describe_measurement, doubts
from device_runner.turn import Contestant, Measurement, Reading

SECOND = 10**9
MINUTE = 60 * SECOND


class Clock:
    """Time passes only in calls and in sleep."""

    def __init__(self) -> None:
        self.now = 5 * SECOND
        self.slept: list[float] = []

    def __call__(self) -> int:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += round(seconds * 1e9)


class Model:
    """A call takes what `duration_ns(now)` says."""

    def __init__(self, clock: Clock, duration_ns: Any) -> None:
        self.clock, self.duration_ns, self.calls = clock, duration_ns, 0

    def set_input(self, value: Any) -> None:
        pass

    def invoke(self) -> None:
        self.calls += 1
        self.clock.now += int(self.duration_ns(self.clock.now))

    def get_output(self) -> str:
        return "output"


def contestant(model: Model, name: str = "a", **more: Any) -> Contestant:
    return Contestant(name, model, ["one", "two"], **more)


def nothing_read() -> Reading:
    return Reading({}, None)


SUSTAINED = Profile("sustained", 1, 0, 1, 0, 0, 10**15, duration_ns=5 * MINUTE)
PACED = Profile("paced", 1, 0, 90, 0, 0, 10**15, rate_hz=5.0)


# Sustained.


def sustain(duration_ns: Any, profile: Profile = SUSTAINED, read: Any = nothing_read) -> Any:
    clock = Clock()
    (result,) = measure([contestant(Model(clock, duration_ns))], profile, clock, read=read)
    return describe_measurement(result, profile), result


def test_every_minute_has_its_own_percentiles() -> None:
    """A call takes 10 ms in the first minute after the start at 5 s, 1 ms more in each other."""
    numbers, _ = sustain(lambda now: (10 + (now - 5 * SECOND) // MINUTE) * 10**6)
    minutes = numbers["minutes"]
    assert [entry["minute"] for entry in minutes[:5]] == [1, 2, 3, 4, 5]
    assert [entry["p50_ns"] for entry in minutes[:5]] == [n * 10**6 for n in (10, 11, 12, 13, 14)]
    # 6,000 calls of 10 ms, a tenth of them the first five of their block of fifty.
    assert minutes[0]["num_runs"] == pytest.approx(5400, abs=10)
    assert minutes[0]["duration_ns"] == MINUTE
    assert sum(entry["num_runs"] for entry in minutes) == numbers["num_runs"]


def test_throttle_point_is_the_first_minute_above_the_share() -> None:
    numbers, _ = sustain(lambda now: 13 * 10**6 if now > 3 * MINUTE + 5 * SECOND else 10**7)
    assert numbers["throttling"] == {"share": 0.1, "minute": 4, "slowdown": pytest.approx(0.3)}
    assert doubts(numbers, 10) == [
        "throttled: the median of minute 4 is more than 10% above the first minute's"
    ]


def test_slowdown_within_the_share_is_no_throttling() -> None:
    numbers, _ = sustain(lambda now: 10_900_000 if now > 3 * MINUTE else 10**7)
    assert numbers["throttling"]["minute"] is None
    assert numbers["throttling"]["slowdown"] == pytest.approx(0.09)
    assert doubts(numbers, 10) == []


def test_one_minute_says_nothing_of_throttling() -> None:
    profile = Profile("sustained", 1, 0, 1, 0, 0, 10**15, duration_ns=MINUTE // 2)
    numbers, _ = sustain(lambda now: 10**7, profile)
    assert numbers["throttling"] == {"share": 0.1, "minute": None, "slowdown": None}
    assert numbers["minutes"][0]["duration_ns"] == pytest.approx(MINUTE // 2, abs=10**7)


def test_minute_with_too_few_calls_has_no_percentile() -> None:
    numbers, _ = sustain(lambda now: 7 * SECOND)
    assert [entry["p50_ns"] for entry in numbers["minutes"]] == [None] * len(numbers["minutes"])


def test_minute_in_which_one_call_ran_throughout_is_there_and_empty() -> None:
    numbers, result = sustain(lambda now: 150 * SECOND if now > 90 * SECOND else 10**7)
    assert [entry["num_runs"] > 0 for entry in numbers["minutes"]] == [True, True, False, True] + [
        True
    ] * (len(numbers["minutes"]) - 4)
    assert result.minute_starts[2] == result.minute_starts[3]


def test_device_is_read_once_a_second_and_between_calls() -> None:
    clock = Clock()
    times: list[int] = []

    def read() -> Reading:
        times.append(clock.now)
        hot = 40.0 + (clock.now - 5 * SECOND) / MINUTE
        return Reading({"cpu": hot, "gpu": 30.0}, [2_000_000_000, 1_000_000_000])

    model = Model(clock, lambda now: 10**7)
    (result,) = measure([contestant(model)], SUSTAINED, clock, read=read)
    assert all(later - sooner >= SECOND for sooner, later in zip(times, times[1:], strict=False))
    assert 290 <= len(times) <= 301
    assert set(result.latencies_ns) == {10**7}
    minutes = describe_measurement(result, SUSTAINED)["minutes"]
    assert minutes[0]["max_temperatures_celsius"]["cpu"] == pytest.approx(41, abs=0.05)
    assert minutes[4]["max_temperatures_celsius"] == {"cpu": pytest.approx(45, abs=0.05), "gpu": 30}
    assert minutes[0]["mean_frequencies_hz"] == [2_000_000_000, 1_000_000_000]


def test_core_that_was_switched_off_leaves_the_frequency_unknown() -> None:
    readings = [Reading({}, [5, 5]), Reading({}, [5]), Reading({}, None)]
    result = Measurement(minute_starts=[0], readings={0: readings}, measure_elapsed_ns=MINUTE)
    assert sustained.describe_minutes(result)[0]["mean_frequencies_hz"] is None


def test_short_calls_are_thinned_evenly_and_the_stride_is_told() -> None:
    profile = Profile("sustained", 10, 0, 1, 0, 0, 10**15, duration_ns=2 * SECOND)
    numbers, result = sustain(lambda now: 100_000, profile)
    # 600,000 calls a minute, 20,000 kept: every 30th; 31 is the next without a factor of 45.
    assert numbers["sample_stride"] == 31
    assert numbers["num_runs"] == pytest.approx(2 * SECOND / 100_000 * 0.9 / 31, rel=0.01)
    assert numbers["measure_ns"] == pytest.approx(1.8 * SECOND, rel=0.01)


def test_several_models_share_the_minutes() -> None:
    clock = Clock()
    models = [Model(clock, lambda now: 10**7), Model(clock, lambda now: 3 * 10**7)]
    results = measure(
        [contestant(models[0], "a"), contestant(models[1], "b")],
        SUSTAINED, clock, read=nothing_read,
    )  # fmt: skip
    lengths = [describe_measurement(result, SUSTAINED)["minutes"] for result in results]
    assert [len(entry) for entry in lengths] == [5, 5]
    assert clock.now <= 5 * SECOND + 5 * MINUTE + 2 * SECOND


def test_temperatures_are_read_from_the_kernels_files(tmp_path: Path) -> None:
    zones = [("cpu-thermal", "48312"), ("battery", "-2500"), ("cpu-thermal", "51000"), ("x", "n/a")]
    for number, (kind, value) in enumerate(zones):
        folder = tmp_path / f"sys/class/thermal/thermal_zone{number}"
        folder.mkdir(parents=True)
        (folder / "type").write_text(kind + "\n")
        (folder / "temp").write_text(value + "\n")
    (tmp_path / "sys/class/thermal/cooling_device0").mkdir()
    assert sustained.read_temperatures(str(tmp_path)) == {
        "cpu-thermal": 48.312,
        "battery": -2.5,
        "cpu-thermal-2": 51.0,
    }
    assert sustained.read_temperatures(str(tmp_path / "nowhere")) == {}


def test_this_machine_can_be_read() -> None:
    reading = sustained.read_device()
    assert all(-100 < value < 200 for value in reading.temperatures_celsius.values())


# Paced.


def pace(duration_ns: Any, profile: Profile = PACED, **more: Any) -> tuple[Any, Clock]:
    clock = Clock()
    model = Model(clock, duration_ns)
    (result,) = measure([contestant(model, **more)], profile, clock, sleep=clock.sleep)
    return describe_measurement(result, profile), clock


def test_requests_come_on_schedule_and_the_thread_sleeps_between() -> None:
    numbers, clock = pace(lambda now: 50_000_000)
    assert numbers["pace"] == {
        "rate_hz": 5.0,
        "deadline_ns": 200_000_000.0,
        "num_requests": 90,
        "missed_deadlines": 0,
        "start_delay_p50_ns": 0,
        "response_p50_ns": 50_000_000,
        "response_p90_ns": 50_000_000,
        "response_p99_ns": None,
    }
    assert (numbers["p50_ns"], numbers["num_runs"], numbers["dropped_runs"]) == (50_000_000, 90, 10)
    assert clock.slept[0] == pytest.approx(0.2) and clock.slept[1] == pytest.approx(0.15)


def test_late_answers_are_counted_from_the_schedule() -> None:
    """One call of 500 ms makes itself and the two after it late, though these take 50 ms."""
    clock = Clock()
    model = Model(clock, lambda now: 0)
    # Call 1 is the first, 2 the warm-up; request 10 of the block is call 12.
    model.duration_ns = lambda now: 500_000_000 if model.calls == 12 else 50_000_000
    (result,) = measure([contestant(model)], PACED, clock, sleep=clock.sleep)
    # The second block of 50 begins afresh. In the first, requests 6 to 50 are kept.
    assert [round(value / 1e6) for value in result.responses_ns[:9]] == [
        50, 50, 50, 50, 500, 350, 200, 50, 50,
    ]  # fmt: skip
    assert [round(value / 1e6) for value in result.start_delays_ns[4:8]] == [0, 300, 150, 0]
    numbers = describe_measurement(result, PACED)
    assert numbers["pace"]["missed_deadlines"] == 2
    assert doubts(numbers, 10) == ["2 of 90 requests ended after the next was due"]


def test_model_that_is_slower_than_the_pace_misses_every_deadline() -> None:
    numbers, clock = pace(lambda now: 300_000_000)
    assert numbers["pace"]["missed_deadlines"] == numbers["pace"]["num_requests"] == 90
    assert numbers["p50_ns"] == 300_000_000
    # One wait for the first request of each of the two blocks.
    assert len(clock.slept) == 2


def test_paced_request_with_texts_is_the_whole_way_to_the_label() -> None:
    clock = Clock()

    def encode(text: str) -> str:
        clock.now += 4_000_000
        return text

    model = Model(clock, lambda now: 5_000_000)
    runner = contestant(model, texts=["t"], encode=encode, decode=lambda output: None)
    (result,) = measure([runner], PACED, clock, sleep=clock.sleep)
    numbers = describe_measurement(result, PACED)
    assert (numbers["p50_ns"], numbers["end_to_end_p50_ns"]) == (5_000_000, 9_000_000)
    assert numbers["pace"]["response_p50_ns"] == 9_000_000
    assert numbers["end_to_end_shares"] == {
        "tokenize": pytest.approx(4 / 9),
        "invoke": pytest.approx(5 / 9),
        "decode": 0,
        "copy": pytest.approx(0, abs=1e-9),
    }


def test_pace_that_takes_too_long_is_capped() -> None:
    profile = Profile("paced", 1, 0, 90, 0, 0, 4 * SECOND, rate_hz=5.0)
    numbers, _ = pace(lambda now: 50_000_000, profile)
    assert numbers["capped"] == ["measurement"] and numbers["num_runs"] < 30


# Settings.


def test_settings_replace_those_of_the_profile() -> None:
    assert choose_profile("quick") is PROFILES["quick"]
    assert choose_profile("sustained").duration_ns == 5 * MINUTE
    assert choose_profile("sustained", duration_s=90).duration_ns == 90 * SECOND
    assert choose_profile("paced").rate_hz == 5
    chosen = choose_profile("paced", rate_hz=20, duration_s=30)
    assert (chosen.rate_hz, chosen.num_runs) == (20, 600)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("fast", {}, r"profile='fast' is unknown. Use one of: quick, mlperf, sustained, paced"),
        ("quick", {"duration_s": 5}, r"profile='quick' has no duration, got 5. Use profile 'sus"),
        ("mlperf", {"rate_hz": 5}, r"profile='mlperf' has no rate, got 5. Use profile 'paced'"),
        ("sustained", {"duration_s": 0.5}, r"duration=0.5, expected 1 to 86400 seconds"),
        ("sustained", {"duration_s": float("nan")}, r"duration=nan, expected 1 to 86400 seconds"),
        ("paced", {"rate_hz": 0}, r"rate=0, expected above 0 and at most 1000 requests a second"),
        ("paced", {"rate_hz": 1e6}, r"rate=1000000.0, expected above 0 and at most 1000"),
    ],
)
def test_settings_that_do_not_fit_are_refused(name: str, settings: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choose_profile(name, **settings)


@pytest.mark.parametrize(
    "settings",
    [
        ("quick", {}),
        ("sustained", {"duration_s": 61.5}),
        ("paced", {}),
        ("paced", {"rate_hz": 3.0, "duration_s": 7.0}),
        ("paced", {"rate_hz": 0.3, "duration_s": 100.0}),
    ],
)
def test_options_of_a_profile_choose_it_again(settings: Any) -> None:
    profile = choose_profile(settings[0], **settings[1])
    words = profile_options(profile)
    given = dict(zip(words[::2], words[1::2], strict=True))
    again = choose_profile(
        given["--profile"],
        duration_s=float(given["--duration"]) if "--duration" in given else None,
        rate_hz=float(given["--rate"]) if "--rate" in given else None,
    )
    assert again.rate_hz == profile.rate_hz and again.num_runs == profile.num_runs
    assert again.duration_ns == profile.duration_ns


def test_longest_and_expected_times() -> None:
    quick, mlperf = PROFILES["quick"], PROFILES["mlperf"]
    assert profiles.longest_ns(quick, 2) == 2 * 3 * 60 * SECOND
    assert profiles.expected_ns(mlperf, 2) == 2 * 60.5 * SECOND
    sustained_ns = profiles.longest_ns(PROFILES["sustained"], 2)
    assert sustained_ns == 2 * 60 * SECOND + 300 * SECOND
    assert profiles.expected_ns(PROFILES["paced"], 1) == 20.5 * SECOND
    assert profiles.longest_ns(PROFILES["paced"], 1) > profiles.expected_ns(PROFILES["paced"], 1)


def test_progress_is_a_line_every_five_seconds() -> None:
    now = [0.0]
    stream = io.StringIO()
    progress = ProgressLines(PROFILES["mlperf"], 1, stream, clock=lambda: now[0])
    for second in range(13):
        now[0] = float(second)
        progress("measuring")
    assert stream.getvalue().splitlines() == [
        "profile mlperf, measuring: 5 s of about 60 s",
        "profile mlperf, measuring: 10 s of about 60 s",
    ]


def test_progress_is_told_the_phase_after_every_block() -> None:
    clock, phases = Clock(), []
    profile = Profile("test", 1, 0, 45, 0, 45, 10**15)
    runner = contestant(
        Model(clock, lambda now: 5), texts=["t"], encode=lambda text: text, decode=lambda _: None
    )
    measure([runner], profile, clock, progress=phases.append)
    assert phases == ["warm-up", "measuring", "end-to-end"]


def test_slow_clock_makes_a_result_doubtful() -> None:
    numbers = {"p50_ns": 1000}
    assert doubts(numbers, 50) == []
    assert doubts(numbers, 51) == ["reading the clock takes 51 ns, 5% of the median call"]
