"""A runtime's interpreter → how many nodes of its graph a delegate really runs."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Set, Tuple

# The name of a node that a delegate put behind those of the file.
_PIECE = "DELEGATE"
# The op that a compiled file holds for what the Edge TPU computes (libedgetpu, edgetpu.h).
EDGETPU_OP = "edgetpu-custom-op"


def count_nodes(interpreter: Any) -> Optional[Dict[str, Any]]:
    """Returns what the delegates of a loaded file took of its first graph.

    A delegate's node stands behind those of the file and has the values that enter and leave its
    piece: what is computed in between is what it took. The bodies of loops and further graphs are
    not counted.

    Args:
        interpreter: Of a TFLite runtime, with its tensors allocated.

    Returns:
        `delegate` ("xnnpack", "edgetpu" for a compiled file, "none" where nothing was taken),
        `total` nodes of the file, how many of them are `delegated`, in how many `partitions`. None
        where the runtime does not say.
    """
    nodes, pieces = _split_details(interpreter)
    if not nodes:
        return None
    taken = {item["index"] for item in nodes if item["op_name"] == EDGETPU_OP}
    delegate, partitions = "edgetpu", len(taken)
    if not taken:
        delegate, partitions = "xnnpack", len(pieces)
        taken = _nodes_within(nodes, pieces)
    return {
        "delegate": delegate if taken else "none",
        "total": len(nodes),
        "delegated": len(taken),
        "partitions": partitions,
    }


def list_nodes(interpreter: Any) -> Tuple[List[Dict[str, Any]], Set[int]]:
    """Returns the nodes of the file's first graph in order, each with `op_name` and `index`, and
    the indices of those that XNNPACK took; no nodes where the runtime does not say."""
    nodes, pieces = _split_details(interpreter)
    return nodes, _nodes_within(nodes, pieces)


def _split_details(interpreter: Any) -> Tuple[List[Dict[str, Any]], List[Dict[str, Any]]]:
    """Returns the file's own nodes, and those that delegates put behind them."""
    details: List[Dict[str, Any]] = getattr(interpreter, "_get_ops_details", list)()
    return (
        [item for item in details if item["op_name"] != _PIECE],
        [item for item in details if item["op_name"] == _PIECE],
    )


def _nodes_within(nodes: List[Dict[str, Any]], pieces: List[Dict[str, Any]]) -> Set[int]:
    """Returns the indices of the nodes between the inputs and the outputs of the pieces."""
    makers = {int(value): node for node in nodes for value in node["outputs"]}
    taken: Set[int] = set()
    for piece in pieces:
        entering, values = set(map(int, piece["inputs"])), list(map(int, piece["outputs"]))
        while values:
            value = values.pop()
            node = makers.get(value)
            if value not in entering and node is not None and node["index"] not in taken:
                taken.add(node["index"])
                values += map(int, node["inputs"])
    return taken
