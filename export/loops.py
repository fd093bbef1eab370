"""A .tflite model → the same model whose loops run fewer ops in each iteration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

QUANTIZE, DEQUANTIZE = schema.BuiltinOperator.QUANTIZE, schema.BuiltinOperator.DEQUANTIZE


@dataclass(frozen=True)
class Loop:
    """A WHILE, the graph that it stands in and the graphs that it runs, and whether another loop
    runs one of them too."""

    model: Any
    graph: Any
    op: Any
    condition: Any
    body: Any
    is_shared: bool

    def kind(self, op: Any) -> int:
        """Returns the builtin code of an op."""
        return kind_of(self.model, op)


def shorten_loops(model: Any) -> None:
    """Takes out of every WHILE what an iteration need not do; outputs stay the same bits.

    Args:
        model: A `schema.ModelT`, which is changed. Loops that run one graph together stay as they
            are.
    """
    for loop in loops_of(model):
        if not loop.is_shared:
            drop_idle_values(loop)
            for place in range(len(loop.op.inputs)):
                carry_rounded(loop, place)


def loops_of(model: Any) -> list[Loop]:
    """Returns the loops of all graphs."""
    found = [
        (graph, op, op.builtinOptions.condSubgraphIndex, op.builtinOptions.bodySubgraphIndex)
        for graph in model.subgraphs
        for op in graph.operators
        if isinstance(op.builtinOptions, schema.WhileOptionsT)
    ]
    users = Counter(index for *_, condition, body in found for index in (condition, body))
    return [
        Loop(
            model,
            graph,
            op,
            model.subgraphs[condition],
            model.subgraphs[body],
            is_shared=users[condition] > 1 or users[body] > 1,
        )
        for graph, op, condition, body in found
    ]


def drop_value(loop: Loop, place: int) -> None:
    """Takes a value out of those that a loop hands on."""
    for holder in (loop.op, loop.condition, loop.body):
        holder.inputs = without(holder.inputs, place)
    for holder in (loop.op, loop.body):
        holder.outputs = without(holder.outputs, place)


def drop_idle_values(loop: Loop) -> None:
    """Takes out values that serve for nothing but their own next value: tf.while_loop counts its
    iterations whether it has a limit or not, and the count is an op of each iteration."""
    for place in reversed(range(len(loop.op.inputs))):
        if not is_idle(loop, place):
            continue
        loop.body.operators.remove(maker_of(loop.body, loop.body.outputs[place]))
        drop_value(loop, place)


def is_idle(loop: Loop, place: int) -> bool:
    """Returns whether a value is read by the one op that makes its next value, and by no other."""
    value, result = loop.body.inputs[place], loop.body.outputs[place]
    maker = maker_of(loop.body, result)
    return (
        maker is not None
        and len(maker.outputs) == 1
        and readers_of(loop.body, value) == [maker]
        and value not in loop.body.outputs
        and not readers_of(loop.body, result)
        and list(loop.body.outputs).count(result) == 1
        and is_unread(loop.condition, loop.condition.inputs[place])
        and is_unread(loop.graph, loop.op.outputs[place])
    )


def carry_rounded(loop: Loop, place: int) -> None:
    """Carries a value that begins with zeros as the integers that the body makes of it first and
    makes it from last.

    The converter carries float32 between iterations. Where the body quantizes the value as it comes
    in, has it in the same scale before it goes out, and the graph behind the loop quantizes it too,
    the integers are the same without those ops.
    """
    value, result = loop.body.inputs[place], loop.body.outputs[place]
    entry, end = only_reader(loop.body, value), maker_of(loop.body, result)
    behind = only_reader(loop.graph, loop.op.outputs[place])
    if entry is None or end is None or not begins_with_zeros(loop, place):
        return
    if not (
        is_rounded_throughout(loop, entry, end, behind)
        and not readers_of(loop.body, result)
        and list(loop.body.outputs).count(result) == 1
        and (behind or is_unread(loop.graph, loop.op.outputs[place]))
        and is_unread(loop.condition, loop.condition.inputs[place])
    ):
        return
    made = loop.body.tensors[end.inputs[0]]
    set_begin(loop, place, made)
    loop.body.operators.remove(entry)
    for reader in readers_of(loop.body, entry.outputs[0]):
        reader.inputs = replaced(reader.inputs, entry.outputs[0], value)
    loop.body.operators.remove(end)
    loop.body.outputs = replaced(loop.body.outputs, result, end.inputs[0])
    if behind:
        loop.graph.operators.remove(behind)
        loop.op.outputs = replaced(loop.op.outputs, loop.op.outputs[place], behind.outputs[0])
    carried = (
        loop.graph.tensors[loop.op.outputs[place]],
        loop.condition.tensors[loop.condition.inputs[place]],
        loop.body.tensors[value],
    )
    for tensor in carried:
        tensor.type, tensor.quantization = made.type, made.quantization


def is_rounded_throughout(loop: Loop, entry: Any, end: Any, behind: Any) -> bool:
    """Returns whether the ops around a float32 value round it to one grid, and so change nothing:
    the first and the last in the body, and the one behind the loop, if there is one."""
    kinds = [loop.kind(entry), loop.kind(end), *([loop.kind(behind)] if behind else [])]
    if kinds != [QUANTIZE, DEQUANTIZE, QUANTIZE][: len(kinds)]:
        return False
    grid = grid_of(loop.body.tensors[end.inputs[0]])
    rounded = [loop.body.tensors[entry.outputs[0]]]
    rounded += [loop.graph.tensors[behind.outputs[0]]] if behind else []
    return grid is not None and all(grid_of(tensor) == grid for tensor in rounded)


def set_begin(loop: Loop, place: int, made: Any) -> None:
    """Gives the loop zeros in the scale of `made` to begin with."""
    buffer, tensor = schema.BufferT(), schema.TensorT()
    old = loop.graph.tensors[loop.op.inputs[place]]
    zero_point = made.quantization.zeroPoint[0]
    buffer.data = np.full(old.shape, zero_point, np.int8).ravel().view(np.uint8)
    tensor.shape, tensor.name = old.shape, old.name
    tensor.type, tensor.quantization = made.type, made.quantization
    tensor.buffer = len(loop.model.buffers)
    loop.model.buffers.append(buffer)
    inputs = list(loop.op.inputs)
    inputs[place] = len(loop.graph.tensors)
    loop.op.inputs = inputs
    loop.graph.tensors.append(tensor)


def grid_of(tensor: Any) -> tuple[float, int] | None:
    """Returns scale and zero point of an int8 tensor with one scale; None of others."""
    found = tensor.quantization
    if tensor.type != schema.TensorType.INT8 or found is None or found.scale is None:
        return None
    if len(found.scale) != 1:
        return None
    return float(found.scale[0]), int(found.zeroPoint[0])


def begins_with_zeros(loop: Loop, place: int) -> bool:
    """Returns whether the first value is a float32 constant of zeros."""
    found = loop.graph.tensors[loop.op.inputs[place]]
    data = loop.model.buffers[found.buffer].data
    is_constant = data is not None and len(data) > 0
    return found.type == schema.TensorType.FLOAT32 and is_constant and not np.any(data)


def kind_of(model: Any, op: Any) -> int:
    """Returns the builtin code of an op."""
    code = model.operatorCodes[op.opcodeIndex]
    return int(max(code.builtinCode, code.deprecatedBuiltinCode))


def maker_of(graph: Any, tensor: int) -> Any:
    """Returns the op that makes a tensor; None of an input or a constant."""
    return next((op for op in graph.operators if tensor in op.outputs), None)


def readers_of(graph: Any, tensor: int) -> list[Any]:
    """Returns the ops that read a tensor."""
    return [op for op in graph.operators if tensor in op.inputs]


def only_reader(graph: Any, tensor: int) -> Any:
    """Returns the op that reads a tensor, if it is one and the graph does not put it out."""
    readers = readers_of(graph, tensor)
    return readers[0] if len(readers) == 1 and tensor not in graph.outputs else None


def is_unread(graph: Any, tensor: int) -> bool:
    """Returns whether neither an op nor the caller of the graph reads a tensor."""
    return not readers_of(graph, tensor) and tensor not in graph.outputs


def without(values: Sequence[int], place: int) -> list[int]:
    """Returns the values but the one at a position."""
    return [value for index, value in enumerate(values) if index != place]


def replaced(values: Sequence[int], old: int, new: int) -> list[int]:
    """Returns the values with a new one for an old one."""
    return [new if value == old else value for value in values]
