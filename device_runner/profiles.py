"""Name of a profile and its settings → how, and how long, to measure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Dict, List, Optional, Union


@dataclass(frozen=True)
class Profile:
    """How long to measure: every phase lasts until both its count and its time are reached.

    Attributes:
        name: Name in `PROFILES`.
        warmup_runs: Fewest calls after the first one that are thrown away.
        warmup_ns: Shortest time of those calls, in nanoseconds.
        num_runs: Fewest calls that are kept.
        measure_ns: Smallest sum of the kept latencies, in nanoseconds.
        end_to_end_runs: Fewest kept runs from text to label; 0 leaves that phase out.
        max_ns: Longest a phase of one artifact may take, in nanoseconds; then it is cut short.
        duration_ns: How long all artifacts together are kept running, in nanoseconds, whatever
            the counts above say; 0 goes by the counts.
        rate_hz: Requests a second, each at its time on a schedule; 0 calls without a pause.
        op_runs: Calls in which the runtime times every op, apart from all others; 0 for none.
    """

    name: str
    warmup_runs: int
    warmup_ns: int
    num_runs: int
    measure_ns: int
    end_to_end_runs: int
    max_ns: int
    duration_ns: int = 0
    rate_hz: float = 0.0
    op_runs: int = 0


_SECOND = 1000000000
# A day: a mistyped number must not keep a device busy for years.
MAX_DURATION_S = 86400.0
# Above, a request's period is near what a sleeping thread needs to wake.
MAX_RATE_HZ = 1000.0
# Profiled calls: the mean of a clock of whole microseconds is then good to some hundredths of one.
OP_RUNS = 500
PROFILES: Dict[str, Profile] = {
    # A first look: the counts of LiteRT's benchmark tools, the time of TFLite's benchmark_model.
    "quick": Profile("quick", 10, _SECOND // 2, 100, _SECOND, 100, 60 * _SECOND),
    # MLPerf Mobile's natural_language_processing: 1,024 queries, 60 s, at most 600 s
    # (mlcommons/mobile_app_open, flutter/assets/tasks.pbtxt).
    "mlperf": Profile("mlperf", 10, _SECOND // 2, 1024, 60 * _SECOND, 1024, 600 * _SECOND),
    # Long enough that a device without a fan gets warm: what it gives in the fifth minute, not
    # in the first.
    "sustained": Profile(
        "sustained", 10, _SECOND // 2, 1, 0, 0, 60 * _SECOND, duration_ns=300 * _SECOND
    ),
    # An app that answers now and then: between two requests the cores clock down.
    "paced": Profile("paced", 10, _SECOND // 2, 100, 0, 0, 600 * _SECOND, rate_hz=5.0),
    # To choose between files that differ by much, as an export does.
    "brief": Profile("brief", 5, _SECOND // 20, 50, _SECOND // 5, 0, 10 * _SECOND),
}


def choose_profile(
    name: str, *, duration_s: Optional[float] = None, rate_hz: Optional[float] = None
) -> Profile:
    """Returns a profile of `PROFILES`, its duration or rate replaced.

    Args:
        name: A key of `PROFILES`.
        duration_s: For "sustained": seconds that all artifacts together are kept running, from 1
            to a day. For "paced": seconds of requests to each artifact.
        rate_hz: For "paced": requests a second, above 0 and at most 1,000.

    Raises:
        ValueError: Unknown name, a setting outside its range, or one that the profile has not.

    >>> choose_profile("paced", rate_hz=2).rate_hz
    2.0
    """
    if name not in PROFILES:
        raise ValueError(f"profile={name!r} is unknown. Use one of: {', '.join(PROFILES)}.")
    profile = PROFILES[name]
    if rate_hz is not None:
        if not profile.rate_hz:
            raise ValueError(f"profile={name!r} has no rate, got {rate_hz}. Use profile 'paced'.")
        if not 0 < rate_hz <= MAX_RATE_HZ:  # also refuses NaN
            raise ValueError(
                f"rate={rate_hz}, expected above 0 and at most {MAX_RATE_HZ:.0f} requests a "
                "second. For calls without a pause use profile 'quick'."
            )
        profile = replace(profile, rate_hz=float(rate_hz))
    if duration_s is None:
        return profile
    if not (profile.rate_hz or profile.duration_ns):
        raise ValueError(
            f"profile={name!r} has no duration, got {duration_s}. Use profile 'sustained' or "
            "'paced'."
        )
    if not 1 <= duration_s <= MAX_DURATION_S:
        raise ValueError(
            f"duration={duration_s}, expected 1 to {MAX_DURATION_S:.0f} seconds. Use 300 for five "
            "minutes."
        )
    if profile.duration_ns:
        return replace(profile, duration_ns=int(duration_s * _SECOND))
    num_runs = max(1, math.ceil(round(duration_s * profile.rate_hz, 6)))
    longest = max(profile.max_ns, 2 * int(duration_s * _SECOND))
    return replace(profile, num_runs=num_runs, max_ns=longest)


def as_profile(profile: Union[Profile, str]) -> Profile:
    """Returns the profile itself, or the one of that name; ValueError for an unknown name."""
    return choose_profile(profile) if isinstance(profile, str) else profile


def profile_options(profile: Profile) -> List[str]:
    """Returns the options of `python -m device_runner bench` that choose this profile."""
    options = ["--profile", profile.name]
    if profile.rate_hz:
        options += ["--rate", repr(profile.rate_hz)]
        if profile.num_runs != PROFILES[profile.name].num_runs:
            options += ["--duration", repr(profile.num_runs / profile.rate_hz)]
    elif profile.duration_ns:
        options += ["--duration", repr(profile.duration_ns / _SECOND)]
    return options


def longest_ns(profile: Profile, num_artifacts: int) -> int:
    """Returns how long measuring may take at most, in nanoseconds: all phases, each capped."""
    phases = 2 + (profile.end_to_end_runs > 0) - (profile.duration_ns > 0)
    return num_artifacts * phases * profile.max_ns + profile.duration_ns


def expected_ns(profile: Profile, num_artifacts: int) -> int:
    """Returns how long measuring takes where calls are short, in nanoseconds: an estimate."""
    each = profile.warmup_ns
    if profile.rate_hz:
        each += int(profile.num_runs / profile.rate_hz * _SECOND)
    elif not profile.duration_ns:
        each += profile.measure_ns
    return num_artifacts * each + profile.duration_ns
