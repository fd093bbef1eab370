"""What a page measured → records as `device_runner.benchmark` makes them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

from device_runner import machine, validity
from device_runner.artifact import Artifact
from device_runner.benchmark import inputs_of
from device_runner.profiles import Profile
from device_runner.record import (
    describe_inputs,
    describe_measurement,
    doubts,
    identity,
    input_notes,
    samples,
)
from device_runner.runnable import Runnable
from device_runner.turn import Measurement
from tfpipe.web.package import RUNTIME, pinned_version
from tfpipe.web.payload import BENCH, BROWSER, ENGINE, TIMER, check_result, read_measurement

# Above, a sample says more of the clock's steps than of the call.
MAX_STEP_SHARE = 0.05
# Edge also calls itself Chrome, and Chrome Safari: the first that fits is meant.
_NAMES = {
    r"Edg\w*/(\d+)": "Edge",
    r"Firefox/(\d+)": "Firefox",
    r"Chrome/(\d+)": "Chrome",
    r"Version/(\d+).*Safari": "Safari",
}
_SYSTEMS = ("Android", "iPhone", "iPad", "Windows", "Macintosh", "CrOS", "Linux")


@dataclass(frozen=True)
class Machine:
    """What is known of the machine that the browser runs on.

    Attributes:
        fingerprint: As `machine.read_fingerprint` gives it.
        before: Its state before the measurement.
        after: Its state after the measurement.
        num_cores: Cores that the browser may use.
    """

    fingerprint: dict[str, Any]
    before: validity.MachineState
    after: validity.MachineState
    num_cores: int


def unloaded(artifact: Artifact) -> Runnable:
    """Returns an artifact as what runs it, before a browser has told what that is."""
    manifest = artifact.manifest
    size = int(manifest.files[manifest.model_file]["bytes"])
    # A page runs the graph of full length, and its runtime tells nothing of delegates.
    model = SimpleNamespace(
        sequence_length=manifest.sequence_length, bucket_lengths=(), count_nodes=lambda: None
    )
    return Runnable(artifact.path, artifact, cast(Any, model), manifest.model_sha256, size)


def describe_results(
    payload: Any,
    artifacts: Sequence[Artifact],
    texts: Sequence[Sequence[str]],
    profile: Profile,
    known: Machine | None = None,
) -> list[dict[str, Any]]:
    """Returns a record for each artifact that the page measured, in order.

    Args:
        payload: What the page sent.
        artifacts: What it measured.
        texts: What each was fed with; none are its goldens.
        profile: What it measured with.
        known: The machine it runs on; None for one that only the page has seen.

    Raises:
        ValueError: The page sent something else.
    """
    given = check_result(payload, BENCH, "result")
    engine = check_result(given["engine"], ENGINE, "engine")
    browser = check_result(given["browser"], BROWSER, "browser")
    timer = check_result(given["timer"], TIMER, "timer")
    if not len(given["measurements"]) == len(given["init_ns"]) == len(artifacts):
        raise ValueError(
            f"the page sent {len(given['measurements'])} measurements of {len(artifacts)} "
            "artifacts. Load the page again."
        )
    known = known or foreign_machine(browser)
    shared = {
        "profile": profile.name,
        **timer_record(timer),
        **machine_record(known),
        "browser": browser,
    }
    rows = zip(artifacts, texts, given["init_ns"], given["measurements"], strict=True)
    records = []
    for artifact, own, init_ns, found in rows:
        runnable = loaded(artifact, engine, init_ns)
        inputs, used, source = inputs_of(runnable, own)
        measurement = read_measurement(found)
        numbers = describe_measurement(measurement, profile)
        notes = [
            *input_notes(runnable, source),
            *doubts(numbers, timer["timer_overhead_ns"]),
            *browser_doubts(numbers, timer["timer_resolution_ns"], given["was_hidden"]),
        ]
        record = {
            **identity(runnable),
            "input_source": source,
            **describe_inputs(runnable, inputs, used),
            **shared,
            **numbers,
            **judge(measurement, known, engine["num_threads"], notes),
            **samples(measurement),
        }
        records.append(record)
    return records


def judge(
    measurement: Measurement, known: Machine, num_threads: int, notes: Sequence[str]
) -> dict[str, Any]:
    """Returns `validity` and `validity_reasons` of one measurement."""
    verdict, reasons = validity.judge(
        measurement,
        known.before,
        known.after,
        num_threads=num_threads,
        num_cores=known.num_cores,
        notes=notes,
    )
    return {"validity": verdict, "validity_reasons": reasons}


def loaded(artifact: Artifact, engine: dict[str, Any], init_ns: int) -> Runnable:
    """Returns an artifact as what a browser has run; `engine` is checked."""
    runnable = unloaded(artifact)
    vars(runnable.model).update(
        runtime=RUNTIME,
        runtime_version=pinned_version(),
        delegate=engine["accelerator"],
        adapter=engine["adapter"],
        is_software=engine["is_software_gpu"],
        num_threads=engine["num_threads"],
        init_ns=init_ns,
    )
    return runnable


def machine_record(known: Machine) -> dict[str, Any]:
    """Returns what a record says of the machine beside its measurement."""
    return {
        "load_average_before": known.before.load_average,
        "load_average_after": known.after.load_average,
        "fingerprint": known.fingerprint,
        "cycles_per_inference": None,
        "cycles_reason": "a browser has no cycle counter",
    }


def timer_record(timer: dict[str, int]) -> dict[str, Any]:
    """Returns the clock of a browser, as `device_runner.latency.read_timer` describes one."""
    return {
        "timer_overhead_ns": timer["timer_overhead_ns"],
        "timer": {
            "clock": "performance.now",
            "monotonic": True,  # High Resolution Time, section 6
            "resolution_ns": float(timer["timer_resolution_ns"]),
        },
    }


def browser_doubts(numbers: dict[str, Any], step_ns: int, was_hidden: bool) -> list[str]:
    """Returns why a result is at best degraded, of what only browsers do."""
    found = []
    median = numbers["p50_ns"]
    if median is not None and step_ns > MAX_STEP_SHARE * median:
        share = f"{step_ns / median:.0%} of" if median else "more than"
        found.append(
            f"the browser's clock goes in steps of {step_ns / 1e3:g} us, {share} the median call"
        )
    if was_hidden:
        found.append("the page was hidden: browsers slow such pages down")
    return found


def foreign_machine(browser: dict[str, Any]) -> Machine:
    """Returns a machine of which only the page tells: nothing but its cores and its browser."""
    unknown: dict[str, Any] = dict.fromkeys(machine.read_fingerprint())
    fingerprint = {**unknown, "num_cores": browser["num_cores"], "os": browser["user_agent"]}
    state = validity.MachineState(None, None, None)
    return Machine(fingerprint, state, state, browser["num_cores"] or 1)


def browser_name(user_agent: str) -> str:
    """Returns browser and system in short, for a device's name.

    >>> browser_name("Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 Chrome/142.0.0.0")
    'Chrome 142, Android'
    """
    found = ((re.search(pattern, user_agent), name) for pattern, name in _NAMES.items())
    browser = next((f"{name} {match[1]}" for match, name in found if match), "unknown browser")
    system = next((name for name in _SYSTEMS if name in user_agent), "unknown system")
    return f"{browser}, {system}"
