"""Shorter loops: fewer ops in an iteration, the same bits."""

from __future__ import annotations

import copy
import functools
import tempfile
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from tfpipe.export.convert import convert_form
from tfpipe.export.loops import loops_of, shorten_loops
from tfpipe.export.lowering import INPUT_NAME, inference_form
from tfpipe.models import MODELS
from tfpipe.models.quantized import QuantizedModel

LENGTH, VOCABULARY_SIZE = 10, 40
INT8, FLOAT32 = schema.TensorType.INT8, schema.TensorType.FLOAT32
KINDS = {value: name for name, value in vars(schema.BuiltinOperator).items()}


def texts_of_every_length() -> np.ndarray:
    rows = np.random.default_rng(3).integers(1, VOCABULARY_SIZE, (LENGTH + 1, LENGTH))
    return np.where(np.arange(LENGTH) < np.arange(LENGTH + 1)[:, None], rows, 0).astype(np.int32)


@functools.cache
def convert(name: str, scheme: str, pooling: str, num_layers: int = 1) -> bytes:
    """What TensorFlow's converter writes of a loop."""
    tf.keras.utils.set_random_seed(3)
    model = MODELS[name](
        VOCABULARY_SIZE, LENGTH, 3, embedding_dim=8, units=8, pooling=pooling, num_layers=num_layers
    )
    if scheme == "int8":
        model = QuantizedModel(model)
        model.observe(tf.constant(texts_of_every_length()))
    form = inference_form(model, sequence_length=LENGTH, lowering="loop", multi_label=False)
    job = {"target": "cpu", "scheme": scheme, "runtime": None}
    with tempfile.TemporaryDirectory() as folder:
        return convert_form(LENGTH, form, model, job, Path(folder))


def read(data: bytes) -> Any:
    return schema.ModelT.InitFromPackedBuf(data, 0)


def shortened(data: bytes) -> bytes:
    model, builder = read(data), flatbuffers.Builder(1024)
    shorten_loops(model)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def outputs_of(data: bytes) -> np.ndarray:
    runner = Interpreter(model_content=data).get_signature_runner()
    return np.concatenate(
        [runner(**{INPUT_NAME: row[None]})["probabilities"] for row in texts_of_every_length()]
    )


def kinds_of(model: Any, graph: Any) -> list[str]:
    return [KINDS[model.operatorCodes[op.opcodeIndex].builtinCode] for op in graph.operators]


def carried_types(data: bytes) -> list[list[int]]:
    return [
        [loop.body.tensors[index].type for index in loop.body.inputs]
        for loop in loops_of(read(data))
    ]


@pytest.mark.parametrize("scheme", ["float32", "int8"])
@pytest.mark.parametrize(
    ("name", "pooling", "num_layers"),
    [("lstm", "last", 1), ("lstm", "mean_max", 2), ("bilstm", "mean_max", 1)],
)
def test_shorter_loop_computes_the_same_bits_in_fewer_ops(
    name: str, pooling: str, num_layers: int, scheme: str
) -> None:
    before = convert(name, scheme, pooling, num_layers)
    after = shortened(before)
    np.testing.assert_array_equal(outputs_of(after), outputs_of(before))
    loops = list(zip(loops_of(read(before)), loops_of(read(after)), strict=True))
    assert len(loops) == (1 if pooling == "last" else 2)
    for old, new in loops:
        # The count of iterations and the op that raises it.
        assert len(new.op.inputs) == len(old.op.inputs) - 1
        carried = len(new.body.operators) - len(old.body.operators) + 1
        assert carried in ([0] if scheme == "float32" else [-2, -4])
        kinds = kinds_of(new.model, new.body)
        assert kinds.count("ADD") == kinds_of(old.model, old.body).count("ADD") - 1
    again = [
        (len(each.op.inputs), len(each.body.operators)) for each in loops_of(read(shortened(after)))
    ]
    assert again == [(len(new.op.inputs), len(new.body.operators)) for _, new in loops]


def test_states_of_an_int8_loop_are_carried_as_integers() -> None:
    before = convert("lstm", "int8", "last")
    after = shortened(before)
    ((*_, hidden, cell, ids),) = carried_types(after)
    assert (hidden, cell, ids) == (INT8, INT8, schema.TensorType.INT32)
    (loop,) = loops_of(read(after))
    kinds = kinds_of(loop.model, loop.body)
    assert "QUANTIZE" not in kinds and "DEQUANTIZE" not in kinds
    (old,) = loops_of(read(before))
    quantized = [kinds_of(each.model, each.graph).count("QUANTIZE") for each in (old, loop)]
    assert quantized[1] == quantized[0] - 1  # the state that comes out


def body_with(model: Any, change: str) -> Any:
    """Makes one of the reasons for which a value must stay as it is."""
    (loop,) = loops_of(model)
    if change == "condition reads the count":
        loop.condition.operators[0].inputs = [
            loop.condition.inputs[0],
            *loop.condition.operators[0].inputs[1:],
        ]
    elif change == "count is an output":
        loop.graph.outputs = [*loop.graph.outputs, loop.op.outputs[0]]
    elif change == "body reads the count twice":
        (split, *_) = [op for op in loop.body.operators if len(op.outputs) == 4]
        split.inputs = [*split.inputs, loop.body.inputs[0]]
    elif change == "body reads the next count":
        (split, *_) = [op for op in loop.body.operators if len(op.outputs) == 4]
        split.inputs = [*split.inputs, loop.body.outputs[0]]
    elif change == "count before comes out":
        loop.body.outputs = [*loop.body.outputs[:-1], loop.body.inputs[0]]
    elif change == "count is made with another value":
        (maker,) = [op for op in loop.body.operators if loop.body.outputs[0] in op.outputs]
        maker.outputs = [*maker.outputs, len(loop.body.tensors)]
    elif change == "count comes out twice":
        loop.body.outputs = [loop.body.outputs[0], loop.body.outputs[0], *loop.body.outputs[2:]]
    return loop


@pytest.mark.parametrize(
    "change",
    [
        "condition reads the count",
        "count is an output",
        "body reads the count twice",
        "body reads the next count",
        "count before comes out",
        "count is made with another value",
        "count comes out twice",
    ],
)
def test_count_that_somebody_reads_stays(change: str) -> None:
    model = read(convert("lstm", "float32", "last"))
    loop = body_with(model, change)
    num_values, num_ops = len(loop.op.inputs), len(loop.body.operators)
    shorten_loops(model)
    assert (len(loop.op.inputs), len(loop.body.operators)) == (num_values, num_ops)


def float_values(loop: Any) -> list[int]:
    tensors = loop.body.tensors
    return [i for i, index in enumerate(loop.body.inputs) if tensors[index].type == FLOAT32]


def with_value(values: Any, place: int, value: int) -> list[int]:
    return [value if index == place else each for index, each in enumerate(values)]


def spoil(loop: Any, place: int, change: str) -> None:
    tensor = loop.body.inputs[place]
    (entry,) = [op for op in loop.body.operators if tensor in op.inputs]
    if change == "another scale":
        loop.body.tensors[entry.outputs[0]].quantization.scale = [0.5]
    elif change == "begin is computed":
        computed = copy.copy(loop.graph.tensors[loop.op.inputs[place]])
        computed.buffer = 0
        loop.op.inputs = with_value(loop.op.inputs, place, len(loop.graph.tensors))
        loop.graph.tensors.append(computed)
    elif change == "begin is not zero":
        begin = copy.copy(loop.graph.tensors[loop.op.inputs[place]])
        ones = schema.BufferT()
        ones.data = np.ones(np.prod(begin.shape), np.float32).view(np.uint8)
        begin.buffer = len(loop.model.buffers)
        loop.model.buffers.append(ones)
        loop.op.inputs = with_value(loop.op.inputs, place, len(loop.graph.tensors))
        loop.graph.tensors.append(begin)
    elif change == "graph puts it out":
        loop.graph.outputs = [*loop.graph.outputs, loop.op.outputs[place]]
    elif change == "body has another use for it":
        (split, *_) = [op for op in loop.body.operators if len(op.outputs) == 4]
        split.inputs = [*split.inputs, tensor]
    elif change == "body reads what it puts out":
        loop.body.operators[0].inputs = [*loop.body.operators[0].inputs, loop.body.outputs[place]]
    elif change == "comes out twice":
        loop.body.outputs = [*loop.body.outputs[:-1], loop.body.outputs[place]]
    elif change == "condition reads it":
        condition = loop.condition
        condition.operators[0].inputs = [*condition.operators[0].inputs, condition.inputs[place]]


@pytest.mark.parametrize(
    "change",
    [
        "another scale",
        "begin is computed",
        "begin is not zero",
        "graph puts it out",
        "body has another use for it",
        "condition reads it",
        "body reads what it puts out",
        "comes out twice",
    ],
)
def test_state_that_is_not_the_same_integers_stays_float(change: str) -> None:
    (loop,) = loops_of(read(convert("lstm", "int8", "last")))
    places = float_values(loop)
    hidden, cell = (loop.body.tensors[loop.body.inputs[place]] for place in places)
    spoil(loop, places[0], change)
    shorten_loops(loop.model)
    assert (hidden.type, cell.type) == (FLOAT32, INT8)


@pytest.mark.parametrize("own", ["condSubgraphIndex", "bodySubgraphIndex"])
def test_loops_that_run_one_graph_stay(own: str) -> None:
    model = read(convert("lstm", "int8", "last"))
    (loop,) = loops_of(model)
    twin = copy.copy(loop.op)
    twin.builtinOptions = copy.copy(twin.builtinOptions)
    setattr(twin.builtinOptions, own, len(model.subgraphs))
    model.subgraphs.append(copy.deepcopy(loop.condition if "cond" in own else loop.body))
    twin.outputs = [len(loop.graph.tensors) + number for number in range(len(loop.op.outputs))]
    loop.graph.tensors += [copy.copy(loop.graph.tensors[index]) for index in loop.op.outputs]
    loop.graph.operators.insert(loop.graph.operators.index(loop.op), twin)
    num_values, num_ops = len(loop.op.inputs), len(loop.body.operators)
    shorten_loops(model)
    assert len(loop.op.inputs) == len(twin.inputs) == num_values
    assert len(loop.body.operators) == num_ops
