"""Tests of the per-op profile: the arithmetic on made events, and LiteRT's own profiler."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SEQUENCE_LENGTH

from device_runner import litert_c, op_profile, op_times
from device_runner.litert_c import ProfiledModel, ProfilerError
from device_runner.profiles import PROFILES
from device_runner.runnable import open_runnable
from tfpipe import devices
from tfpipe.bench import bench, format_bench
from tfpipe.devices import RunnerDiedError

NAMES = ["LiteRT::Run", "Invoke", "GATHER", "Multiply (ND)", "Fully Connected (NC, F32) GEMM"]
NAMES += ["Multiply (ND)", "Invoke"]
KINDS = np.array([[1, 0], [1, 0], [2, 1], [8, 0], [8, 1], [4, 2], [32, -1]])
MEANS = np.array([9.0, 50.0, 2.5, 0.25, 7.0, 0.25, 4e9])


def test_events_become_shares_of_the_time_that_ops_take() -> None:
    found = op_times.summarize(NAMES, KINDS, MEANS)
    assert (found["profiled_call_ns"], found["attributed_ns"]) == (50_000, 10_000)
    assert found["short_ops"] == 2
    assert found["ops"] == [
        {
            "op": "Fully Connected",
            "kernel": "Fully Connected (NC, F32) GEMM",
            "where": "delegate",
            "count": 1,
            "mean_ns": 7000.0,
            "share": 0.7,
        },
        {
            "op": "GATHER",
            "kernel": "GATHER",
            "where": "interpreter",
            "count": 1,
            "mean_ns": 2500.0,
            "share": 0.25,
        },
        {
            "op": "Multiply",
            "kernel": "Multiply (ND)",
            "where": "delegate",
            "count": 2,
            "mean_ns": 500.0,
            "share": 0.05,
        },
    ]


@pytest.mark.parametrize("keep", [[0, 1], [2, 3, 4, 5]])
def test_events_without_a_call_or_without_ops_are_refused(keep: list[int]) -> None:
    with pytest.raises(ValueError, match=r"told \d events and nothing that takes time, expected a"):
        op_times.summarize([NAMES[i] for i in keep], KINDS[keep], MEANS[keep])


def test_interrupted_calls_are_not_averaged() -> None:
    elapsed = np.array([[0, 50, 2, 0, 7, 0, 1]] * 5)
    elapsed[1, 4] = 4000  # an op that was interrupted
    elapsed[3, 0] = 9000  # not within an op: no reason to leave the call out
    elapsed[4, 2] = 3
    kept = op_times.faster_half(elapsed, KINDS)
    assert kept[:, 4].tolist() == [7, 7, 7] and kept[:, 0].tolist() == [0, 0, 9000]


def test_texts_that_run_other_ops_count_alike() -> None:
    """One text runs all of NAMES, another no product and the GATHER three times."""
    more = [*NAMES[:3], "GATHER", "GATHER", "Invoke"]
    kinds = np.array([[1, 0], [1, 0], [2, 1], [2, 2], [2, 3], [32, -1]])
    other = op_times.summarize(more, kinds, np.array([9.0, 30.0, 1.0, 1.0, 0.5, 4e9]))
    found = op_times.combine([op_times.summarize(NAMES, KINDS, MEANS), other])
    assert (found["profiled_call_ns"], found["attributed_ns"]) == (40_000, 6_250)
    assert [(op["op"], op["count"], op["mean_ns"]) for op in found["ops"]] == [
        ("Fully Connected", 0, 3500.0), ("GATHER", 2, 2500.0), ("Multiply", 1, 250.0),
    ]  # fmt: skip
    assert [op["share"] for op in found["ops"]] == pytest.approx([0.56, 0.4, 0.04])
    assert found["short_ops"] == 1


def test_loop_counts_as_the_ops_that_it_runs() -> None:
    events = [("Invoke", 1, 90.0), ("WHILE", 2, 60.0), ("ADD", 2, 10.0), ("IF", 2, 30.0),
              ("Multiply", 8, 12.0), ("ADD", 2, 8.0)]  # fmt: skip
    kinds = np.array([[kind, 0] for _, kind, _ in events])
    means = np.array([mean for *_, mean in events])
    found = op_times.summarize([name for name, *_ in events], kinds, means)
    assert {op["op"]: op["mean_ns"] for op in found["ops"]} == {"ADD": 18_000, "Multiply": 12_000}
    assert found["attributed_ns"] == 30_000


@pytest.fixture(scope="module")
def dense_model(
    convert_tiny: Callable[..., bytes], tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """GATHER for the interpreter, two large products for XNNPACK."""
    tf = pytest.importorskip("tensorflow")
    random = np.random.default_rng(0)
    first, second = (random.normal(size=s).astype(np.float32) for s in ((64, 2048), (2048, 3)))
    table = random.normal(size=(20, 64)).astype(np.float32)

    def classify(token_ids: Any) -> Any:
        rows = tf.gather(tf.constant(table), tf.reshape(token_ids, [-1]))
        wide = tf.nn.relu(tf.linalg.matmul(rows, tf.constant(first)))
        return tf.reduce_mean(tf.linalg.matmul(wide, tf.constant(second)), 0, keepdims=True)

    path = tmp_path_factory.mktemp("dense") / "dense.tflite"
    path.write_bytes(convert_tiny(classify))
    return Path(path)


def run_ops(*arguments: object, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    """In a process of its own: a profiler that is not the known one may end it."""
    command = [python, "-m", "device_runner", "ops", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_runtime_says_where_the_time_goes(dense_model: Path) -> None:
    done = run_ops(dense_model, "--runs", 50)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["method"], found["num_runs"], found["averaged_runs"]) == ("runtime", 50, 25)
    # By the graph: RESHAPE and GATHER are no ops of XNNPACK; what it took is one piece.
    assert found["nodes"]["partitions"] == 1
    executed = sum(op["count"] for op in found["ops"] if op["where"] == "interpreter")
    assert found["nodes"]["total"] - found["nodes"]["delegated"] == executed >= 1
    assert "GATHER" in {op["op"] for op in found["ops"] if op["where"] == "interpreter"}
    # Two of 99.9 % of the multiplications.
    assert found["ops"][0]["op"] == "Fully Connected" and found["ops"][0]["share"] > 0.5
    assert sum(op["share"] for op in found["ops"]) == pytest.approx(1)
    assert found["plain_call_ns"] > 0 and found["profiled_call_ns"] > found["attributed_ns"] > 0


def test_calls_of_a_file_that_branches_are_averaged_text_by_text(
    convert_tiny: Callable[..., bytes], tmp_path: Path
) -> None:
    tf = pytest.importorskip("tensorflow")

    def classify(token_ids: Any) -> Any:
        value = tf.cast(tf.reshape(tf.reduce_max(token_ids), [1, 1]), tf.float32) * tf.ones([1, 3])
        return tf.cond(value[0, 0] > 0, lambda: tf.sin(value), lambda: tf.exp(tf.cos(value)))

    path = tmp_path / "branch.tflite"
    path.write_bytes(convert_tiny(classify))
    model = ProfiledModel(str(path), ((1, SEQUENCE_LENGTH), (1, 3)), 1)
    inputs = [np.full((1, SEQUENCE_LENGTH), value, np.int32) for value in (1, 0)]
    averaged = op_profile._average(model, inputs, 9)
    told = [" ".join(names).upper() for names, *_ in averaged]
    assert "SIN" in told[0] and "EXP" not in told[0]
    assert "COS" in told[1] and "EXP" in told[1]


def test_artifact_is_profiled_with_its_own_texts(tiny_artifact: Path, texts_file: Path) -> None:
    runnable = open_runnable(tiny_artifact)
    assert len(op_profile._inputs(runnable, str(texts_file))) == op_profile.MAX_TEXTS
    assert len(op_profile._inputs(runnable, None)) == 5
    (tiny_artifact.parent / "none.txt").write_text("")
    with pytest.raises(ValueError, match=r"none.txt has no texts, expected at least 1"):
        op_profile._inputs(runnable, str(tiny_artifact.parent / "none.txt"))


def test_no_runs_are_refused(dense_model: Path) -> None:
    with pytest.raises(ValueError, match=r"num_runs=0, expected at least 1. Use 500"):
        op_profile.profile_ops(str(dense_model), num_runs=0)


class Fake:
    """LiteRT's library: every function gives status 0, except those that are told otherwise."""

    def __init__(self, **results: Any) -> None:
        self.results = results

    def __getattr__(self, name: str) -> Any:
        if name == self.results.get("missing"):
            raise AttributeError(name)
        return self.results.get(name, lambda *_: 0)


@pytest.mark.parametrize(
    ("fake", "message"),
    [
        ({"missing": "LiteRtCreateOptions"}, r"LiteRtCreateOptions is missing. Use ai-edge-litert"),
        ({"LiteRtCreateModelFromFile": lambda *_: 5}, r"m.tflite \(LiteRt\w+ gave status 5\): it "),
        ({"LiteRtCreateCompiledModel": lambda *_: 3}, r"LiteRtCreateCompiledModel gave status 3"),
        ({}, r"gives no profiler. Use ai-edge-litert 2.3.0"),
    ],
)
def test_library_that_is_another_is_refused(
    fake: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = litert_c.ctypes.CDLL
    monkeypatch.setattr(
        litert_c.ctypes, "CDLL", lambda name: Fake(**fake) if name == "lib" else real(name)
    )
    monkeypatch.setattr(litert_c, "find_library", lambda: "lib")
    with pytest.raises(ProfilerError, match=message):
        ProfiledModel("m.tflite", ((1, 8), (1, 3)), 1)


def test_missing_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(litert_c, "find_library", lambda: None)
    with pytest.raises(ProfilerError, match=r"ai-edge-litert is not installed, the only runtime"):
        ProfiledModel("m.tflite", ((1, 8), (1, 3)), 1)


def model_with_events(*events: Sequence[int], words: int) -> ProfiledModel:
    """A model whose library writes events of so many words."""

    def count(profiler: Any, number: Any) -> int:
        number._obj.value = len(events)
        return 0

    def get(profiler: Any, number: Any, address: Any) -> int:
        flat = np.zeros((len(events), words), np.uint64)
        for row, (tag, kind, node, elapsed) in zip(flat, events, strict=True):
            # The upper half of the word of the type is whatever was there.
            row[[0, 1, words - 3, 3]] = (tag, kind | 7 << 40, node, elapsed)
        litert_c.ctypes.memmove(address, flat.ctypes.data, flat.nbytes)
        return 0

    model = ProfiledModel.__new__(ProfiledModel)
    library = Fake(LiteRtGetNumProfilerEvents=count, LiteRtGetProfilerEvents=get)
    vars(model).update(_library=library, _profiler=None)
    return model


@pytest.mark.parametrize("words", [13, 15])
def test_events_are_read_in_either_layout(words: int) -> None:
    events = [(100, 1, 0, 50), (200, 2, 3, 7), (300, 8, 4, 1)]
    found = model_with_events(*events, words=words).take_events()
    assert found.tolist() == [list(event) for event in events]


def test_events_of_an_unknown_layout_are_refused() -> None:
    with pytest.raises(ProfilerError, match=r"events have 14 words, expected one of \(13, 15\)"):
        model_with_events((1, 1, 0, 5), (2, 2, 0, 5), words=14).take_events()


# On the host.


class FakeDevice:
    name, kind = "fake", "native"

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.commands: list[list[str]] = []

    def run(self, arguments: Sequence[str], *, time_limit_s: float) -> Any:
        self.commands.append(list(arguments))
        if arguments[0] == "memory":
            return {"peak_memory_bytes": 5, "baseline_memory_bytes": 3}
        if arguments[0] == "bench":
            result = {"artifact": arguments[-1], "name": "one", "num_threads": 2}
            samples = {"end_to_end_latencies_ns": [], "latencies_ns": [7]}
            keys = ("runtime", "runtime_version", "delegate", "profile")
            told = {key: "x" for key in keys}
            return {"results": [{**result, **told, "validity_reasons": [], **samples}]}
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def measured(
    answer: Any, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Any, FakeDevice]:
    device = FakeDevice(answer)
    monkeypatch.setitem(devices.DEVICES, "fake", lambda name: device)
    profile = replace(PROFILES["quick"], op_runs=30)
    record = bench(
        [path], device="fake", profile=profile, num_threads=2, output=tmp_path / "o.json"
    )
    return record, device


def test_profile_is_part_of_the_result(
    tiny_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = op_times.summarize(NAMES, KINDS, MEANS)
    answer["nodes"] = {"total": 5, "delegated": 3, "partitions": 1}
    record, device = measured(answer, tiny_model.path, tmp_path, monkeypatch)
    assert device.commands[-1] == [
        *("ops", "--num-threads", "2", "--runs", "30", "--delegate", "x", "--"),
        str(tiny_model.path),
    ]
    assert record["results"][0]["op_profile"] == answer
    assert json.loads((tmp_path / "o.json").read_text())["results"][0]["op_profile"] == answer
    record["results"][0]["nodes"] = {**answer["nodes"], "delegate": "xnnpack"}
    record["results"][0]["end_to_end_shares"] = {"tokenize": 0.25, "invoke": 0.75}
    assert format_bench(record).splitlines()[2:5] == [
        "one: from text to label: tokenize 25%, invoke 75%",
        "one: 3 of 5 nodes run by xnnpack, in 1 partition",
        "one: by the runtime's profiler: Fully Connected 70% (1), GATHER 25% (1), Multiply 5% (2); "
        "2 ops too short to be seen",
    ]


def test_method_is_told_with_the_ops(
    tiny_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = {**op_times.summarize(NAMES, KINDS, MEANS), "method": "prefixes", "short_ops": 0}
    record, _ = measured(answer, tiny_model.path, tmp_path, monkeypatch)
    (told,) = [line for line in format_bench(record).splitlines() if "timing" in line]
    assert told.startswith("one: by timing the graph cut off behind each op: Fully Connected 70%")
    assert "too short" not in told


def test_model_that_the_profiler_refuses_costs_nothing_else(
    tiny_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = "it has an op that keeps a state. Export with --lowering loop."
    record, _ = measured(ValueError(reason), tiny_model.path, tmp_path, monkeypatch)
    result = record["results"][0]
    assert (result["op_profile"], result["op_profile_reason"]) == (None, reason)
    assert record["failures"] == []
    assert f"one: no per-op times: {reason}" in format_bench(record).splitlines()


def test_profiler_that_dies_costs_only_the_profile(
    tiny_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    died = RunnerDiedError("device_runner was ended by SIGSEGV.")
    record, _ = measured(died, tiny_model.path, tmp_path, monkeypatch)
    assert record["results"][0]["op_profile"] is None
    assert record["results"][0]["op_profile_reason"] == str(died)
    (failure,) = record["failures"]
    assert failure["error"].endswith("no per-op profile: device_runner was ended by SIGSEGV.")
