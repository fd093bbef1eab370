"""Files of a run and its texts → the least time that each can take, from its work and the peaks.

    python benchmarks/roofline.py RUN CEILINGS.json OUTPUT.json MODEL…

Run by peers.py. The bound is that of the roofline model (S. Williams, A. Waterman, D. Patterson,
"Roofline: an insightful visual performance model for multicore architectures", Communications of
the ACM 52(4), 2009): a piece of work takes at least

    max(multiply-adds / peak multiply-adds per second, bytes moved / peak bytes per second)

with the peaks that ceilings.py measured on this machine through the TFLite runtime, for float32 or
int8 weights. One thread runs the ops of a file one after the other, so the bound of a file is the
sum of that maximum over every run of every op that multiplies matrices; all other ops count as
nothing. Bytes moved are what such an op reads and writes: weights, bias, values in and values out,
at the size of their tensors (float16 weights are float32 by then), each time it runs. The
recurrence of an LSTM is one product of a matrix and a vector after the other, each of which waits
for the one before and reads all its weights anew for one multiply-add each: its bound is the
second, bytes over bytes per second. The peak there is of a chain of such products whose weights lie
in the caches, so it is the caches' bandwidth, not the memory's.

A fused LSTM counts as the products of its inputs, for all steps at once, and then step by step as
those of its state. The body of a loop counts as often as it ran, and of branches the one that was
taken: the loop's own counter and the branch's condition are read after a run of each text. ONNX
files have the same peaks, which are those of the machine.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from device_runner.files import write_json_atomic
from tfpipe.check.context import BRANCHES, LOOPS, called_graphs, tensors_of
from tfpipe.check.macs import COUNTED, LSTM_WEIGHTS
from tfpipe.check.model import Graph, Model, Operator
from tfpipe.check.parse import read_model
from tfpipe.run_folder import RunFolder


@dataclass(frozen=True)
class Work:
    """What one op does in one run.

    Attributes:
        dtype: "float32" or "int8", of the weights.
        multiply_adds: Their number.
        moved_bytes: Read and written.
        runs: How often, one after the other.
    """

    dtype: str
    multiply_adds: int
    moved_bytes: int
    runs: int = 1


@dataclass(frozen=True)
class Loop:
    """A WHILE of a graph.

    Attributes:
        watched: Tensors that hold, before and after the op, how far it counted.
        step: What it adds each time.
        body: Work of one time.
    """

    watched: tuple[int, int]
    step: int
    body: tuple[Work, ...]

    def done(self, before: int, after: int) -> tuple[tuple[Work, ...], int]:
        """Returns its work and how often that was done, by what was watched."""
        return self.body, (after - before) // self.step


@dataclass(frozen=True)
class Branch:
    """An IF of a graph.

    Attributes:
        watched: The tensor that decides.
        works: Work where it is false, and where it is true.
    """

    watched: tuple[int]
    works: tuple[tuple[Work, ...], tuple[Work, ...]]

    def done(self, decided: int) -> tuple[tuple[Work, ...], int]:
        """Returns the work of the branch that was taken, once."""
        return self.works[decided], 1


def works_of(graph: Graph) -> Iterator[Work]:
    """Yields the work of each op that multiplies matrices, once each."""
    for operator in graph.operators:
        if operator.name in LSTM_WEIGHTS:
            yield from lstm_works(graph, operator)
        elif operator.name in COUNTED:
            tensors = tensors_of(graph, (*operator.inputs, *operator.outputs))
            moved = sum(tensor.size_bytes or 0 for tensor in tensors)
            yield Work(dtype_of(graph, operator, 1), COUNTED[operator.name](graph, operator), moved)


def dtype_of(graph: Graph, operator: Operator, place: int) -> str:
    """Returns whose peaks an op has: those of the type of its weights."""
    weights = graph.tensor(operator.inputs[place])
    return "int8" if weights is not None and weights.dtype == "int8" else "float32"


def lstm_works(graph: Graph, operator: Operator) -> Iterator[Work]:
    """Yields of a fused LSTM the products of its inputs, then those of its state, for each way."""
    values = tensors_of(graph, operator.inputs[:1])[0]
    steps = values.elements // values.shape[-1]
    for places in LSTM_WEIGHTS[operator.name]:
        dtype = dtype_of(graph, operator, places[1])
        for half in (places[:4], places[4:]):
            weights = tensors_of(graph, tuple(operator.inputs[place] for place in half))
            elements = sum(tensor.elements for tensor in weights)
            read = sum(tensor.size_bytes or 0 for tensor in weights)
            if half == places[:4]:
                yield Work(dtype, steps * elements, read + (values.size_bytes or 0))
            else:
                yield Work(dtype, elements, read, steps)


def calls_of(model: Model, graph: Graph) -> Iterator[Loop | Branch]:
    """Yields the loops and branches of a graph.

    Raises:
        ValueError: One within another, or a loop that counts nothing by a constant.
    """
    for operator in graph.operators:
        called = [model.graphs[index] for index in called_graphs(operator)]
        if any(called_graphs(inner) for each in called for inner in each.operators):
            raise ValueError(f"{operator.name} runs a graph with a loop or branch, expected none.")
        if operator.name in BRANCHES:
            taken, other = (tuple(works_of(each)) for each in called)
            yield Branch((operator.inputs[0],), (other, taken))
        elif operator.name in LOOPS:
            body = called[1]
            steps = [added_to(body, place) for place in range(len(operator.outputs))]
            place = next((place for place, step in enumerate(steps) if step), None)
            if place is None:
                raise ValueError(f"subgraph {body.index} counts nothing by a constant.")
            watched = (operator.inputs[place], operator.outputs[place])
            yield Loop(watched, steps[place] or 0, tuple(works_of(body)))


def constant(graph: Graph, index: int) -> int | None:
    """Returns the value of a constant int32 scalar, else None."""
    tensor = graph.tensor(index)
    if tensor is None or tensor.data is None or tensor.dtype != "int32" or tensor.elements != 1:
        return None
    return int(np.frombuffer(tensor.data, "<i4")[0])


def added_to(body: Graph, place: int) -> int | None:
    """Returns the constant that a loop's body adds to its value at a place, else None."""
    for operator in body.operators:
        if operator.name == "ADD" and operator.outputs[0] == body.outputs[place]:
            others = [index for index in operator.inputs if index != body.inputs[place]]
            return constant(body, others[0]) if len(others) == 1 else None
    return None


def run_calls(
    data: bytes, calls: list[Loop | Branch], inputs: list[np.ndarray]
) -> list[list[tuple[tuple[Work, ...], int]]]:
    """Returns for each int32 (1, T) input what the loops and branches of the first graph did."""
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    graph = model.subgraphs[0]
    graph.outputs = [*graph.outputs, *{index for call in calls for index in call.watched}]
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    interpreter = Interpreter(model_content=bytes(builder.Output()), num_threads=1)
    interpreter.allocate_tensors()
    index = interpreter.get_input_details()[0]["index"]
    done = []
    for token_ids in inputs:
        interpreter.set_tensor(index, token_ids)
        interpreter.invoke()
        done.append(
            [call.done(*(int(interpreter.get_tensor(at).item()) for at in call.watched))
             for call in calls]
        )  # fmt: skip
    return done


def bound_ns(work: Work, peaks: dict[str, dict[str, float]]) -> tuple[float, bool]:
    """Returns the least time of a work, and whether moving its bytes is what takes it."""
    peak = peaks[work.dtype]
    computing = work.multiply_adds / peak["multiply_adds_per_ns"]
    moving = work.moved_bytes / peak["bytes_per_ns"]
    return work.runs * max(computing, moving), moving > computing


def total(works: list[tuple[Work, int]], peaks: dict[str, dict[str, float]]) -> dict[str, float]:
    """Returns the sums over works and how often each is done."""
    bounds = [(*bound_ns(work, peaks), times) for work, times in works]
    bound = sum(times * time_ns for time_ns, _, times in bounds)
    moving = sum(times * time_ns for time_ns, is_moving, times in bounds if is_moving)
    return {
        "multiply_adds": sum(work.multiply_adds * work.runs * times for work, times in works),
        "moved_bytes": sum(work.moved_bytes * work.runs * times for work, times in works),
        "bound_ns": bound,
        "moving_share": moving / bound if bound else 0.0,
    }


def bounds_of_texts(
    data: bytes, inputs: list[np.ndarray], peaks: dict[str, dict[str, float]]
) -> dict[str, float]:
    """Returns `total` of the text whose bound is the median, as a latency's p50 is of one call.

    Raises:
        ValueError: The file's loops and branches cannot be counted.
    """
    if data[4:8] != b"TFL3":
        from onnx_work import works_of_onnx

        return total([(work, 1) for work in works_of_onnx(data)], peaks)
    model = read_model(data)
    totals = []
    graphs = [graph_of(model, token_ids) for token_ids in inputs]
    first = model.graphs[0]
    calls = list(calls_of(model, first))
    done = run_calls(data, calls, inputs) if calls else [[] for _ in inputs]
    works = {graph.index: [(work, 1) for work in works_of(graph)] for graph in set_of(graphs)}
    for graph, called in zip(graphs, done, strict=True):
        own = [(work, times) for many, times in called for work in many]
        totals.append(total([*works[graph.index], *own], peaks))
    totals.sort(key=lambda entry: entry["bound_ns"])
    return totals[(len(totals) - 1) // 2]


def graph_of(model: Model, token_ids: np.ndarray) -> Graph:
    """Returns the graph that a text runs in: of a file with buckets the shortest that holds it.

    Raises:
        ValueError: A file with buckets has loops or branches.
    """
    first = model.graphs[0]
    if len(model.signatures) < 2:
        return first
    if any(called_graphs(operator) for graph in model.graphs for operator in graph.operators):
        raise ValueError("the file has buckets and loops or branches, expected one of both.")
    num_tokens = int(np.count_nonzero(token_ids))
    lengths = {
        model.graphs[index].tensor(model.graphs[index].inputs[0]).shape[-1]: index
        for index in model.signatures.values()
    }
    return model.graphs[lengths[min(size for size in lengths if size >= num_tokens)]]


def set_of(graphs: list[Graph]) -> list[Graph]:
    """Returns each graph once."""
    return list({graph.index: graph for graph in graphs}.values())


def main() -> None:
    """Writes {file: {"real" | "full": totals} or {"error"}}."""
    from peer_latency import fill, read_inputs

    folder, output, paths = RunFolder(Path(sys.argv[1])), Path(sys.argv[3]), sys.argv[4:]
    peaks = json.loads(Path(sys.argv[2]).read_text("utf-8"))["peaks"]
    _, token_ids = read_inputs(folder)
    texts = {"real": token_ids, "full": fill(token_ids)}
    found: dict[str, Any] = {}
    for path in paths:
        data = Path(path).read_bytes()
        try:
            found[path] = {
                name: bounds_of_texts(data, [ids[None] for ids in rows], peaks)
                for name, rows in texts.items()
            }
        except ValueError as error:
            found[path] = {"error": str(error)}
    write_json_atomic(output, found)


if __name__ == "__main__":
    main()
