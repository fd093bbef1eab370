"""Files with 4 bits a weight: the runtime computes with the very weights that were trained."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from test_weight_rounding import random_model

from tfpipe.check import check
from tfpipe.compress.options import CompressOptions
from tfpipe.compress.variant import compress
from tfpipe.export.artifact import ExportOptions, export_artifact
from tfpipe.export.convert import convert_form
from tfpipe.export.four_bits import halve_weights
from tfpipe.export.lowering import inference_form
from tfpipe.export.merge import merge_files
from tfpipe.export.target import ExportError
from tfpipe.models.weight_rounding import WeightRoundedModel
from tfpipe.verify import verify
from tfpipe.weight_schemes import pack_halves

JOB = {"target": "cpu", "scheme": "dynamic_int4", "runtime": None}


def test_two_integers_share_a_byte() -> None:
    # 1 and -1 are 0001 and 1111, 7 alone 0111.
    assert pack_halves(np.int8([[1, -1], [7, -8]])).tolist() == [0b11110001, 0b10000111]
    assert pack_halves(np.int8([7])).tolist() == [0b00000111]


@pytest.mark.parametrize(("name", "lowering"), [("lstm", "loop"), ("transformer", "static")])
def test_runtime_computes_with_four_bits(name: str, lowering: str, tmp_path: Path) -> None:
    random = random_model(name, embedding_dim=32, vocabulary_size=400)
    model = WeightRoundedModel(random, 4).rounded()
    function = inference_form(model, sequence_length=12, lowering=lowering, multi_label=False)
    eight = convert_form(12, function, model, JOB, tmp_path)
    four = merge_files([halve_weights(eight)], ())
    stored = {"lstm": 400 * 32 + 2 * 32 * 256, "transformer": 400 * 32 + 32 * 96 + 2 * 32 * 128}
    assert len(merge_files([eight], ())) - len(four) > 0.45 * stored[name]
    check_table(four, model)
    token_ids = np.random.default_rng(1).integers(1, 400, (30, 12)).astype(np.int32)
    wanted = tf.nn.softmax(model(token_ids)).numpy()
    found = [run(four, row[None]) for row in token_ids]
    # Activations are rounded to 8 bits at run time; rounding the weights does far more.
    error = np.abs(np.array(found) - wanted).mean()
    unrounded = tf.nn.softmax(random(token_ids)).numpy()
    assert error < 0.02 and error < 0.2 * np.abs(unrounded - wanted).mean()


def check_table(data: bytes, model: tf.keras.Model) -> None:
    """The embedding's table, unpacked by hand, is the trained one."""
    file = schema.ModelT.InitFromPackedBuf(data, 0)
    tensors = [tensor for graph in file.subgraphs for tensor in graph.tensors]
    tables = [
        tensor
        for tensor in tensors
        if tensor.type == schema.TensorType.INT4 and list(tensor.shape) == [400, 32]
    ]
    # One of the text and, in a loop, one of the loop's body: the numbers stand there once.
    table, *others = tables
    assert {each.buffer for each in others} <= {table.buffer}
    read = [
        graph.tensors[index]
        for graph in file.subgraphs
        for op in graph.operators
        for index in op.inputs
    ]
    types = {each.type for each in read if list(each.shape) == [400, 32]}
    assert types == {schema.TensorType.INT4}
    halves = np.frombuffer(bytes(file.buffers[table.buffer].data), np.uint8)
    levels = np.stack([halves % 16, halves // 16], 1).ravel().astype(np.int64)
    levels = np.where(levels > 7, levels - 16, levels).reshape(400, 32)
    layer = model.get_layer("embedding")
    expected = layer.embeddings.numpy() * layer.scale
    for each in tables:
        np.testing.assert_allclose(levels * each.quantization.scale[0], expected, atol=1e-5)
    assert 13 <= len(np.unique(levels)) <= 15 and np.abs(levels).max() == 7


def run(data: bytes, token_ids: np.ndarray) -> np.ndarray:
    interpreter = Interpreter(model_content=data)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], token_ids)
    interpreter.invoke()
    output: np.ndarray = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]
    return output


def test_weights_of_eight_bits_are_refused(tmp_path: Path) -> None:
    model = WeightRoundedModel(random_model("average", vocabulary_size=400), 8).rounded()
    function = inference_form(model, sequence_length=12, lowering="static", multi_label=False)
    data = convert_form(12, function, model, JOB, tmp_path)
    with pytest.raises(ValueError, match=r"shape \[400, 8\] has more than the 15 values of 4 bits"):
        halve_weights(data)


def test_variant_trained_with_four_bits_verifies(
    trained_runs: dict[str, Path], in_process: None, tmp_path: Path
) -> None:
    ignored = shutil.ignore_patterns("exports")
    run_folder = shutil.copytree(trained_runs["lstm"], tmp_path / "run", ignore=ignored)
    made = compress(run_folder, "w4", CompressOptions(qat=True, scheme="dynamic_int4", epochs=1))
    table = next(entry for entry in made["tensors"] if "embeddings" in entry["name"])
    assert table["distinct_values"] <= 15
    options = ExportOptions(variant="w4", scheme="dynamic_int4", lowering="loop")
    made_at = Path(export_artifact(run_folder, options)["artifact"])
    verified = verify(made_at)
    assert verified["passed"] and verified["keras"] == made["metrics"]["test"]["accuracy"]
    with pytest.raises(ExportError, match="variant='base', which was not trained with 4 bits"):
        export_artifact(run_folder, ExportOptions(scheme="dynamic_int4"))
    options = ExportOptions(variant="w4", scheme="dynamic_int4", target="gpu")
    with pytest.raises(ExportError, match="scheme='dynamic_int4' does not run on target 'gpu'"):
        export_artifact(run_folder, options)


def test_old_runtime_says_that_it_has_no_such_op(
    tflite_runtime_python: str, tmp_path: Path
) -> None:
    model = WeightRoundedModel(random_model("average", vocabulary_size=400), 4).rounded()
    function = inference_form(model, sequence_length=12, lowering="static", multi_label=False)
    path = tmp_path / "four.tflite"
    path.write_bytes(halve_weights(convert_form(12, function, model, JOB, tmp_path)))
    facts = check(path, runtime="tflite-runtime==2.14.0")
    assert not facts["ok"] and facts["min_runtime"] == "2.18.0"
    assert facts["min_runtimes"]["ai-edge-litert"] == "1.0.1"
    assert facts["min_runtimes"]["tflite-runtime"] is None
    program = (
        "import sys; from tflite_runtime.interpreter import Interpreter; Interpreter(sys.argv[1])"
    )
    done = subprocess.run(
        [tflite_runtime_python, "-c", program, str(path)], capture_output=True, text=True
    )
    assert done.returncode == 1 and "Didn't find op for builtin opcode" in done.stderr
