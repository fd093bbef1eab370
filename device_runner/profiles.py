"""Name of a profile → how long to measure: by count and by time, with a cap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict


@dataclass(frozen=True)
class Profile:
    """How long to measure: every phase lasts until both its count and its time are reached.

    Attributes:
        name: Name in `PROFILES`.
        warmup_runs: Fewest calls after the first one that are thrown away.
        warmup_ns: Shortest time of those calls, in nanoseconds.
        num_runs: Fewest calls that are kept.
        measure_ns: Smallest sum of the kept latencies, in nanoseconds.
        end_to_end_runs: Fewest kept runs from text to label.
        max_ns: Longest a phase of one artifact may take, in nanoseconds; then it is cut short.
    """

    name: str
    warmup_runs: int
    warmup_ns: int
    num_runs: int
    measure_ns: int
    end_to_end_runs: int
    max_ns: int


_SECOND = 1000000000
PROFILES: Dict[str, Profile] = {
    # To choose between files that differ by much, as an export does.
    "brief": Profile("brief", 5, _SECOND // 20, 50, _SECOND // 5, 0, 10 * _SECOND),
    # A first look: the counts of LiteRT's benchmark tools, the time of TFLite's benchmark_model.
    "quick": Profile("quick", 10, _SECOND // 2, 100, _SECOND, 100, 60 * _SECOND),
    # MLPerf Mobile's natural_language_processing: 1,024 queries, 60 s, at most 600 s
    # (mlcommons/mobile_app_open, flutter/assets/tasks.pbtxt).
    "mlperf": Profile("mlperf", 10, _SECOND // 2, 1024, 60 * _SECOND, 1024, 600 * _SECOND),
}
