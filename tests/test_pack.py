"""Packed files: fewer bytes, the same tensors, constants and outputs, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from tfpipe.check import check
from tfpipe.export.lowering import INPUT_NAME, inference_form
from tfpipe.export.merge import merge_files
from tfpipe.export.pack import CONSTANT_ALIGNMENT, SharingBuilder, content_of, pack_model
from tfpipe.models import MODELS

LENGTH, VOCABULARY_SIZE = 12, 40
NO_VALUES = np.zeros(0)


def token_rows() -> np.ndarray:
    """Row n has n real tokens."""
    rows = np.random.default_rng(1).integers(1, VOCABULARY_SIZE, (LENGTH + 1, LENGTH))
    return np.where(np.arange(LENGTH) < np.arange(LENGTH + 1)[:, None], rows, 0).astype(np.int32)


def convert(length: int = LENGTH, scheme: str = "float32", lowering: str = "unrolled") -> bytes:
    """What TensorFlow's converter writes of an LSTM."""
    tf.keras.utils.set_random_seed(3)
    model = MODELS["lstm"](VOCABULARY_SIZE, LENGTH, 3, embedding_dim=8, units=8)
    function = inference_form(model, sequence_length=length, lowering=lowering, multi_label=False)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
    if scheme != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if scheme == "int8":
        converter.representative_dataset = lambda: [{INPUT_NAME: row[None]} for row in token_rows()]
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return bytes(converter.convert())


def outputs_of(data: bytes, rows: np.ndarray) -> np.ndarray:
    interpreter = Interpreter(model_content=data)
    interpreter.allocate_tensors()
    (given,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
    found = []
    for row in rows:
        interpreter.set_tensor(given["index"], row[None])
        interpreter.invoke()
        found.append(interpreter.get_tensor(output["index"]))
    return np.concatenate(found)


@pytest.fixture(scope="module", params=["float32", "int8"])
def converted(request: pytest.FixtureRequest) -> bytes:
    return convert(scheme=request.param)


def test_packed_file_computes_the_same_bits_in_fewer_bytes(converted: bytes) -> None:
    packed = pack_model(read(converted))
    np.testing.assert_array_equal(
        outputs_of(packed, token_rows()), outputs_of(converted, token_rows())
    )
    stored = sum(len(content_of(buffer)) for buffer in read(converted).buffers)
    assert len(packed) - stored < 0.6 * (len(converted) - stored)


def read(data: bytes) -> Any:
    return schema.ModelT.InitFromPackedBuf(data, 0)


def test_packed_file_holds_the_same_tensors_and_ops(converted: bytes) -> None:
    before, after = read(converted), read(pack_model(read(converted)))
    assert [vars(code) for code in after.operatorCodes] == [
        vars(code) for code in before.operatorCodes
    ]
    (old,), (new,) = before.subgraphs, after.subgraphs
    boundary = {*old.inputs.tolist(), *old.outputs.tolist()}
    assert (new.inputs.tolist(), new.outputs.tolist()) == (
        old.inputs.tolist(),
        old.outputs.tolist(),
    )
    for index, (was, now) in enumerate(zip(old.tensors, new.tensors, strict=True)):
        content = content_of(before.buffers[was.buffer])
        assert content_of(after.buffers[now.buffer]) == content
        assert np.array_equal(now.shape, was.shape) and now.type == was.type
        assert now.name == (was.name if content or index in boundary else None)
        for key in ("scale", "zeroPoint"):
            values = [getattr(item.quantization, key, None) for item in (was, now)]
            np.testing.assert_array_equal(
                *(NO_VALUES if value is None else value for value in values)
            )
    for was, now in zip(old.operators, new.operators, strict=True):
        assert np.array_equal(now.inputs, was.inputs) and np.array_equal(now.outputs, was.outputs)
        assert now.opcodeIndex == was.opcodeIndex
        assert (
            vars(now.builtinOptions or schema.BufferT()).keys()
            == vars(was.builtinOptions or schema.BufferT()).keys()
        )
    metadata = [
        {item.name: content_of(model.buffers[item.buffer]) for item in model.metadata}
        for model in (before, after)
    ]
    assert metadata[0] == metadata[1]


def test_constants_stand_once_and_aligned(converted: bytes) -> None:
    packed = pack_model(read(converted))
    model = schema.Model.GetRootAs(packed, 0)
    buffers = [model.Buffers(index) for index in range(model.BuffersLength())]
    assert buffers[0].DataLength() == 0
    contents = [buffer.DataAsNumpy().tobytes() for buffer in buffers[1:]]
    assert len(set(contents)) == len(contents) and all(contents)
    for buffer in buffers[1:]:
        # 4: the field `data` of the schema's table Buffer, its first.
        assert buffer._tab.Vector(buffer._tab.Offset(4)) % CONSTANT_ALIGNMENT == 0


def test_bytes_of_a_file_are_told_by_kind(converted: bytes, tmp_path: Any) -> None:
    found = {}
    for name, data in (("converted", converted), ("packed", pack_model(read(converted)))):
        path = tmp_path / f"{name}.tflite"
        path.write_bytes(data)
        found[name] = check(path)["bytes_by_kind"]
        assert sum(found[name].values()) == len(data)
    assert found["packed"]["constants"] == found["converted"]["constants"]
    assert found["packed"]["graph"] < 0.6 * found["converted"]["graph"]


def test_equal_numbers_of_another_type_are_not_shared() -> None:
    builder = SharingBuilder(16)
    # The same sixteen bytes behind the same length: four int32, and four bytes with padding.
    wide = builder.CreateNumpyVector(np.array([7, 0, 0, 0], np.int32))
    narrow = builder.CreateNumpyVector(np.array([7, 0, 0, 0], np.uint8))
    assert narrow != wide
    assert builder.CreateNumpyVector(np.array([7, 0, 0, 0], np.int32)) == wide
    assert builder.CreateString(b"seven") == builder.CreateString(b"seven")


def test_loops_of_several_files_run_their_own_bodies() -> None:
    lengths = (LENGTH, 5)
    files = [convert(length, lowering="loop") for length in lengths]
    merged = read(merge_files(files, lengths[1:]))
    count = len(read(files[0]).subgraphs)
    assert count > 1 and len(merged.subgraphs) == 2 * count
    bodies = [
        operator.builtinOptions.bodySubgraphIndex
        for graph in merged.subgraphs
        for operator in graph.operators
        if isinstance(operator.builtinOptions, schema.WhileOptionsT)
    ]
    assert len(bodies) == 2 and bodies[0] < count <= bodies[1]


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [("1.14.0", "2.9.0", "2.9.0"), ("2.17.0", "2.9.0", "2.17.0"), ("2.9.0", "2.10.0", "2.10.0")],
)
def test_merged_file_records_the_newer_minimum_runtime(
    converted: bytes, first: str, second: str, kept: str
) -> None:
    files = []
    for version in (first, second):
        model = read(converted)
        (entry,) = [item for item in model.metadata if item.name == b"min_runtime_version"]
        text = version.encode().ljust(16, b"\0")
        model.buffers[entry.buffer].data = np.frombuffer(text, np.uint8)
        files.append(merge_files([pack_model(model)], ()))
    merged = read(merge_files(files, (5,)))
    (entry,) = [item for item in merged.metadata if item.name == b"min_runtime_version"]
    assert content_of(merged.buffers[entry.buffer]).rstrip(b"\0").decode() == kept


def test_constants_that_nothing_reads_are_left_out() -> None:
    converted = convert(lowering="loop")
    model = read(converted)
    unused, buffer = schema.TensorT(), schema.BufferT()
    buffer.data = np.full(1000, 7, np.uint8)
    unused.shape, unused.type = [1000], schema.TensorType.INT8
    unused.buffer, unused.name = len(model.buffers), b"unused"
    model.buffers.append(buffer)
    model.subgraphs[0].tensors.append(unused)
    packed = pack_model(model)
    after = read(packed)
    for graph in after.subgraphs:
        read_here = {int(index) for op in graph.operators for index in op.inputs}
        assert {at for at, tensor in enumerate(graph.tensors) if tensor.buffer} <= read_here
    np.testing.assert_array_equal(
        outputs_of(packed, token_rows()), outputs_of(converted, token_rows())
    )
