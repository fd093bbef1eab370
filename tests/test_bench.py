"""Tests of `tfpipe.bench` and of the local device: what may be measured, and what a crash costs."""

from __future__ import annotations

import io
import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from device_runner import profiles
from device_runner.artifact import read_artifact
from tfpipe import bench as bench_module
from tfpipe import devices
from tfpipe.bench.progress import BenchProgress
from tfpipe.devices import DeviceLostError, RunnerDiedError, open_device
from tfpipe.devices.local import LocalDevice
from tfpipe.devices.runner import run_process

bench = bench_module.bench


def verified(folder: Path, **changes: Any) -> Path:
    """Writes the verify.json of an artifact that passed."""
    found = {"passed": True, "model_sha256": read_artifact(folder).manifest.model_sha256}
    (folder / "verify.json").write_text(json.dumps({**found, **changes}))
    return folder


@pytest.fixture
def exported(make_artifact: Callable[..., Path], texts_file: Path, tmp_path: Path) -> Path:
    """RUN/exports/one of a run that keeps its test texts."""
    (tmp_path / "run" / "data").mkdir(parents=True)
    (tmp_path / "run" / "run.json").write_text("{}")
    shutil.copy(texts_file, tmp_path / "run" / "data" / "test.jsonl")
    return verified(make_artifact("run/exports/one"))


class FakeDevice:
    """Answers as the runner does; a path with "crash" in its name ends it with a signal."""

    name = "fake"
    kind = "emulated"

    def __init__(self, *, crash_together: bool = False) -> None:
        self.crash_together = crash_together
        self.commands: list[list[str]] = []

    def run(self, arguments: Sequence[str], *, time_limit_s: float) -> Any:
        assert time_limit_s > 0
        self.commands.append(list(arguments))
        paths = arguments[arguments.index("--") + 1 :]
        for path in paths:
            if Path(path).name == "crash" or (self.crash_together and len(paths) > 1):
                raise RunnerDiedError(f"device_runner was ended by SIGSEGV on {path}.")
        if arguments[0] == "memory":
            return {"peak_memory_bytes": 5000, "baseline_memory_bytes": 3000}
        return {"results": [self.result(path) for path in paths]}

    def result(self, path: str) -> dict[str, Any]:
        return {
            "artifact": path,
            "p50_ns": 7,
            "validity": "valid",
            "validity_reasons": [],
            "end_to_end_latencies_ns": [9],
            "latencies_ns": [7, 7],
        }


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    device = FakeDevice()
    monkeypatch.setitem(devices.DEVICES, "fake", lambda name: device)
    return device


def test_real_measurement_of_artifact_and_bare_model(
    exported: Path, tiny_model: Any, tmp_path: Path
) -> None:
    record = bench([exported, tiny_model.path])
    assert record["failures"] == []
    one, bare = record["results"]
    assert (one["name"], bare["name"]) == ("one", "tiny")
    for result in record["results"]:
        assert (result["device"], result["device_kind"]) == ("local", "native")
        assert (result["warmup_runs"], result["warmup_ns"]) >= (10, 500_000_000)
        assert result["num_runs"] == len(result["latencies_ns"]) >= 662
        assert result["p50_ns"] <= result["p90_ns"] <= result["p99_ns"] <= result["max_ns"]
        assert result["peak_memory_bytes"] > result["baseline_memory_bytes"] > 0
        assert result["init_ns"] > 0 and result["first_invoke_ns"] > 0
    assert one["input_source"] == "texts"
    assert one["end_to_end_p50_ns"] > one["tokenize_p50_ns"] > 0
    assert bare["validity"] == "degraded"
    # Written into the run without the stranger's result.
    (file,) = (tmp_path / "run" / "bench").iterdir()
    assert file.name.startswith("local-")
    written = json.loads(file.read_text("utf-8"))
    assert [result["name"] for result in written["results"]] == ["one"]
    assert written["results"][0]["latencies_ns"] == one["latencies_ns"]
    assert datetime.fromisoformat(written["created"]).utcoffset() is not None
    assert written["settings"]["profile"]["name"] == "quick"


def test_samples_are_one_line_of_the_file(fake: FakeDevice, exported: Path, tmp_path: Path) -> None:
    record = bench([exported], device="fake", output=tmp_path / "out.json")
    text = (tmp_path / "out.json").read_text("utf-8")
    assert ' "latencies_ns": [7, 7]\n' in text
    assert json.loads(text) == record
    assert not (tmp_path / "run" / "bench").exists()


def test_texts_of_the_run_are_the_default(
    fake: FakeDevice, exported: Path, tiny_model: Any
) -> None:
    bench([exported, tiny_model.path], device="fake")
    (command,) = [command for command in fake.commands if command[0] == "bench"]
    texts = exported.parent.parent / "data" / "test.jsonl"
    assert [item for item in command if item.startswith("--texts")] == [
        f"--texts={texts}",
        "--texts=",
    ]


def test_folder_called_exports_is_no_run_by_that(
    fake: FakeDevice, make_artifact: Callable[..., Path], tmp_path: Path
) -> None:
    folder = verified(make_artifact("copied/exports/one"))
    assert bench([folder], device="fake")["settings"]["texts"] == [None]
    assert not (tmp_path / "copied" / "bench").exists()


def test_given_texts_and_token_ids_are_passed_on(
    fake: FakeDevice, exported: Path, tiny_model: Any, tmp_path: Path
) -> None:
    bench([exported], device="fake", texts=tmp_path / "mine.jsonl")
    assert f"--texts={tmp_path / 'mine.jsonl'}" in fake.commands[-1]
    bench([tiny_model.path], device="fake", texts=tmp_path / "ids.npy")
    assert f"--token-ids {tmp_path / 'ids.npy'}" in " ".join(fake.commands[-1])


def test_inputs_that_nothing_reads_are_refused(
    fake: FakeDevice, exported: Path, tiny_model: Any
) -> None:
    with pytest.raises(ValueError, match=r"ids.npy' holds token ids, .* Give a .jsonl file"):
        bench([exported], device="fake", texts=Path("ids.npy"))
    with pytest.raises(ValueError, match=r"mine.txt', but every model is a bare .* as a .npy file"):
        bench([tiny_model.path], device="fake", texts=Path("mine.txt"))
    assert not fake.commands


def test_memory_comes_from_a_process_of_its_own(fake: FakeDevice, exported: Path) -> None:
    (result,) = bench([exported], device="fake", num_threads=2)["results"]
    assert (result["peak_memory_bytes"], result["baseline_memory_bytes"]) == (5000, 3000)
    assert fake.commands[0] == ["memory", "--num-threads", "2", "--", str(exported)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"passed": False, "failures": ["accuracy fell"]},
            r"one did not pass its verification \(accuracy fell\), so its latency means nothing",
        ),
        ({"passed": "yes"}, r"one did not pass its verification \(no reason is given\)"),
        ({"model_sha256": "0" * 64}, r"verify\.json is about the model 0{64}, the manifest has"),
    ],
)
def test_artifact_that_is_not_verified_is_not_measured(
    fake: FakeDevice, exported: Path, changes: dict[str, Any], message: str
) -> None:
    verified(exported, **changes)
    with pytest.raises(ValueError, match=message):
        bench([exported], device="fake")
    assert fake.commands == []


def test_artifact_without_verification_is_not_measured(fake: FakeDevice, exported: Path) -> None:
    (exported / "verify.json").unlink()
    with pytest.raises(
        ValueError, match=r"has no verify\.json, .* Run `tfpipe verify .*one` first"
    ):
        bench([exported], device="fake")
    (exported / "verify.json").write_text("{")
    with pytest.raises(ValueError, match=r"verify\.json is not JSON \(.*Run `tfpipe verify"):
        bench([exported], device="fake")
    assert fake.commands == []


def test_one_unverified_artifact_stops_all(
    fake: FakeDevice, exported: Path, make_artifact: Callable[..., Path]
) -> None:
    with pytest.raises(ValueError, match=r"has no verify\.json"):
        bench([exported, make_artifact("run/exports/two")], device="fake")
    assert fake.commands == []


def test_model_that_crashes_costs_only_its_own_result(
    fake: FakeDevice, exported: Path, make_artifact: Callable[..., Path], tmp_path: Path
) -> None:
    crashing = verified(make_artifact("run/exports/crash"))
    record = bench([crashing, exported], device="fake")
    assert [result["artifact"] for result in record["results"]] == [str(exported)]
    assert record["failures"] == [
        {
            "artifact": str(crashing),
            "error": f"{crashing}: device_runner was ended by SIGSEGV on {crashing}.",
        }
    ]
    (file,) = (tmp_path / "run" / "bench").iterdir()
    assert json.loads(file.read_text())["failures"] == record["failures"]


def test_crash_of_all_together_measures_each_alone_and_says_so(
    fake: FakeDevice, exported: Path, make_artifact: Callable[..., Path]
) -> None:
    fake.crash_together = True
    other = verified(make_artifact("run/exports/two"))
    record = bench([exported, other], device="fake")
    assert [result["validity"] for result in record["results"]] == ["degraded", "degraded"]
    assert "measured alone, not interleaved" in record["results"][0]["validity_reasons"][0]


def test_device_lost_half_way_keeps_what_was_measured_and_says_what_is_missing(
    fake: FakeDevice, exported: Path, make_artifact: Callable[..., Path], monkeypatch: Any
) -> None:
    """The connection is cut in the common measurement, comes back for one, and is gone for two."""
    two, answer = verified(make_artifact("run/exports/two")), fake.run

    def run(arguments: Sequence[str], *, time_limit_s: float) -> Any:
        if arguments[0] == "bench" and str(two) in arguments:
            raise DeviceLostError("fake: no connection, or it was cut.")
        return answer(arguments, time_limit_s=time_limit_s)

    monkeypatch.setattr(fake, "run", run)
    record = bench([exported, two], device="fake")
    (result,) = record["results"]
    assert (result["artifact"], result["validity"]) == (str(exported), "degraded")
    assert "or was lost" in result["validity_reasons"][0]
    (failure,) = record["failures"]
    assert failure["artifact"] == str(two) and "or it was cut" in failure["error"]


def test_nothing_measured_is_an_error(
    fake: FakeDevice, make_artifact: Callable[..., Path], tmp_path: Path
) -> None:
    crashing = verified(make_artifact("run/exports/crash"))
    with pytest.raises(ValueError, match=r"crash: device_runner was ended by SIGSEGV"):
        bench([crashing], device="fake")
    assert not (tmp_path / "run" / "bench").exists()


def test_crash_in_the_measurement_alone_is_an_error(
    fake: FakeDevice, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = fake.run

    def run(arguments: Sequence[str], *, time_limit_s: float) -> Any:
        if arguments[0] == "bench":
            raise RunnerDiedError("device_runner was ended by SIGABRT.")
        return answer(arguments, time_limit_s=time_limit_s)

    monkeypatch.setattr(fake, "run", run)
    with pytest.raises(ValueError, match=r"one: device_runner was ended by SIGABRT"):
        bench([exported], device="fake")


def test_unknown_settings_are_refused_with_the_known_ones(exported: Path) -> None:
    with pytest.raises(ValueError, match=r"profile='fast' is unknown. Use one of: quick, mlperf"):
        bench([exported], profile="fast")
    with pytest.raises(
        ValueError, match=r"device='toaster:1' is unknown. Use one of: adb, browser, local, ssh"
    ):
        bench([exported], device="toaster:1")
    with pytest.raises(ValueError, match=r"device='local:2' names no other machine. Use 'local'"):
        bench([exported], device="local:2")
    with pytest.raises(ValueError, match=r"paths is empty, expected at least one artifact"):
        bench([])


def test_truncated_model_is_one_clear_error(tiny_model: Any, tmp_path: Path) -> None:
    path = tmp_path / "cut.tflite"
    path.write_bytes(tiny_model.path.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"^\S*cut\.tflite \(300 bytes\) was refused by ai-edge"):
        bench([path])


def test_path_that_looks_like_an_option_is_a_path(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--output"):
        LocalDevice().run(["memory", "--", "--output"], time_limit_s=60)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_process_that_dies_is_named_with_its_signal_and_last_words() -> None:
    code = "import os, sys; print('loading', file=sys.stderr, flush=True); os.abort()"
    with pytest.raises(RunnerDiedError, match=r"was ended by SIGABRT. The TFLite .*words: loading"):
        run_process(python(code), time_limit_s=60)


def test_process_that_is_killed_points_at_the_memory() -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    with pytest.raises(RunnerDiedError, match=r"SIGKILL. The system may have run out of memory"):
        run_process(python(code), time_limit_s=60)


def test_signal_without_a_name_is_given_by_number() -> None:
    code = "import os; os.kill(os.getpid(), 40)"
    with pytest.raises(RunnerDiedError, match=r"was ended by (signal 40|SIG\S+)\."):
        run_process(python(code), time_limit_s=60)


def test_process_that_hangs_is_stopped() -> None:
    with pytest.raises(ValueError, match=r"took more than 1 s and was stopped"):
        run_process(python("import time; time.sleep(60)"), time_limit_s=1)


def test_process_that_fails_passes_its_own_message_on() -> None:
    code = "import sys; sys.exit('INFO: noise\\nError: x=1, expected 2. Use 2.')"
    with pytest.raises(ValueError, match=r"^x=1, expected 2. Use 2.$"):
        run_process(python(code), time_limit_s=60)


def test_process_that_fails_without_a_message_is_shown() -> None:
    with pytest.raises(ValueError, match=r"exited with code 3, expected 0. It said: nothing"):
        run_process(python("raise SystemExit(3)"), time_limit_s=60)


@pytest.mark.parametrize("printed", ["", "hello"])
def test_process_that_prints_no_json_is_an_error(printed: str) -> None:
    with pytest.raises(ValueError, match=rf"printed '{printed}', expected JSON"):
        run_process(python(f"print({printed!r})"), time_limit_s=60)


def test_json_is_the_last_line_and_keeps_other_line_ends() -> None:
    code = "print('noise'); print('\"a\\u2028b\"')"
    assert run_process(python(code), time_limit_s=60) == "a\u2028b"


def test_runner_cannot_be_replaced_from_the_present_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('replaced')")
    monkeypatch.chdir(tmp_path)
    assert LocalDevice().run(["info"], time_limit_s=60)["runner_version"]


def test_every_device_keeps_the_protocol() -> None:
    examples = {"ssh": "ssh://board", "browser": "browser:wasm"}
    for kind in devices.DEVICES:
        name = examples.get(kind, kind)
        device = open_device(name)
        assert device.name == name and device.kind in ("native", "emulated", "browser")


def test_profiles_are_known_to_the_host() -> None:
    assert set(profiles.PROFILES) >= {"quick", "mlperf"}


def test_table_shows_numbers_and_every_doubt() -> None:
    result = {
        "name": "cpu-int8",
        "scheme": "int8",
        "p50_ns": 123456,
        "p90_ns": 2345678,
        "p99_ns": None,
        "mean_ns": 234567.8,
        "end_to_end_p50_ns": 999,
        "first_invoke_ns": 1000,
        "init_ns": 0,
        "peak_memory_bytes": 3 << 20,
        "num_runs": 100,
        "validity": "degraded",
        "validity_reasons": ["capped by time: measurement"],
        "device": "local",
        "device_kind": "native",
        "runtime": "ai-edge-litert",
        "runtime_version": "2.3.0",
        "delegate": "cpu",
        "num_threads": 2,
        "profile": "quick",
    }
    failures = [{"artifact": "x", "error": "x: died"}]
    text = bench_module.format_bench({"results": [result], "failures": failures})
    assert text.splitlines() == [
        "artifact  scheme  p50       p90      p99  mean      end-to-end p50  first call  init    "
        "peak memory  runs  validity",
        "cpu-int8  int8    123.5 us  2.35 ms  -    234.6 us  1.0 us          1.0 us      0.0 us  "
        "3.0 MiB      100   degraded",
        "cpu-int8: capped by time: measurement",
        "not measured: x: died",
        "local (native), ai-edge-litert 2.3.0, delegate cpu, 2 threads, profile quick",
    ]


def test_table_shows_minutes_throttling_and_pace() -> None:
    minute = {"p90_ns": 2000, "max_temperatures_celsius": {}, "mean_frequencies_hz": None}
    hot = {"max_temperatures_celsius": {"a": 40.0, "b": 71.4}, "mean_frequencies_hz": [10**9]}
    result: dict[str, Any] = {
        "name": "one",
        "minutes": [
            {**minute, "minute": 1, "p50_ns": 1000},
            {**minute, **hot, "minute": 2, "p50_ns": 1500},
        ],
        "throttling": {"share": 0.1, "minute": 2, "slowdown": 0.5},
        "pace": {
            "rate_hz": 5.0,
            "missed_deadlines": 3,
            "num_requests": 100,
            "response_p50_ns": 1000,
            "response_p90_ns": None,
        },
        "timer_overhead_ns": 61,
        "cycles_per_inference": 1234567,
        "validity_reasons": [],
        **{key: "x" for key in ("device", "device_kind", "runtime", "runtime_version")},
        **{"delegate": "cpu", "num_threads": 1, "profile": "sustained"},
    }
    text = bench_module.format_bench({"results": [result], "failures": []})
    assert text.splitlines()[2:] == [
        "one minute 1: p50 1.0 us, p90 2.0 us, temperature unknown, clock unknown",
        "one minute 2: p50 1.5 us, p90 2.0 us, 71 degrees Celsius, 1000 MHz",
        "one: throttled from minute 2 on; slowest minute +50.0% against the first",
        "one: 5 requests a second, 3 of 100 missed their deadline, response p50 1.0 us, p90 -",
        "one: 1,234,567 cycles a call",
        "x (x), x x, delegate cpu, 1 thread, profile sustained, reading the clock takes 61 ns",
    ]
    result["throttling"] = {"share": 0.1, "minute": None, "slowdown": 0.02}
    text = bench_module.format_bench({"results": [result], "failures": []})
    assert "one: not throttled; slowest minute +2.0% against the first" in text


def test_settings_of_a_profile_reach_the_runner(fake: FakeDevice, exported: Path) -> None:
    chosen = profiles.choose_profile("paced", rate_hz=20.0, duration_s=3.0)
    record = bench([exported], device="fake", profile=chosen)
    command = fake.commands[-1]
    start = command.index("--profile")
    assert command[start : start + 6] == [
        *("--profile", "paced", "--rate", "20.0", "--duration", "3.0"),
    ]
    assert record["settings"]["profile"]["rate_hz"] == 20


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_progress_of_a_long_measurement_is_shown(stream: io.StringIO) -> None:
    with BenchProgress(profiles.PROFILES["mlperf"], 2, stream=stream, every_s=0.01):
        deadline = time.monotonic() + 20
        while stream.getvalue().count("expected") < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
    shown = stream.getvalue()
    assert "measuring, profile mlperf: 0 s, expected about 121 s" in shown
    assert shown.endswith("\r\033[K" if stream.isatty() else "121 s\n")


def test_progress_of_a_short_measurement_is_silent() -> None:
    stream = io.StringIO()
    with BenchProgress(profiles.PROFILES["quick"], 1, stream=stream):
        pass
    assert stream.getvalue() == ""
