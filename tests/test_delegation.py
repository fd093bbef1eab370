"""Tests of --delegate: what it chooses, what the record says was taken, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from device_runner import interpreter as interpreter_module
from device_runner.delegation import count_nodes
from device_runner.interpreter import load_model
from device_runner.litert_c import ProfiledModel, ProfilerError, names_of
from device_runner.loading import DELEGATES, load_any_model
from device_runner.op_profile import profile_ops
from tfpipe.check.parse import read_model
from tfpipe.cli import cli

ROOT = Path(__file__).parents[1]
IDS = np.array([[1, 3, 4, 5, 0, 0, 0, 0]], np.int32)


@pytest.fixture(scope="module")
def split_model(
    convert_tiny: Callable[..., bytes], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """XNNPACK has no CUMSUM: what lies before and behind it are two pieces."""
    tf = pytest.importorskip("tensorflow")
    random = np.random.default_rng(0)
    table, kernel = (random.normal(size=s).astype(np.float32) for s in ((20, 8), (8, 3)))

    def classify(token_ids: Any) -> Any:
        rows = tf.nn.relu(tf.gather(tf.constant(table), tf.reshape(token_ids, [-1])) * 2.0)
        sums = tf.cumsum(rows)[-1:]
        return tf.nn.softmax(tf.linalg.matmul(sums, tf.constant(kernel)))

    path = tmp_path_factory.mktemp("split") / "split.tflite"
    path.write_bytes(convert_tiny(classify))
    return Path(path)


@pytest.fixture(scope="module")
def plain_model(
    convert_tiny: Callable[..., bytes], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Nothing in it is for XNNPACK."""
    tf = pytest.importorskip("tensorflow")
    path = tmp_path_factory.mktemp("plain") / "plain.tflite"
    path.write_bytes(convert_tiny(lambda ids: tf.cast(tf.cumsum(ids[:, :3], 1), tf.float32)))
    return Path(path)


def test_counts_are_those_of_the_runtimes_profiler(split_model: Path) -> None:
    """LiteRT's profiler names every node that its own interpreter ran: the others were taken."""
    model = load_model(split_model)
    profiled = ProfiledModel(str(split_model), ((1, 8), (1, 3)), 1)
    profiled.run(IDS)
    events = profiled.take_events()
    kinds = zip(names_of(profiled, events), events[:, 1], strict=True)
    names = [name for name, kind in kinds if kind == 2]
    total = len(read_model(split_model.read_bytes()).graphs[0].operators)
    assert "CUMSUM" in names and "GATHER" in names
    assert model.count_nodes() == {
        "delegate": "xnnpack",
        "total": total,
        "delegated": total - len(names),
        "partitions": 2,
    }


def test_without_xnnpack_nothing_is_taken_and_the_outputs_are_the_same(split_model: Path) -> None:
    plain = load_model(split_model, delegate="none")
    nodes = plain.count_nodes()
    assert nodes is not None and plain.delegate == "none"
    assert (nodes["delegate"], nodes["delegated"], nodes["partitions"]) == ("none", 0, 0)
    expected = load_any_model(str(split_model), delegate="xnnpack").run(IDS)
    np.testing.assert_allclose(plain.run(IDS), expected, rtol=0, atol=1e-6)


def test_xnnpack_that_takes_nothing_is_refused(plain_model: Path) -> None:
    with pytest.raises(ValueError, match=r"delegate='xnnpack', but in .* takes none of the nodes"):
        load_any_model(str(plain_model), delegate="xnnpack")
    nodes = load_any_model(str(plain_model)).count_nodes()
    assert nodes is not None and nodes["delegate"] == "none"


def test_what_is_no_delegate_and_what_it_does_not_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="delegate='cuda' is unknown. Use one of: cpu, xnnpack"):
        load_any_model("m.tflite", delegate="cuda")
    for name in ("xnnpack", "none", "gpu", "edgetpu"):
        with pytest.raises(ValueError, match=f"delegate='{name}' does not run .*: it is an ONNX"):
            load_any_model("m.onnx", delegate=name)
    with pytest.raises(ValueError, match="delegate='edgetpu' does not run .*: it is a whole model"):
        load_any_model("m.tflite", delegate="edgetpu")


def test_runtime_that_cannot_do_without_xnnpack_says_so(
    split_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("old_runtime")
    monkeypatch.setitem(sys.modules, "old_runtime", module)
    old = type("Interpreter", (), {"__module__": "old_runtime"})
    monkeypatch.setattr(interpreter_module, "import_runtime", lambda _: ("old", "1.0", old))
    with pytest.raises(ValueError, match="delegate=none, but old 1.0 cannot do without XNNPACK"):
        load_model(split_model, delegate="none")


def test_node_of_a_compiled_file_is_the_edge_tpus() -> None:
    """The compiler leaves one op for each piece; a DELEGATE beside it is XNNPACK's."""
    nodes = [
        {"index": 0, "op_name": "QUANTIZE", "inputs": [0], "outputs": [1]},
        {"index": 1, "op_name": "edgetpu-custom-op", "inputs": [1], "outputs": [2]},
        {"index": 2, "op_name": "SOFTMAX", "inputs": [2, -1], "outputs": [3]},
        {"index": 3, "op_name": "DELEGATE", "inputs": [1], "outputs": [2]},
        {"index": 4, "op_name": "DELEGATE", "inputs": [2], "outputs": [3]},
    ]
    found = count_nodes(types.SimpleNamespace(_get_ops_details=lambda: nodes))
    assert found == {"delegate": "edgetpu", "total": 3, "delegated": 1, "partitions": 1}
    assert count_nodes(object()) is None, "a runtime that does not say"


def test_profiler_is_not_asked_about_what_it_does_not_run(split_model: Path) -> None:
    with pytest.raises(ProfilerError, match="on delegate none tells nothing .* --delegate cpu"):
        profile_ops(str(split_model), delegate="none")


def bench(*arguments: object) -> Any:
    return CliRunner().invoke(cli, ["bench", *map(str, arguments)])


def test_bench_says_what_ran_it(split_model: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.json"
    for delegate, taken in (("none", "none"), ("xnnpack", "xnnpack")):
        done = bench(split_model, "--delegate", delegate, "--output", output, "--format", "text")
        assert done.exit_code == 0, done.output
        record = json.loads(output.read_text())
        (result,) = record["results"]
        assert record["settings"]["delegate"] == delegate
        assert result["delegate"] == {"none": "none", "xnnpack": "cpu"}[delegate]
        nodes = result["nodes"]
        assert nodes["delegate"] == taken and (nodes["delegated"] > 0) == (taken == "xnnpack")
    told = f"{nodes['delegated']} of {nodes['total']} nodes run by xnnpack, in 2 partitions"
    assert told in done.output


@pytest.mark.parametrize(
    ("delegate", "advice"),
    [
        ("gpu", "found no GPU that it can use. Install a Vulkan driver"),
        ("edgetpu", "does not run .*: it is a whole model. .* artifact of --target edgetpu"),
        ("npu", "delegate='npu' is unknown. Use one of"),
    ],
)
def test_missing_delegate_is_advice_and_exit_1(
    delegate: str, advice: str, split_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VK_ICD_FILENAMES", os.devnull)
    done = bench(split_model, "--delegate", delegate)
    assert done.exit_code == 1 and done.output.startswith("Error: ")
    with pytest.raises(ValueError, match=advice):
        raise ValueError(done.output)


def test_help_names_every_delegate() -> None:
    for command in (["bench", "--help"], ["compare", "--help"]):
        text = CliRunner().invoke(cli, command).output
        assert all(name in text.partition("--delegate")[2] for name in DELEGATES)


def test_old_runtime_does_without_xnnpack_too(
    tflite_runtime_python: str, tiny_model: Any, tmp_path: Path
) -> None:
    for delegate in ("none", "xnnpack"):
        output = tmp_path / f"{delegate}.json"
        command = [tflite_runtime_python, "-m", "device_runner", "bench", str(tiny_model.path)]
        command += ["--delegate", delegate, "--output", str(output)]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        (result,) = json.loads(output.read_text())["results"]
        assert (result["runtime"], result["nodes"]["delegate"]) == ("tflite-runtime", delegate)
