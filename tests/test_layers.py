"""verify --layers: each rounding point of a file is found, and what differs is really there."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from click.testing import CliRunner

from device_runner.files import sha256_of_file
from tfpipe.check.parse import read_model
from tfpipe.cli import cli
from tfpipe.export.artifact import ExportOptions, export_artifact
from tfpipe.export.target import ExportError
from tfpipe.layers import compare_layers
from tfpipe.layers.differences import Differences
from tfpipe.layers.matching import match_tensors


@pytest.fixture(scope="module")
def copies(trained_runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("layers")
    for name, run in trained_runs.items():
        shutil.copytree(run, folder / name, ignore=shutil.ignore_patterns("exports"))
    return folder


@pytest.fixture(scope="module")
def lstm_artifact(copies: Path, in_process: None) -> Path:
    options = ExportOptions(scheme="int8", lowering="unrolled", name="unrolled")
    return Path(export_artifact(copies / "lstm", options)["artifact"])


def test_differences_are_those_computed_by_hand() -> None:
    sums = Differences(0.5)
    sums.add(np.float32([[3.0, 4.0]]), np.float32([[3.0, 4.0]]))
    sums.add(np.float32([[0.0, 5.0]]), np.float32([[0.0, 4.0]]))
    # 10 log10((9 + 16 + 25) / 1) = 16.99; one of four is two quanta off.
    assert sums.figures() == {
        "equal": 0.75,
        "mean_quanta": 0.5,
        "max_quanta": 2.0,
        "mean_error": 0.25,
        "max_error": 1.0,
        "signal_to_noise_db": 16.99,
    }
    exact = Differences(None)
    exact.add(np.float32([[1.0]]), np.float32([[1.0]]))
    assert exact.figures()["signal_to_noise_db"] is None
    assert exact.figures()["mean_quanta"] is None


@pytest.fixture(scope="module")
def compared(lstm_artifact: Path) -> dict[str, Any]:
    return compare_layers(lstm_artifact)


def test_every_rounding_point_of_an_unrolled_lstm_is_found(
    lstm_artifact: Path, compared: dict[str, Any]
) -> None:
    result = compared
    assert json.loads((lstm_artifact / "layers.json").read_text()) == result
    assert result["not_seen"] == [] and result["other_constants"] == 0
    assert result["model_sha256"] == sha256_of_file(lstm_artifact / "model.tflite")
    layers = {layer["name"]: layer for layer in result["layers"]}
    # Twelve steps; the first has no state before it.
    steps = {name: layer["tensors"] for name, layer in layers.items()}
    assert steps["lstm_0/hidden"] == steps["lstm_0/gates"] == 12
    assert steps["lstm_0/recurrent"] == steps["lstm_0/forget_gate"] == 11
    ops = {name: layer["op"] for name, layer in layers.items()}
    assert ops["lstm_0/input_gate"] == "LOGISTIC" and ops["lstm_0/squashed_cell"] == "TANH"
    assert ops["lstm_0/recurrent"] == ops["logits/output"] == "FULLY_CONNECTED"
    for layer in layers.values():
        assert layer["file_scale"] == pytest.approx(layer["scale"], rel=1e-5), layer
        # Given the file's own values before it, a value is off by its rounding alone.
        assert layer["own"]["max_quanta"] <= 1.01 and layer["own"]["equal"] > 0.9, layer
        assert layer["signal_to_noise_db"] is None or layer["signal_to_noise_db"] > 20, layer
    assert layers["lstm_0/input_gate"]["scale"] == 1 / 256


def test_a_changed_number_shows_at_its_layer(
    lstm_artifact: Path, compared: dict[str, Any], tmp_path: Path
) -> None:
    """The bias of the last dense layer moved by a few quanta: all before it stays equal."""
    run = shutil.copytree(lstm_artifact.parents[1], tmp_path / "run")
    artifact = run / "exports" / "unrolled"
    path = artifact / "model.tflite"
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    graph = model.subgraphs[0]
    dense = [op for op in graph.operators if len(op.inputs) == 3 and op.inputs[2] >= 0][-1]
    bias = graph.tensors[dense.inputs[2]]
    scale = float(bias.quantization.scale[0])
    quantum = float(graph.tensors[dense.outputs[0]].quantization.scale[0])
    values = np.frombuffer(bytes(model.buffers[bias.buffer].data), np.int32).copy()
    values[0] += round(5 * quantum / scale)
    model.buffers[bias.buffer].data = np.frombuffer(values.tobytes(), np.uint8)
    write_model_of(artifact, model)
    after = compare_layers(artifact)
    assert after["other_constants"] == 1
    assert after["worst"] == after["origin"] == "logits/output"
    changed = after["layers"][-1]["own"]
    # One of three outputs, by five quanta.
    assert changed["max_quanta"] == pytest.approx(5, abs=1.01)
    assert changed["equal"] == pytest.approx(2 / 3, abs=0.1)
    assert after["layers"][:-1] == compared["layers"][:-1]


def write_model_of(artifact: Path, model: schema.ModelT) -> None:
    """Writes the file and its digest."""
    from tfpipe.export.pack import pack_model

    data = pack_model(model)
    (artifact / "model.tflite").write_bytes(data)
    manifest = json.loads((artifact / "manifest.json").read_text())
    manifest["files"]["model.tflite"] = {
        "sha256": sha256_of_file(artifact / "model.tflite"),
        "bytes": len(data),
    }
    (artifact / "manifest.json").write_text(json.dumps(manifest))


def test_loop_says_what_it_hides(copies: Path, in_process: None) -> None:
    """Through the command and the process of its own."""
    options = ExportOptions(scheme="int8", lowering="loop", name="loop")
    artifact = export_artifact(copies / "lstm", options)["artifact"]
    command = [sys.executable, "-m", "tfpipe.cli", "verify", artifact, "--layers"]
    done = subprocess.run([*command, "--format", "text"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "lstm_0/hidden" in done.stdout and "logits/output" in done.stdout
    assert "not seen: lstm_0/cell: inside a loop" in done.stdout
    assert "most arises here" in done.stdout and "without delegate" in done.stdout


@pytest.mark.parametrize(("name", "scheme"), [("lstm", "float32"), ("transformer", "dynamic_int8")])
def test_float_layers_are_those_of_keras(
    copies: Path, in_process: None, name: str, scheme: str
) -> None:
    lowering = {"lstm": "loop", "transformer": "static"}[name]
    made = export_artifact(copies / name, ExportOptions(scheme=scheme, lowering=lowering))
    result = compare_layers(made["artifact"])
    layers = {layer["name"]: layer for layer in result["layers"]}
    assert {"embedding", "pooling", "features", "logits"} <= set(layers)
    least = 100 if scheme == "float32" else 25
    for layer in layers.values():
        noise = layer["signal_to_noise_db"]
        assert layer["own"] is None and (noise is None or noise > least), layer


def test_converter_is_asked_again_until_it_writes_the_files_graph(
    copies: Path, lstm_artifact: Path, in_process: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tfpipe.layers import process

    shipped = lstm_artifact / "model.tflite"
    options = ExportOptions(scheme="int8", lowering="loop", name="other")
    other = Path(export_artifact(copies / "lstm", options)["artifact"]) / "model.tflite"
    written = [path.read_bytes() for path in (other, other, shipped)]
    job = {"target": "cpu", "scheme": "int8", "model": str(shipped)}
    theirs = read_model(written[-1])
    data, matched, different = process.convert_until_same(iter(written).__next__, job, theirs)
    assert data == written[-1] and matched and different == 0
    monkeypatch.setattr(process, "MOST_CONVERSIONS", 2)
    with pytest.raises(ValueError, match=r"told apart \(2 conversions\): other versions"):
        process.convert_until_same(iter(written).__next__, job, theirs)


def test_file_of_another_graph_is_refused(
    copies: Path, lstm_artifact: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(copies / "lstm", tmp_path / "run")
    artifact = run / "exports" / "unrolled"
    model = schema.ModelT.InitFromPackedBuf((artifact / "model.tflite").read_bytes(), 0)
    model.subgraphs[0].tensors.append(model.subgraphs[0].tensors[-1])
    write_model_of(artifact, model)
    with pytest.raises(ExportError, match="is not the one that the run's model is converted to"):
        compare_layers(artifact)


def test_order_of_ops_and_tensors_does_not_matter(lstm_artifact: Path) -> None:
    """The same graph with its tensors numbered backwards and its ops in another order."""
    graph = read_model((lstm_artifact / "model.tflite").read_bytes()).graphs[0]
    last = len(graph.tensors) - 1

    def renumbered(indices: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(last - index if index >= 0 else index for index in indices)

    other = replace(
        graph,
        tensors=tuple(replace(tensor, index=last - tensor.index) for tensor in graph.tensors[::-1]),
        operators=tuple(
            replace(each, inputs=renumbered(each.inputs), outputs=renumbered(each.outputs))
            for each in graph.operators[::-1]
        ),
        inputs=renumbered(graph.inputs),
        outputs=renumbered(graph.outputs),
    )
    matched = match_tensors(graph, other)
    assert matched is not None and len(matched) == len(graph.tensors)
    assert all(found == last - index for index, found in matched.items())
    swapped = [*other.operators]
    index = next(i for i, each in enumerate(swapped) if each.name == "TANH")
    logistic = next(each for each in swapped if each.name == "LOGISTIC")
    swapped[index] = replace(swapped[index], code=logistic.code)
    assert match_tensors(graph, replace(other, operators=tuple(swapped))) is None


def test_what_cannot_be_compared_is_refused(
    make_artifact: Callable[..., Path], lstm_artifact: Path
) -> None:
    gpu = make_artifact("gpu", target="gpu")
    with pytest.raises(ValueError, match="is for target='gpu'; layers are compared of files for"):
        compare_layers(gpu)
    branches = make_artifact("branches", lowering="branches")
    with pytest.raises(ValueError, match="has lowering='branches', a copy .* --lowering static"):
        compare_layers(branches)
    arguments = ["verify", str(lstm_artifact), "--layers", "--device", "ssh://pi@board"]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 2 and "leave --device out" in done.output


def test_artifact_without_its_facts_is_refused(lstm_artifact: Path, tmp_path: Path) -> None:
    run = shutil.copytree(lstm_artifact.parents[1], tmp_path / "run")
    (run / "exports" / "unrolled" / "check.json").write_text("{}")
    with pytest.raises(
        ValueError, match=r"check.json is missing or damaged .* Export the artifact"
    ):
        compare_layers(run / "exports" / "unrolled")
