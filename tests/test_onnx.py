"""The target onnx: one LSTM node a layer, equal to Keras, proved and measured in ONNX Runtime."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tensorflow as tf
import tf2onnx
import tf_keras as keras
from click.testing import CliRunner

from device_runner.artifact import read_artifact
from device_runner.benchmark import benchmark
from device_runner.onnx_session import load_onnx_model
from device_runner.profiles import PROFILES, Profile
from device_runner.runnable import open_runnable
from device_runner.runtimes import RuntimeNotFoundError
from tfpipe.cli import cli
from tfpipe.export.artifact import ExportOptions, export_artifact
from tfpipe.export.convert_onnx import inspect_onnx
from tfpipe.export.lowering import inference_form
from tfpipe.export.onnx_form import HANDLERS, ONNX_LAYERS, to_onnx_gates, written_out
from tfpipe.export.target import ExportError
from tfpipe.models import MODELS
from tfpipe.predict import predict
from tfpipe.verify import verify

LENGTH = 7

pytest.importorskip("onnxruntime", reason="needs the extra tfpipe[onnx]")

RECURRENT = {
    "lstm": ("lstm", {}, ["reverse"]),
    "lstm of a narrow table": ("lstm", {"embedding_rank": 2}, ["reverse"]),
    "lstm, final state of two layers": (
        "lstm",
        {"num_layers": 2, "pooling": "last"},
        ["reverse", "reverse"],
    ),
    "lstm of two layers": ("lstm", {"num_layers": 2}, ["reverse", "reverse"]),
    "bilstm of two layers": (
        "bilstm",
        {"num_layers": 2},
        ["forward", "reverse", "forward", "reverse"],
    ),
    "bilstm, final states": ("bilstm", {"pooling": "last"}, ["forward", "reverse"]),
}


def convert_in_process(model: Any, path: Path) -> onnx.ModelProto:
    form = inference_form(
        model, sequence_length=LENGTH, lowering="fused", multi_label=False, layers=ONNX_LAYERS
    )
    proto, _ = tf2onnx.convert.from_function(
        tf.function(lambda token_ids: form(token_ids)),
        input_signature=[tf.TensorSpec((1, LENGTH), tf.int32, name="token_ids")],
        opset=17,
        custom_op_handlers=HANDLERS,
    )
    onnx.save(proto, path)
    return proto


def build(name: str, **options: Any) -> Any:
    sizes = {"units": 5} if "lstm" in name else {}
    model = MODELS[name](30, LENGTH, 3, embedding_dim=4, **sizes, **options)
    random = np.random.default_rng(2)
    for variable in model.trainable_variables:
        value = random.normal(size=variable.shape, scale=0.7).astype(np.float32)
        variable.assign(value if variable.constraint is None else variable.constraint(value))
    return model


def padded_ids() -> np.ndarray:
    """Every number of real tokens from none to all."""
    ids = np.random.default_rng(3).integers(1, 30, (LENGTH + 1, LENGTH)).astype(np.int32)
    return ids * (np.arange(LENGTH) < np.arange(LENGTH + 1)[:, None])


@pytest.mark.parametrize("case", RECURRENT)
def test_each_lstm_layer_is_one_node_equal_to_keras(case: str, tmp_path: Path) -> None:
    name, options, directions = RECURRENT[case]
    model = build(name, **options)
    proto = convert_in_process(model, tmp_path / "m.onnx")
    nodes = [node for node in proto.graph.node if node.op_type == "LSTM"]
    found = [
        attribute.s.decode()
        for node in nodes
        for attribute in node.attribute
        if attribute.name == "direction"
    ]
    assert sorted(found) == sorted(directions)
    ops = {node.op_type for node in proto.graph.node}
    assert not ops & {"Loop", "Scan", "ReverseSequence", "Sigmoid"}, "no step is written out"
    loaded = load_onnx_model(tmp_path / "m.onnx")
    ids = padded_ids()
    expected = tf.nn.softmax(model(ids, training=False)).numpy()
    actual = np.stack([loaded.run(row[None]) for row in ids])
    # The same float32 operations in another order.
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["average", "textcnn"])
def test_models_without_recurrence_equal_keras_too(name: str, tmp_path: Path) -> None:
    model = build(name)
    convert_in_process(model, tmp_path / "m.onnx")
    loaded = load_onnx_model(tmp_path / "m.onnx")
    expected = tf.nn.softmax(model(padded_ids(), training=False)).numpy()
    actual = np.stack([loaded.run(row[None]) for row in padded_ids()])
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


def test_gates_come_in_the_order_of_onnx() -> None:
    assert to_onnx_gates(np.arange(8)).tolist() == [0, 1, 6, 7, 2, 3, 4, 5]


def test_runtime_sees_layer_norms(tmp_path: Path) -> None:
    """ONNX Runtime knows the formula: what it runs has one node for each of the three norms."""
    import onnxruntime

    convert_in_process(build("transformer"), tmp_path / "m.onnx")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(
        str(tmp_path / "m.onnx"), options, providers=["CPUExecutionProvider"]
    )
    ops = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    norms = ("LayerNormalization", "SkipLayerNormalization")
    assert sum(op in norms for op in ops) == 3 and "Sqrt" not in ops


@pytest.fixture(scope="module")
def run(trained_runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lstm run with onnx-float32 and onnx-int8, both verified."""
    folder = tmp_path_factory.mktemp("onnx") / "lstm"
    shutil.copytree(trained_runs["lstm"], folder, ignore=shutil.ignore_patterns("exports"))
    for scheme in ("float32", "int8"):
        result = export_artifact(folder, ExportOptions(target="onnx", scheme=scheme))
        assert verify(result["artifact"])["runtime"] == "onnxruntime"
    return folder


@pytest.mark.parametrize("scheme", ["float32", "int8"])
def test_artifact_says_opset_runtime_and_types(run: Path, scheme: str) -> None:
    folder = run / "exports" / f"onnx-{scheme}"
    assert sorted(path.name for path in folder.iterdir()) == [
        "check.json", "golden.json", "labels.txt", "manifest.json", "model.onnx", "verify.json",
        "vocabulary.txt",
    ]  # fmt: skip
    manifest = read_artifact(folder).manifest
    assert (manifest.target, manifest.lowering, manifest.min_runtime) == ("onnx", "fused", "1.12")
    assert manifest.versions["onnx-opset"] == "17"
    assert manifest.versions["onnxruntime"][0].isdigit()
    check = json.loads((folder / "check.json").read_text())
    assert check["ok"] and (check["opset"], check["ir_version"]) == (17, 8)
    assert check["model_size_bytes"] == (folder / "model.onnx").stat().st_size
    if scheme == "int8":
        assert check["ops"]["DynamicQuantizeLSTM"] == 1 and "LSTM" not in check["ops"]
        assert check["bytes_by_dtype"]["int8"] > check["bytes_by_dtype"]["float32"]
    else:
        assert check["ops"]["LSTM"] == 1 and "int8" not in check["bytes_by_dtype"]


def test_labels_are_those_of_the_tflite_file(run: Path, exported_run: Path) -> None:
    texts = ["an apple and a rose", "leaf of grass", "the ice sea", ""]
    found = predict(run / "exports" / "onnx-float32", texts)["predictions"]
    expected = predict(exported_run / "exports" / "cpu-float32", texts)["predictions"]
    for one, other in zip(found, expected, strict=True):
        assert one["label"] == other["label"]
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-5)


def test_onnx_and_tflite_are_measured_in_one_call(
    run: Path, exported_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    brief = Profile("brief", 1, 0, 45, 0, 45, 10**10)
    monkeypatch.setitem(PROFILES, "brief", brief)
    paths = [run / "exports" / "onnx-int8", exported_run / "exports" / "cpu-float32"]
    records = benchmark([str(path) for path in paths], profile="brief")
    assert [r["runtime"] for r in records] == ["onnxruntime", "ai-edge-litert"]
    assert records[0]["delegate"] == "cpu" and records[0]["p50_ns"] > 0
    assert records[0]["end_to_end_p50_ns"] > records[0]["tokenize_p50_ns"] > 0


def test_missing_runtime_is_named_before_anything_is_trained_or_written(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "onnxruntime" else find(name)
    )
    with pytest.raises(ExportError, match=r"target=onnx needs onnxruntime.*'tfpipe\[onnx\]'"):
        export_artifact(run, ExportOptions(target="onnx", name="new"))
    assert not (run / "exports" / "new").exists()


def test_device_without_onnxruntime_says_how_to_get_it(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(RuntimeNotFoundError, match=r"tfpipe\[onnx\]'.*pip install onnxruntime"):
        open_runnable(run / "exports" / "onnx-float32")


def test_scheme_that_onnx_lacks_is_refused(run: Path) -> None:
    arguments = ["export", str(run), "--target", "onnx", "--scheme", "float16"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 1
    assert "scheme='float16' does not run on target 'onnx'" in result.output


@pytest.mark.parametrize(
    "spoil", [lambda data: b"", lambda data: data[:900], lambda data: b"x" * 9]
)
def test_damaged_file_is_one_clear_error(run: Path, tmp_path: Path, spoil: Any) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(spoil((run / "exports" / "onnx-float32" / "model.onnx").read_bytes()))
    with pytest.raises(ValueError, match="was refused by onnxruntime .* export it again"):
        load_onnx_model(path)


def graph_of(input_type: int, shape: list[Any]) -> onnx.ModelProto:
    helper = onnx.helper
    graph = helper.make_graph(
        [helper.make_node("Cast", ["token_ids"], ["probabilities"], to=1)],
        "g",
        [helper.make_tensor_value_info("token_ids", input_type, shape)],
        [helper.make_tensor_value_info("probabilities", 1, shape)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(("input_type", "shape"), [(7, [1, 4]), (6, ["n", 4]), (6, [1, 4, 1])])
def test_other_inputs_are_refused(tmp_path: Path, input_type: int, shape: list[Any]) -> None:
    onnx.save(graph_of(input_type, shape), tmp_path / "m.onnx")
    with pytest.raises(ValueError, match=r"inputs are tensor\(int.* expected one tensor\(int32\)"):
        load_onnx_model(tmp_path / "m.onnx")


def test_bare_file_runs_and_refuses_other_shapes_and_runtimes(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(graph_of(6, [1, 4]), path)
    assert load_onnx_model(path).run(np.array([[1, 2, 3, 4]], np.int32)).tolist() == [1, 2, 3, 4]
    with pytest.raises(ValueError, match=r"int32 \(1, 5\), the model takes int32 \(1, 4\)"):
        load_onnx_model(path).run(np.zeros((1, 5), np.int32))
    with pytest.raises(ValueError, match="runtime='tflite-runtime' does not read"):
        load_onnx_model(path, runtime="tflite-runtime")
    with pytest.raises(ValueError, match="num_threads=0, expected 1 to 256"):
        load_onnx_model(path, 0)


def test_id_outside_the_table_is_an_error_not_a_crash(run: Path) -> None:
    model = load_onnx_model(run / "exports" / "onnx-float32" / "model.onnx")
    ids = np.full((1, model.sequence_length), 10**6, np.int32)
    with pytest.raises(ValueError, match="failed on token ids from 1000000 to 1000000"):
        model.run(ids)


def test_graph_with_other_names_is_not_shipped(tmp_path: Path) -> None:
    proto = graph_of(6, [1, 4])
    proto.graph.input[0].name = proto.graph.node[0].input[0] = "x"
    onnx.save(proto, tmp_path / "m.onnx")
    with pytest.raises(
        ValueError, match=r"inputs and outputs are \[\['x'\], \['probabilities'\]\]"
    ):
        inspect_onnx(tmp_path / "m.onnx")


@pytest.mark.parametrize("kind", ["GRU", "SimpleRNN"])
def test_recurrence_without_a_node_of_its_own_has_a_limit(kind: str) -> None:
    """An LSTM of any length is one node; of these each step is written out."""
    layer = getattr(keras.layers, kind)(2, name="memory")
    layer.build((None, None, 3))
    with pytest.raises(
        ValueError, match=f"layer memory, a {kind}, has 1025 steps, .* over 1024 .* --target cpu"
    ):
        written_out(layer, tf.zeros((1025, 3)))
    assert written_out(layer, tf.zeros((2, 3))).shape == (1, 2)
