"""Places in the converter's graph and the file it made → the tensor that holds each value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from tfpipe.check.model import QUANTIZED_TYPES, Graph, Tensor
from tfpipe.models.recording import Place

# Ops that carry a value into int8 or out of it; their outputs are named after the value itself.
CARRIERS = ("QUANTIZE", "DEQUANTIZE")

# Why a value is in no tensor that can be read.
IN_LOOP = "inside a loop or branch, of which a runtime shows what enters and leaves it"
FOLDED = "the converter left no tensor of its own for it"


class NamedGraph:
    """A graph as the converter writes it, whose tensors are named after the ops they came from.

    A fused op is named after all that it computes, in no order; its value is that of the op among
    them that was traced last.

    Args:
        graph: Subgraph 0, before the names are taken out.
        traced: The ops' names in the order in which they were traced.
    """

    def __init__(self, graph: Graph, traced: Sequence[str]) -> None:
        self.graph = graph
        self.makers = {
            index: operator for operator in graph.operators for index in operator.outputs
        }
        order = {name: number for number, name in enumerate(traced)}
        self._named: dict[str, list[Tensor]] = {}
        for index in self.makers:
            tensor = graph.tensors[index]
            last = max(tensor.name.split(";"), key=lambda part: order.get(part, -1))
            self._named.setdefault(last, []).append(tensor)

    def find(self, place: Place) -> int | None:
        """Returns the index of the tensor that holds a value; None if the converter left none."""
        is_rounded = place.rounded is not None or place.kind == "table"
        searches = (self._quantized if is_rounded else self._float)(place)
        return next((index for index in searches if index is not None), None)

    def find_all(self, places: Sequence[Place]) -> tuple[dict[str, list[int]], dict[str, str]]:
        """Returns {name: the tensors that hold it, a step of a recurrence each}, and {name: why
        there are none}."""
        tensors: dict[str, list[int]] = {}
        missing: dict[str, str] = {}
        by_rounding: dict[str, int] = {}
        for place in places:
            index = None if place.in_loop else self.find(place)
            if index is None and not place.in_loop:
                # Rounded twice in a row, and the converter left the second one out.
                index = by_rounding.get(place.producer or "")
            if index is None:
                missing[place.name] = IN_LOOP if place.in_loop else FOLDED
                continue
            tensors.setdefault(place.name, []).append(index)
            if place.rounded:
                by_rounding[place.rounded] = index
        for name in [name for name, reason in missing.items() if reason == FOLDED]:
            tensors.pop(name, None)
        return tensors, {name: why for name, why in missing.items() if name not in tensors}

    def _quantized(self, place: Place) -> Iterator[int | None]:
        yield self._first(place.producer, place, self._is_made_in_int8)
        yield self._first(place.rounded, place, lambda tensor: tensor.dtype in QUANTIZED_TYPES)
        left = self._first(place.rounded, place, lambda t: self._maker(t) == "DEQUANTIZE")
        if left is not None:
            yield self.makers[left].inputs[0]
        value = self._first(place.producer, place, lambda tensor: tensor.dtype == "float32")
        for index, operator in self.makers.items():
            if operator.code.name == "QUANTIZE" and operator.inputs[0] == value:
                yield index

    def _float(self, place: Place) -> Iterator[int | None]:
        yield self._first(place.producer, place, lambda tensor: tensor.dtype == "float32")
        yield self._first(place.producer, place, self._is_made_in_int8)

    def _is_made_in_int8(self, tensor: Tensor) -> bool:
        return tensor.dtype in QUANTIZED_TYPES and self._maker(tensor) not in CARRIERS

    def _maker(self, tensor: Tensor) -> str:
        return self.makers[tensor.index].code.name

    def _first(
        self, name: str | None, place: Place, accepts: Callable[[Tensor], bool]
    ) -> int | None:
        for tensor in self._named.get(name or "", ()):
            if without_ones(tensor.shape) == without_ones(place.shape) and accepts(tensor):
                return tensor.index
        return None


def without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the sizes but those of 1, which the converter adds and drops."""
    return tuple(size for size in shape if size != 1)
