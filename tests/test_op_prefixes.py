"""Tests of the per-op times of runtimes without a profiler: what is cut, and what is told of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from device_runner import op_prefixes
from device_runner.interpreter import load_model
from device_runner.op_prefixes import cut_behind, profile_prefixes, rising


@pytest.fixture(scope="module")
def fused_lstm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Keras 2 writes: an op with a state, which LiteRT's compiled model refuses."""
    from tflite_zoo import keras_lstm

    folder = tmp_path_factory.mktemp("fused")
    (folder / "lstm.tflite").write_bytes(keras_lstm(folder))
    return folder / "lstm.tflite"


def interpreter_of(content: bytes, **options: Any) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    made = Interpreter(model_content=content, experimental_op_resolver_type=plain, **options)
    made.allocate_tensors()
    return made


def run(interpreter: Any, token_ids: list[int]) -> Any:
    given = np.array([token_ids], np.int32)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], given)
    interpreter.invoke()
    return interpreter


def check_every_prefix(content: bytes) -> None:
    """Each gives what the whole graph has at that place."""
    whole = run(interpreter_of(content, experimental_preserve_all_tensors=True), list(range(8)))
    nodes = whole._get_ops_details()
    assert len(nodes) >= 4
    for count, node in enumerate(nodes, 1):
        cut = run(interpreter_of(cut_behind(content, count)), list(range(8)))
        assert len(cut._get_ops_details()) == count
        (output,) = cut.get_output_details()
        expected = whole.get_tensor(node["outputs"][0])
        np.testing.assert_array_equal(cut.get_tensor(output["index"]), expected)
    empty = run(interpreter_of(cut_behind(content, 0)), list(range(8)))
    assert empty._get_ops_details() == []
    (output,) = empty.get_output_details()
    assert empty.get_tensor(output["index"]).tolist() == [list(range(8))]


def test_prefix_computes_what_the_whole_graph_does_there(tiny_model: Any, fused_lstm: Path) -> None:
    check_every_prefix(tiny_model.path.read_bytes())
    check_every_prefix(fused_lstm.read_bytes())


def test_list_of_outputs_that_others_share_stays(exported_run: Path) -> None:
    """As in files that `export/pack.py` wrote."""
    model = exported_run / "exports" / "cpu-float32" / "model.tflite"
    content = model.read_bytes()
    count = len(interpreter_of(content)._get_ops_details())
    kept = cut_behind(content, count - 1)
    changed = [at for at, (old, new) in enumerate(zip(content, kept, strict=False)) if old != new]
    # The number of ops and the place of the list of outputs, of four bytes each.
    assert 0 < len(changed) <= 8
    assert len(interpreter_of(kept)._get_ops_details()) == count - 1


def test_falling_times_are_levelled() -> None:
    assert rising([1, 2, 3]) == [1, 2, 3]
    assert rising([5, 1]) == [3, 3]
    assert rising([1, 4, 2, 3, 9]) == [1, 3, 3, 3, 9]
    assert rising([4, 4, 1]) == [3, 3, 3]


def test_time_is_given_to_the_op_that_takes_it(
    tiny_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prefixes that last 10, 10, 30, … us by the number of their ops."""
    model = load_model(tiny_model.path)
    names = [node["op_name"] for node in op_prefixes.list_nodes(model.interpreter)[0]]
    lasting = [10_000 + 20_000 * (count > 1) + 5_000 * (count > 2) for count in range(99)]
    sizes = iter([count for _ in range(op_prefixes.PASSES) for count in range(len(names) + 1)])
    # Half of the calls are interrupted, and not averaged.
    monkeypatch.setattr(
        op_prefixes, "_time", lambda *_: [lasting[next_one := next(sizes)], 9 * lasting[next_one]]
    )
    found = profile_prefixes(model, str(tiny_model.path), [0], 20)
    assert (found["method"], found["averaged_runs"]) == ("prefixes", 10)
    assert (found["profiled_call_ns"], found["attributed_ns"]) == (35_000, 25_000)
    told = {op["op"]: op["mean_ns"] for op in found["ops"] if op["mean_ns"]}
    assert told == {names[1]: 20_000, names[2]: 5_000}
    assert sum(op["count"] for op in found["ops"]) == len(names)
    assert sum(op["share"] for op in found["ops"]) == pytest.approx(1)


def run_ops(path: Path, python: str = sys.executable) -> Any:
    done = subprocess.run(
        [python, "-m", "device_runner", "ops", str(path), "--runs", "60"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_fused_lstm_takes_most_of_its_call(fused_lstm: Path) -> None:
    found = run_ops(fused_lstm)
    assert (found["method"], found["num_runs"], found["averaged_runs"]) == ("prefixes", 60, 30)
    assert "it takes no op that keeps a state from call to call" in found["no_profiler_reason"]
    (lstm,) = [op for op in found["ops"] if op["op"] == "UNIDIRECTIONAL_SEQUENCE_LSTM"]
    assert (lstm["count"], lstm["where"]) == (1, "interpreter")
    assert found["ops"][0] == lstm and lstm["share"] > 0.4
    assert found["nodes"]["total"] == sum(op["count"] for op in found["ops"])


def test_runtime_without_a_profiler_tells_ops_by_prefixes(
    tiny_model: Any, tflite_runtime_python: str
) -> None:
    found = run_ops(tiny_model.path, tflite_runtime_python)
    assert (found["method"], found["runtime"]) == ("prefixes", "tflite-runtime")
    assert found["no_profiler_reason"] == "tflite-runtime 2.14.0 has no profiler in Python."
    assert {"GATHER", "SOFTMAX"} <= {op["op"] for op in found["ops"]}


def test_runtime_that_names_no_ops_is_refused(tiny_model: Any) -> None:
    silent = SimpleNamespace(interpreter=object(), runtime="r", runtime_version="1")
    with pytest.raises(ValueError, match=r"r 1 does not name the ops of a file. Use ai-edge-lite"):
        profile_prefixes(silent, str(tiny_model.path), [0], 20)  # type: ignore[arg-type]


def test_prefix_that_the_runtime_refuses_is_said(
    tiny_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(tiny_model.path)
    monkeypatch.setattr(op_prefixes, "cut_behind", lambda content, count: b"no model")
    with pytest.raises(ValueError, match=r"refused a part of the graph: .* Run without per-op"):
        profile_prefixes(model, str(tiny_model.path), [np.zeros((1, 8), np.int32)], 20)
