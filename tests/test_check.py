"""What a .tflite file is made of, against the runtime's own list; damage of every kind."""

from __future__ import annotations

import random
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from tfpipe.check import inspect_tflite
from tfpipe.export.model_file import check_model
from tfpipe.export.target import ExportError


@pytest.fixture(scope="module")
def model_file(exported_run: Path) -> Path:
    return exported_run / "exports" / "cpu-float32" / "model.tflite"


@pytest.fixture
def rewrite(model_file: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes the real file anew after a change of its parsed content."""

    def change(edit: Callable[[Any], None]) -> Path:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model_file.read_bytes(), 0))
        edit(model)
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), b"TFL3")
        path = tmp_path / "changed.tflite"
        path.write_bytes(bytes(builder.Output()))
        return path

    return change


def test_facts_agree_with_the_runtime(model_file: Path) -> None:
    facts = inspect_tflite(model_file)
    interpreter = Interpreter(
        str(model_file),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    assert facts["ops"] == Counter(op["op_name"] for op in interpreter._get_ops_details())
    data = model_file.read_bytes()
    assert facts["model_size_bytes"] == len(data)
    assert facts["zip_size_bytes"] == len(zlib.compress(data, 9)) < len(data)
    assert facts["zstd_size_bytes"] < len(data)
    assert facts["min_runtime"].count(".") == 2
    assert list(facts["ops"].values()) == sorted(facts["ops"].values(), reverse=True)


def test_bytes_are_those_of_the_constants(model_file: Path, exported_run: Path) -> None:
    facts = inspect_tflite(model_file)
    with np.load(exported_run / "variants" / "base" / "weights.npz") as weights:
        stored = sum(array.nbytes for array in weights.values())
    # The reader's own constants (shapes, indices) come on top; biases of zeros may be shared.
    assert 0.9 * stored <= facts["bytes_by_dtype"]["float32"] <= 1.2 * stored
    assert sum(facts["bytes_by_dtype"].values()) < facts["model_size_bytes"]


def test_rewritten_file_has_the_same_facts(model_file: Path, rewrite: Callable[..., Path]) -> None:
    expected, found = inspect_tflite(model_file), inspect_tflite(rewrite(lambda model: None))
    for key in ("min_runtime", "ops", "bytes_by_dtype"):
        assert found[key] == expected[key]


def test_file_without_weights_is_refused(rewrite: Callable[..., Path]) -> None:
    def drop_weights(model: Any) -> None:
        for tensor in model.subgraphs[0].tensors:
            if tensor.type == schema.TensorType.FLOAT32:
                model.buffers[tensor.buffer].data = None

    with pytest.raises(ExportError, match=r"not run: constant-missing: subgraph 0: \w+ reads"):
        check_model(inspect_tflite(rewrite(drop_weights)), 600)


@pytest.mark.parametrize("name", ["FlexErf", "MyOp"])
def test_op_that_is_not_builtin_is_refused(rewrite: Callable[..., Path], name: str) -> None:
    def rename(model: Any) -> None:
        model.operatorCodes[0].builtinCode = schema.BuiltinOperator.CUSTOM
        model.operatorCodes[0].deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        model.operatorCodes[0].customCode = name

    path = rewrite(rename)
    assert inspect_tflite(path)["ops"][name] > 0
    with pytest.raises(ExportError, match=rf"would not run: (flex|custom)-op: {name} \(used"):
        check_model(inspect_tflite(path), 1)


def test_file_of_an_unknown_newer_op_is_read_and_not_exported(
    rewrite: Callable[..., Path],
) -> None:
    def rename(model: Any) -> None:
        model.operatorCodes[0].builtinCode = 30_000

    path = rewrite(rename)
    assert "BUILTIN_30000" in inspect_tflite(path)["ops"]
    with pytest.raises(ExportError, match="BUILTIN_30000"):
        check_model(inspect_tflite(path), 1)


def test_minimum_runtime_comes_from_the_ops(model_file: Path, rewrite: Callable[..., Path]) -> None:
    def forget(model: Any) -> None:
        model.metadata = None

    found = inspect_tflite(rewrite(forget))
    assert found["min_runtime"] == inspect_tflite(model_file)["min_runtime"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"\(0 bytes\) is not a TFLite model"),
        (b"PK\x03\x04 a zip archive", "is not a TFLite model"),
        (random.Random(1).randbytes(5000), "is not a TFLite model"),
        (b"\x1c\0\0\0TFL3" + bytes(32), r"\(40 bytes\) is damaged: a table.s list of fields"),
        (b"\xff\xff\xff\xffTFL3" + bytes(32), "is damaged: offset .* behind its 40 bytes"),
        (b"\x08\0\0\0TFL3" + random.Random(2).randbytes(5000), "is damaged"),
    ],
)
def test_foreign_file_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message):
        inspect_tflite(path)


@pytest.mark.parametrize("cut", [1, 7, 100, 5000, 10_000])
def test_truncated_file_is_refused(model_file: Path, tmp_path: Path, cut: int) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(model_file.read_bytes()[:-cut])
    with pytest.raises(ValueError, match=r"is damaged: .* Copy or export it again"):
        inspect_tflite(path)


def test_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        inspect_tflite(tmp_path / "none.tflite")


def test_mutated_files_are_read_or_refused(model_file: Path, tmp_path: Path) -> None:
    rng = random.Random(7)
    original = model_file.read_bytes()
    path = tmp_path / "mutated.tflite"
    refused = 0
    for round_ in range(200):
        data = bytearray(original)
        for _ in range(rng.choice([1, 4, 64, 2000])):
            data[rng.randrange(8, len(data))] = rng.randrange(256)
        if round_ % 4 == 0:  # a claimed length or offset of gigabytes
            place = rng.randrange(8, len(data) - 4) & ~3
            data[place : place + 4] = rng.choice([b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f"])
        path.write_bytes(data)
        try:
            facts = inspect_tflite(path)
        except ValueError as error:
            assert "Copy or export it again." in str(error)
            refused += 1
        else:
            assert facts["model_size_bytes"] == len(original)
    assert 20 < refused < 200


def test_shared_tables_are_not_multiplied(tmp_path: Path) -> None:
    """2,000 subgraphs that are one, of 2,000 operators that are one: 4 million, in 16 kB."""
    count = 2000
    builder = flatbuffers.Builder(1 << 16)
    schema.OperatorStart(builder)
    operator = schema.OperatorEnd(builder)
    schema.SubGraphStartOperatorsVector(builder, count)
    for _ in range(count):
        builder.PrependUOffsetTRelative(operator)
    operators = builder.EndVector()
    schema.SubGraphStart(builder)
    schema.SubGraphAddOperators(builder, operators)
    graph = schema.SubGraphEnd(builder)
    schema.ModelStartSubgraphsVector(builder, count)
    for _ in range(count):
        builder.PrependUOffsetTRelative(graph)
    graphs = builder.EndVector()
    schema.OperatorCodeStart(builder)
    code = schema.OperatorCodeEnd(builder)
    schema.ModelStartOperatorCodesVector(builder, 1)
    builder.PrependUOffsetTRelative(code)
    codes = builder.EndVector()
    schema.ModelStart(builder)
    schema.ModelAddSubgraphs(builder, graphs)
    schema.ModelAddOperatorCodes(builder, codes)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    path = tmp_path / "shared.tflite"
    path.write_bytes(bytes(builder.Output()))
    with pytest.raises(ValueError, match="2000 Operators are more than the file has room for"):
        inspect_tflite(path)


@pytest.mark.parametrize("offset", [16, 1 << 40])
def test_weights_behind_the_flatbuffer_are_counted(
    rewrite: Callable[..., Path], offset: int
) -> None:
    """As in files over 2 GB: a buffer that has an offset and a size instead of data."""

    def move(model: Any) -> None:
        buffers = [buffer for buffer in model.buffers if buffer.data is not None]
        largest = max(buffers, key=lambda buffer: len(buffer.data))
        largest.data, largest.offset, largest.size = None, offset, 12_345

    path = rewrite(move)
    if offset < path.stat().st_size:
        assert inspect_tflite(path)["bytes_by_dtype"]["float32"] > 12_345
    else:
        with pytest.raises(ValueError, match="is damaged: a buffer ends at .* of"):
            inspect_tflite(path)


def test_buffer_that_is_not_there_is_damage(rewrite: Callable[..., Path]) -> None:
    def point_outside(model: Any) -> None:
        model.subgraphs[0].tensors[0].buffer = 99_999

    with pytest.raises(ValueError, match="buffer 99999 of"):
        inspect_tflite(rewrite(point_outside))
