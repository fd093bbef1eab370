"""A rate → requests at their times on a schedule: how long each took, and which were late."""

from __future__ import annotations

from typing import Any, Callable, Dict

from device_runner.percentiles import PERCENTS, percentile
from device_runner.profiles import Profile
from device_runner.turn import BLOCK_RUNS, DROPPED_RUNS, Measurement, Turn


class Pace:
    """Requests that arrive at a fixed rate, whether or not the one before has been answered.

    Between two of them the thread sleeps, so that the cores clock down and the caches cool as
    they do under an app. Each time is taken from the schedule: a request that waits for a slow
    one before it is late, and that is part of its response time. (Taking it from when the request
    was sent would leave out just the slow ones: "coordinated omission", Gil Tene, "How NOT to
    Measure Latency", 2013.)
    """

    def __init__(self, profile: Profile, sleep: Callable[[float], None]) -> None:
        self._profile = profile
        self._sleep = sleep
        self._period_ns = 1e9 / profile.rate_hz

    def run_block(self, turn: Turn) -> bool:
        """Runs a block of requests, on a schedule that begins with it; returns whether done.

        With texts, a request is everything from the text to its label.
        """
        profile, clock, result = self._profile, turn.clock, turn.result
        start = clock()
        for run in range(BLOCK_RUNS):
            due = start + round((run + 1) * self._period_ns)
            early_ns = due - clock()
            if early_ns > 0:
                self._sleep(early_ns / 1e9)
            keep = run >= DROPPED_RUNS
            began = clock()
            latency_ns = turn.run_end_to_end(keep=keep) if turn.has_texts else turn.run_once()
            ended = clock()
            if not keep:
                result.dropped_runs += 1
            else:
                result.latencies_ns.append(latency_ns)
                result.measured_ns += latency_ns
                result.start_delays_ns.append(began - due)
                result.responses_ns.append(ended - due)
            if turn.used_ns + ended - start > profile.max_ns:
                result.capped.append("measurement")
                return True
            if len(result.latencies_ns) >= profile.num_runs:
                return True
        turn.used_ns += clock() - start
        return False


def describe_pace(measurement: Measurement, profile: Profile) -> Dict[str, Any]:
    """Returns how the requests kept to the schedule; times in nanoseconds.

    A request misses its deadline when it ends after the next one is due. A percentile that the
    requests are too few for is None.
    """
    period_ns = 1e9 / profile.rate_hz
    responses = measurement.responses_ns
    return {
        "rate_hz": profile.rate_hz,
        "deadline_ns": period_ns,
        "num_requests": len(responses),
        "missed_deadlines": sum(response > period_ns for response in responses),
        "start_delay_p50_ns": percentile(measurement.start_delays_ns, 50.0),
        **{
            f"response_{name}_ns": percentile(responses, percent)
            for name, percent in PERCENTS.items()
        },
    }
