"""Lookups in an int8 table: the same bits without a float32 copy of the table."""

from __future__ import annotations

import copy
import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from test_weight_rounding import random_model

from tfpipe.export.convert import convert_form
from tfpipe.export.lookups import look_up_integers
from tfpipe.export.loops import kind_of, loops_of
from tfpipe.export.lowering import inference_form

LENGTH, VOCABULARY_SIZE, WIDTH = 10, 200, 24
INT8, FLOAT32 = schema.TensorType.INT8, schema.TensorType.FLOAT32
OPS = schema.BuiltinOperator


@functools.cache
def convert(name: str) -> bytes:
    """What TensorFlow's converter writes of a loop in dynamic_int8."""
    model = random_model(name, embedding_dim=WIDTH, vocabulary_size=VOCABULARY_SIZE)
    form = inference_form(model, sequence_length=LENGTH, lowering="loop", multi_label=False)
    job = {"target": "cpu", "scheme": "dynamic_int8", "runtime": None}
    with tempfile.TemporaryDirectory() as folder:
        return convert_form(LENGTH, form, model, job, Path(folder))


def read(data: bytes) -> Any:
    return schema.ModelT.InitFromPackedBuf(data, 0)


def rewrite(model: Any) -> bytes:
    look_up_integers(model)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def outputs_of(data: bytes) -> np.ndarray:
    rows = np.random.default_rng(3).integers(1, VOCABULARY_SIZE, (LENGTH + 1, LENGTH))
    rows = np.where(np.arange(LENGTH) < np.arange(LENGTH + 1)[:, None], rows, 0).astype(np.int32)
    runner = Interpreter(model_content=data).get_signature_runner()
    return np.concatenate([runner(token_ids=row[None])["probabilities"] for row in rows])


def tables_read(model: Any) -> list[int]:
    """Types of what ops read that has the shape of the table."""
    return [
        graph.tensors[index].type
        for graph in model.subgraphs
        for op in graph.operators
        for index in op.inputs
        if list(graph.tensors[index].shape) == [VOCABULARY_SIZE, WIDTH]
    ]


@pytest.mark.parametrize("name", ["lstm", "bilstm"])
def test_loop_reads_rows_of_the_stored_table_and_computes_the_same_bits(name: str) -> None:
    before = convert(name)
    # The day the converter leaves the table out of the loop this step is no longer needed.
    assert FLOAT32 in tables_read(read(before))
    after = rewrite(read(before))
    assert set(tables_read(read(after))) == {INT8}
    for old, new in zip(loops_of(read(before)), loops_of(read(after)), strict=True):
        assert len(new.op.inputs) == len(old.op.inputs) - 1
        assert len(new.body.outputs) == len(new.op.outputs) == len(new.op.inputs)
    codes = read(after).operatorCodes
    assert [code.version for code in codes if code.builtinCode == OPS.GATHER] == [2]
    np.testing.assert_array_equal(outputs_of(after), outputs_of(before))


def put_table_out(model: Any) -> None:
    """The graph's caller wants the float32 table as well."""
    graph = model.subgraphs[0]
    graph.outputs = [*graph.outputs, widening_of(model, graph).outputs[0]]


def add_the_table_up(model: Any) -> None:
    """Another op than a lookup reads the float32 table."""
    graph = model.subgraphs[0]
    op, code = schema.OperatorT(), schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = OPS.ABS
    op.opcodeIndex = len(model.operatorCodes)
    model.operatorCodes.append(code)
    table = widening_of(model, graph).outputs[0]
    op.inputs, op.outputs = [table], [len(graph.tensors)]
    graph.tensors.append(graph.tensors[table])
    graph.operators.append(op)


def change_the_table(model: Any) -> None:
    """The loop makes another value of the one that it takes in as the table."""
    (loop,) = loops_of(model)
    table = widening_of(model, loop.graph).outputs[0]
    place = list(loop.op.inputs).index(table)
    outputs = list(loop.body.outputs)
    outputs[place] = outputs[0]
    loop.body.outputs = outputs


def ask_for_the_table(model: Any) -> None:
    """The loop's condition reads the table."""
    (loop,) = loops_of(model)
    place = list(loop.op.inputs).index(widening_of(model, loop.graph).outputs[0])
    op = loop.condition.operators[0]
    op.inputs = [*op.inputs, loop.condition.inputs[place]]


def run_the_body_twice(model: Any) -> None:
    """Another loop runs the same body, and would lose another of its values."""
    (loop,) = loops_of(model)
    loop.graph.operators.append(copy.deepcopy(loop.op))


def hand_the_table_twice(model: Any) -> None:
    """The table enters the loop as two values."""
    (loop,) = loops_of(model)
    table = widening_of(model, loop.graph).outputs[0]
    loop.op.inputs = [*loop.op.inputs, table]


def scale_each_row(model: Any) -> None:
    """The table has a scale for each row, which a lookup does not keep."""
    graph = model.subgraphs[0]
    stored = graph.tensors[widening_of(model, graph).inputs[0]]
    stored.quantization.scale = np.ones(VOCABULARY_SIZE, np.float32)


def widening_of(model: Any, graph: Any) -> Any:
    return next(op for op in graph.operators if kind_of(model, op) == OPS.DEQUANTIZE)


@pytest.mark.parametrize(
    "change",
    [
        put_table_out,
        add_the_table_up,
        change_the_table,
        ask_for_the_table,
        run_the_body_twice,
        hand_the_table_twice,
        scale_each_row,
    ],
)
def test_table_that_is_more_than_looked_up_stays_as_it_is(change: Callable[[Any], None]) -> None:
    model = read(convert("lstm"))
    change(model)
    before = [len(graph.operators) for graph in model.subgraphs]
    look_up_integers(model)
    assert [len(graph.operators) for graph in model.subgraphs] == before
    assert FLOAT32 in tables_read(model)
