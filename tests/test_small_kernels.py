"""Small kernels of dynamic_int8 files: float32, of the same values; large ones and tables: int8."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from conftest import load_benchmark
from test_weight_rounding import random_model

from tfpipe.check import check
from tfpipe.check.parse import read_model
from tfpipe.export.convert import convert_form, finish
from tfpipe.export.lowering import inference_form
from tfpipe.export.small_kernels import widen_kernels
from tfpipe.weight_schemes import SMALL_KERNEL

JOB = {"target": "cpu", "scheme": "dynamic_int8", "runtime": None}
FLOAT32, INT8 = schema.TensorType.FLOAT32, schema.TensorType.INT8


def kernels_of(data: bytes) -> dict[tuple[int, ...], Any]:
    """Shape → tensor and content of each kernel of a dense product."""
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    codes = [code.builtinCode for code in model.operatorCodes]
    found = {}
    for graph in model.subgraphs:
        for operator in graph.operators:
            if codes[operator.opcodeIndex] == schema.BuiltinOperator.FULLY_CONNECTED:
                tensor = graph.tensors[operator.inputs[1]]
                assert operator.builtinOptions.asymmetricQuantizeInputs == (tensor.type == INT8)
                data_of = model.buffers[tensor.buffer].data
                found[tuple(tensor.shape)] = (tensor, np.asarray(data_of, np.uint8).tobytes())
    return found


def run(data: bytes, values: Any) -> Any:
    interpreter = Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def convert_products(*kernels: Any) -> bytes:
    """A dynamic_int8 file of one product after the other."""

    def products(values: Any) -> Any:
        for kernel in kernels:
            values = tf.matmul(values, tf.constant(kernel))
        return values

    spec = tf.TensorSpec((2, len(kernels[0])), tf.float32)
    function = tf.function(products, input_signature=[spec]).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module())
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return bytes(converter.convert())


def test_small_kernel_is_float32_with_the_values_that_int8_has(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    small, large = rng.normal(size=(40, 50)), rng.normal(size=(50, 100))
    assert small.size < SMALL_KERNEL < large.size
    before = convert_products(small.astype(np.float32), large.astype(np.float32))
    after = widen_kernels(before)
    tensor, content = kernels_of(before)[50, 40]
    levels = np.frombuffer(content, np.int8).reshape(50, 40)
    rounded = levels * tensor.quantization.scale[:, None]
    assert np.abs(rounded - small.T).max() <= tensor.quantization.scale.max() / 2 * 1.001
    tensor, content = kernels_of(after)[50, 40]
    assert tensor.type == FLOAT32
    np.testing.assert_allclose(
        np.frombuffer(content, np.float32).reshape(50, 40), rounded, rtol=1e-6
    )
    assert kernels_of(after)[100, 50][0].type == INT8
    # What is float32 on purpose is nothing to mend.
    path = tmp_path / "model.tflite"
    path.write_bytes(after)
    assert check(path)["findings"] == []
    # The runtime: nearer to the product of the rounded kernel, since its input is not rounded.
    values = rng.normal(size=(2, 40)).astype(np.float32)
    alone = convert_products(small.astype(np.float32))
    exact = values @ rounded.T
    errors = [np.abs(run(data, values) - exact).max() for data in (alone, widen_kernels(alone))]
    assert errors[1] < 1e-5 < errors[0]


@pytest.mark.parametrize("lowering", ["loop", "unrolled"])
def test_file_of_a_small_model_has_its_table_alone_in_int8(lowering: str, tmp_path: Path) -> None:
    model = random_model("lstm", embedding_dim=20, vocabulary_size=150, units=20)
    function = inference_form(model, sequence_length=8, lowering=lowering, multi_label=False)
    before = convert_form(8, function, model, {**JOB, "lowering": lowering}, tmp_path)
    after = finish([before], {**JOB, "lowering": lowering})
    assert kernels_of(before)[80, 20][0].type == INT8
    assert {kernel.type for kernel, _ in kernels_of(after).values()} == {FLOAT32}
    graphs = schema.ModelT.InitFromPackedBuf(after, 0).subgraphs
    read = [
        graph.tensors[index] for graph in graphs for op in graph.operators for index in op.inputs
    ]
    tables = [tensor for tensor in read if list(tensor.shape) == [150, 20]]
    assert {table.type for table in tables} == {INT8}  # 3,000 numbers, but lookups read them
    token_ids = np.random.default_rng(1).integers(1, 150, (1, 8)).astype(np.int32)
    wanted = tf.nn.softmax(model(token_ids)).numpy()
    np.testing.assert_allclose(run(after, token_ids), wanted, atol=0.01)


def small_lstm_files(folder: Path) -> dict[str, bytes]:
    """Scheme → what the converter wrote for an LSTM of small kernels; "widened" → what ships."""
    model = random_model("lstm", embedding_dim=20, vocabulary_size=150, units=20)
    function = inference_form(model, sequence_length=8, lowering="loop", multi_label=False)
    files = {}
    for scheme in ("float32", "dynamic_int8"):
        job = {**JOB, "scheme": scheme, "lowering": "loop"}
        (folder / scheme).mkdir()
        files[scheme] = convert_form(8, function, model, job, folder / scheme)
    return {**files, "widened": finish([files["dynamic_int8"]], {**JOB, "lowering": "loop"})}


RUN_TEXT = """
import sys
import numpy as np
from tflite_runtime.interpreter import Interpreter
interpreter = Interpreter(sys.argv[1])
interpreter.allocate_tensors()
interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.load(sys.argv[2]))
interpreter.invoke()
np.save(sys.argv[3], interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
"""


def test_file_without_int8_kernels_runs_on_tflite_runtime(
    tflite_runtime_python: str, tmp_path: Path
) -> None:
    token_ids = np.random.default_rng(1).integers(1, 150, (1, 8)).astype(np.int32)
    np.save(tmp_path / "ids.npy", token_ids)
    done = {}
    files = small_lstm_files(tmp_path)
    for name in ("dynamic_int8", "widened"):
        path = tmp_path / f"{name}.tflite"
        path.write_bytes(files[name])
        paths = [path, tmp_path / "ids.npy", tmp_path / f"{name}.npy"]
        command = [tflite_runtime_python, "-c", RUN_TEXT, *map(str, paths)]
        done[name] = subprocess.run(command, capture_output=True, text=True, check=False)
        found = check(path, runtime="tflite-runtime==2.14.0")
        assert found["ok"] == (done[name].returncode == 0), done[name].stderr
    assert "'FULLY_CONNECTED' version '12'" in done["dynamic_int8"].stderr
    assert done["widened"].returncode == 0, done["widened"].stderr
    np.testing.assert_allclose(
        np.load(tmp_path / "widened.npy"), run(files["widened"], token_ids), atol=1e-6
    )


def test_file_without_int8_kernels_needs_no_newer_runtime_than_its_ops(tmp_path: Path) -> None:
    versions = {}
    for name, data in small_lstm_files(tmp_path).items():
        model = read_model(data)
        versions[name] = {code.name: code.version for code in model.codes}["FULLY_CONNECTED"]
        path = tmp_path / f"{name}.tflite"
        path.write_bytes(data)
        assert model.recorded_min_runtime == check(path)["min_runtime"]
    assert versions == {"float32": 1, "dynamic_int8": 12, "widened": 1}


def test_products_of_matrices_that_keep_their_axes_have_their_own_version() -> None:
    kernel = np.random.default_rng(0).normal(size=(40, 50)).astype(np.float32)

    def product(values: Any) -> Any:
        return tf.tensordot(values, kernel, 1)

    spec = tf.TensorSpec((2, 3, 40), tf.float32)
    function = tf.function(product, input_signature=[spec]).get_concrete_function()
    found = {}
    for optimizations in ([], [tf.lite.Optimize.DEFAULT]):
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module())
        converter.optimizations = optimizations
        data = bytes(converter.convert())
        for name, each in (("", data), ("widened", widen_kernels(data))):
            (code,) = [code for code in read_model(each).codes if code.name == "FULLY_CONNECTED"]
            found[bool(optimizations), name] = code.version
    assert found[False, ""] == found[False, "widened"] == found[True, "widened"]
    assert found[True, ""] == 12


def test_benchmark_sets_float32_beside_int8_of_the_same_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_kernels = load_benchmark("small_kernels")
    page = tmp_path / "page.md"
    page.write_text("# Page\n", "utf-8")
    monkeypatch.setattr(small_kernels, "WIDTHS", (24,))
    monkeypatch.setattr(small_kernels, "ROWS", (1, 4))
    monkeypatch.setattr(small_kernels, "PRODUCTS", 3)
    monkeypatch.setattr(sys, "argv", ["x", "--rounds", "5", "--markdown", str(page)])
    small_kernels.main()
    rows = [
        line for line in page.read_text("utf-8").splitlines() if line.startswith("| 24 | 2,304")
    ]
    assert [row.split(" | ")[2] for row in rows] == ["1", "4"]
    for row in rows:
        float32, int8, ratio = (float(cell.strip(" |")) for cell in row.split(" | ")[3:])
        assert float32 > 0 and int8 > 0 and ratio > 0
