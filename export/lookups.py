"""A .tflite model → the same model whose lookups read an int8 table as it is stored."""

from __future__ import annotations

import copy
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from tfpipe.export.loops import (
    DEQUANTIZE,
    Loop,
    drop_value,
    grid_of,
    is_unread,
    kind_of,
    loops_of,
    readers_of,
    replaced,
)

GATHER = schema.BuiltinOperator.GATHER
# The version in which GATHER takes int8 (tensorflow/lite/tools/versioning/op_version.cc).
INT8_GATHER = 2


def look_up_integers(model: Any) -> None:
    """Widens the rows that a lookup found, and no longer the whole table before it.

    Of a table that a loop reads in scheme dynamic_int8, the converter makes a float32 copy, four
    times as large in memory, which the loop takes in and hands on in every iteration.

    Args:
        model: A `schema.ModelT`, which is changed.
    """
    for graph in model.subgraphs:
        for op in list(graph.operators):
            if is_table_widening(model, graph, op):
                move_behind_lookups(model, graph, op)


def is_table_widening(model: Any, graph: Any, op: Any) -> bool:
    """Returns whether an op makes float32 of a constant with one scale."""
    if kind_of(model, op) != DEQUANTIZE:
        return False
    stored = graph.tensors[op.inputs[0]]
    data = model.buffers[stored.buffer].data
    return data is not None and len(data) > 0 and grid_of(stored) is not None


def move_behind_lookups(model: Any, graph: Any, widening: Any) -> None:
    """Takes the op away if all that read its table are lookups, in this graph or in a loop's body
    that hands it on as it came in."""
    stored, table = int(widening.inputs[0]), int(widening.outputs[0])
    loops = [loop for loop in loops_of(model) if loop.graph is graph and table in loop.op.inputs]
    readers = [op for op in readers_of(graph, table) if not any(op is loop.op for loop in loops)]
    places = [(loop, list(loop.op.inputs).index(table)) for loop in loops]
    if table in graph.outputs or not (
        all(is_lookup(model, op, table) for op in readers)
        and all(is_handed_on(loop, place) for loop, place in places)
    ):
        return
    for op in readers:
        look_up(model, graph, op, stored, widening)
    for loop, place in places:
        own = adopt(loop.body, graph.tensors[stored])
        for op in readers_of(loop.body, loop.body.inputs[place]):
            look_up(model, loop.body, op, own, widening)
        drop_value(loop, place)
    graph.operators.remove(widening)


def is_handed_on(loop: Loop, place: int) -> bool:
    """Returns whether a loop's value is a table that lookups in its body read, and nobody else."""
    value = loop.body.inputs[place]
    return (
        not loop.is_shared
        and list(loop.op.inputs).count(loop.op.inputs[place]) == 1
        and loop.body.outputs[place] == value
        and list(loop.body.outputs).count(value) == 1
        and is_unread(loop.condition, loop.condition.inputs[place])
        and is_unread(loop.graph, loop.op.outputs[place])
        and all(is_lookup(loop.model, op, value) for op in readers_of(loop.body, value))
    )


def is_lookup(model: Any, op: Any, table: int) -> bool:
    """Returns whether an op takes rows of a table."""
    return kind_of(model, op) == GATHER and list(op.inputs).index(table) == 0


def look_up(model: Any, graph: Any, op: Any, stored: int, widening: Any) -> None:
    """Lets a lookup read the int8 table, and widens what it finds."""
    found = adopt(graph, graph.tensors[op.outputs[0]])
    table = graph.tensors[stored]
    graph.tensors[found].type = table.type
    graph.tensors[found].quantization = copy.deepcopy(table.quantization)
    behind = schema.OperatorT()
    behind.opcodeIndex, behind.builtinOptions = widening.opcodeIndex, widening.builtinOptions
    behind.builtinOptionsType = widening.builtinOptionsType
    behind.inputs, behind.outputs = [found], list(op.outputs)
    op.inputs, op.outputs = replaced(op.inputs, op.inputs[0], stored), [found]
    graph.operators.insert(graph.operators.index(op) + 1, behind)
    code = model.operatorCodes[op.opcodeIndex]
    code.version = max(code.version, INT8_GATHER)


def adopt(graph: Any, tensor: Any) -> int:
    """Adds a tensor like this one to a graph; returns its number there."""
    graph.tensors.append(copy.deepcopy(tensor))
    return len(graph.tensors) - 1
