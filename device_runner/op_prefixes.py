"""A model → how long each of its ops takes, by timing the graph cut off behind one after another.

For runtimes that time no op, and files that LiteRT's profiler does not take.
"""

from __future__ import annotations

import os
import struct
import time
from statistics import mean as mean_of
from typing import Any, Dict, List, Sequence, Tuple

from device_runner.delegation import list_nodes
from device_runner.interpreter import Model
from device_runner.op_times import rank_ops
from device_runner.turn import Contestant, Turn

# Each prefix is timed so many times, between the others: what changes meanwhile meets all alike.
PASSES = 10
WARMUP_RUNS = 10
# Places of fields in their tables (tensorflow/lite/schema/schema.fbs).
_MODEL_SUBGRAPHS, _GRAPH_INPUTS, _GRAPH_OUTPUTS, _GRAPH_OPERATORS, _OP_OUTPUTS = 2, 1, 2, 3, 2


def profile_prefixes(
    model: Model, path: str, inputs: Sequence[Any], num_runs: int
) -> Dict[str, Any]:
    """Returns what `op_profile.profile_ops` does of the ops, without the runtime's help.

    Of a prefix's calls the faster half is averaged; the difference of two such means is the op
    between them. Where a longer prefix was the faster one, the two are taken to last equally long
    (`rising`). A delegate that takes an op with its neighbours may do less for all of them together
    than for the pieces that are timed here: the sum is still that of the call. A runtime may die of
    a cut graph, as tflite-runtime 2.11.0 does of some: call this in a process that may.

    Args:
        model: The file as it is loaded.
        path: The .tflite file; its first graph is the one that is cut.
        inputs: At least one of int32 (1, T); each call takes the next.
        num_runs: Timed calls of every prefix, at least 1.

    Raises:
        ValueError: The runtime does not name the ops, or refuses a prefix.
    """
    with open(os.fspath(path), "rb") as file:
        content = file.read()
    nodes, taken = list_nodes(model.interpreter)
    if not nodes:
        raise ValueError(
            f"{model.runtime} {model.runtime_version} does not name the ops of a file. Use "
            "ai-edge-litert 2.3.0 for per-op times."
        )
    samples: List[List[int]] = [[] for _ in range(len(nodes) + 1)]
    for _ in range(PASSES):
        for count, kept in enumerate(samples):
            kept += _time(model, cut_behind(content, count), inputs, -(-num_runs // PASSES))
    means_ns = [mean_of(sorted(kept)[: (len(kept) + 1) // 2]) for kept in samples]
    lasting_ns = rising(means_ns)
    groups: Dict[Tuple[str, str], List[float]] = {}
    for node, before_ns, after_ns in zip(nodes, lasting_ns, lasting_ns[1:]):
        where = "delegate" if node["index"] in taken else "interpreter"
        groups.setdefault((str(node["op_name"]), where), []).append((after_ns - before_ns) / 1000)
    return {
        "method": "prefixes",
        "averaged_runs": (len(samples[0]) + 1) // 2,
        "profiled_call_ns": means_ns[-1],
        "attributed_ns": lasting_ns[-1] - lasting_ns[0],
        "short_ops": 0,
        "ops": rank_ops(groups),
    }


def rising(values: Sequence[float]) -> List[float]:
    """Returns the nearest numbers, by least squares, of which none is below the one before it.

    Neighbours that fall are replaced by their mean ("pool adjacent violators"; M. Ayer et al.,
    Annals of Mathematical Statistics 26 (1955), 641–647).

    >>> rising([1, 4, 2, 5])
    [1.0, 3.0, 3.0, 5.0]
    """
    pools: List[Tuple[float, int]] = []
    for value in values:
        mean, count = float(value), 1
        while pools and pools[-1][0] > mean:
            other, size = pools.pop()
            mean = (mean * count + other * size) / (count + size)
            count += size
        pools.append((mean, count))
    return [mean for mean, count in pools for _ in range(count)]


def cut_behind(content: bytes, count: int) -> bytes:
    """Returns a .tflite file whose first graph ends behind so many ops.

    What the last op writes first is the one output; without any op it is the input. All constants
    stay where they are; the list of outputs, which parts of a packed file may share, is a new one
    at the end.

    Args:
        content: The file; its first graph has one output.
        count: From 0 to the number of its ops.
    """
    data = bytearray(content)
    graph = _follow(data, _vector(data, _follow(data, 0), _MODEL_SUBGRAPHS) + 4)
    operators, last = (_vector(data, graph, at) for at in (_GRAPH_OPERATORS, _GRAPH_INPUTS))
    if count:
        last = _vector(data, _follow(data, operators + 4 * count), _OP_OUTPUTS)
    struct.pack_into("<I", data, operators, count)
    data += bytes(-len(data) % 4)
    outputs = _field(data, graph, _GRAPH_OUTPUTS)
    struct.pack_into("<I", data, outputs, len(data) - outputs)
    return bytes(data + struct.pack("<I", 1) + data[last + 4 : last + 8])


def _follow(data: bytearray, at: int) -> int:
    """Returns where the offset at this place leads."""
    return at + int(struct.unpack_from("<I", data, at)[0])


def _vector(data: bytearray, table: int, field: int) -> int:
    """Returns where a table's vector begins, with its length."""
    return _follow(data, _field(data, table, field))


def _field(data: bytearray, table: int, field: int) -> int:
    """Returns where a field of a table stands."""
    (back,) = struct.unpack_from("<i", data, table)
    (place,) = struct.unpack_from("<H", data, table - back + 4 + 2 * field)
    return table + int(place)


class _Prefix:
    """A cut file, ready to be called as `turn.Turn` calls a model."""

    def __init__(self, model: Model, content: bytes) -> None:
        make = type(model.interpreter)
        self._interpreter = make(model_content=content, num_threads=model.num_threads)
        self._interpreter.allocate_tensors()
        self._input_index = model.input_index
        self.invoke = self._interpreter.invoke

    def set_input(self, token_ids: Any) -> None:
        self._interpreter.reset_all_variables()
        self._interpreter.set_tensor(self._input_index, token_ids)


def _time(model: Model, content: bytes, inputs: Sequence[Any], num_runs: int) -> List[int]:
    try:
        prefix = _Prefix(model, content)
        turn = Turn(Contestant("prefix", prefix, inputs), time.perf_counter_ns)
        latencies = [turn.run_once() for _ in range(WARMUP_RUNS + num_runs)]
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"{model.runtime} {model.runtime_version} refused a part of the graph: {error}. Run "
            "without per-op times."
        ) from error
    return latencies[WARMUP_RUNS:]
