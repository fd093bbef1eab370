"""A .tflite model → its file, which computes the same in fewer bytes."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfpipe.export.lookups import look_up_integers
from tfpipe.export.loops import shorten_loops

# The schema's force_align of a buffer's data, which the Python writer does not know of.
CONSTANT_ALIGNMENT = 16


def pack_model(model: Any) -> bytes:
    """Returns the file of a model so that nothing stands in it twice, or for nothing.

    An unrolled recurrence has a dozen tensors and ops for each step, and the converter gives each
    of them an empty buffer, a name, a shape and quantization parameters of its own.

    Args:
        model: A `schema.ModelT`, which is changed on the way.

    Returns:
        A file with the same graphs, signatures, metadata and constants. Tensors between ops have no
        name any more; inputs, outputs and constants keep theirs.
    """
    look_up_integers(model)
    shorten_loops(model)
    for graph in model.subgraphs:
        empty_unused(graph)
    share_constants(model)
    for graph in model.subgraphs:
        strip_tensors(graph)
    builder = SharingBuilder(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def share_constants(model: Any) -> None:
    """Leaves one buffer for each content; buffer 0 is the empty one, as the schema asks."""
    empty = schema.BufferT()
    buffers, places = [empty], {b"": 0}
    for holder in [*(tensor for graph in model.subgraphs for tensor in graph.tensors),
                   *(model.metadata or ())]:  # fmt: skip
        buffer = model.buffers[holder.buffer]
        content = content_of(buffer)
        if content not in places:
            places[content] = len(buffers)
            buffers.append(buffer)
        holder.buffer = places[content]
    model.buffers = buffers


def empty_unused(graph: Any) -> None:
    """Takes the contents of tensors that nothing reads or makes; they stay, so that all others keep
    their numbers."""
    holders = [graph, *graph.operators]
    used = {
        int(index)
        for holder in holders
        for ends in (holder.inputs, holder.outputs)
        for index in (() if ends is None else ends)
    }
    for index, tensor in enumerate(graph.tensors):
        if index not in used:
            tensor.buffer = 0


def strip_tensors(graph: Any) -> None:
    """Takes the names of values between ops, and quantization parameters that say nothing."""
    boundary = {*np.ravel(graph.inputs).tolist(), *np.ravel(graph.outputs).tolist()}
    for index, tensor in enumerate(graph.tensors):
        if index not in boundary and not tensor.buffer:
            tensor.name = None
        found = tensor.quantization
        if found is None:
            continue
        # The range that the scale was made of; no kernel reads it.
        found.min = found.max = None
        if found.details is None and not any(map(is_given, (found.scale, found.zeroPoint))):
            tensor.quantization = None


def is_given(values: Any) -> bool:
    """Returns whether a vector is there and has an entry."""
    return values is not None and len(values) > 0


def content_of(buffer: Any) -> bytes:
    """Returns the bytes of a `schema.BufferT`, none for one that the runtime fills."""
    return b"" if buffer.data is None else np.asarray(buffer.data, np.uint8).tobytes()


class SharingBuilder(flatbuffers.Builder):  # type: ignore[misc]
    """Writes each string, vector of numbers and table once, however often it is asked for.

    A flatbuffer may point at one thing from several places
    (https://flatbuffers.dev/internals/); readers see no difference. What is written last stands
    first in the buffer, so an equal one can be taken back at once.
    """

    def __init__(self, initial_size: int) -> None:
        super().__init__(initial_size)
        self._places: dict[Any, int] = {}
        self._start = 0
        # What the table or vector in work consists of; None once it holds what cannot be compared.
        self._parts: list[Any] | None = None

    def StartObject(self, numfields: int) -> None:  # noqa: N802
        self._start, self._parts = self.Offset(), []
        super().StartObject(numfields)

    def PrependSlot(self, flags: Any, o: int, x: Any, d: Any) -> None:  # noqa: N802
        self._add((o, flags.__name__, x))
        super().PrependSlot(flags, o, x, d)

    def PrependUOffsetTRelativeSlot(self, o: int, x: int, d: int) -> None:  # noqa: N802
        self._add((o, "offset", x))
        super().PrependUOffsetTRelativeSlot(o, x, d)

    def PrependStructSlot(self, v: int, x: int, d: int) -> None:  # noqa: N802
        self._parts = None
        super().PrependStructSlot(v, x, d)

    def EndObject(self) -> int:  # noqa: N802
        key = None if self._parts is None else ("table", *self._parts)
        if key in self._places:
            self.nested, self.current_vtable = False, None
            return self._take_back(key)
        place = int(super().EndObject())
        return self._remember(key, place)

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:  # noqa: N802, N803
        wide = CONSTANT_ALIGNMENT if elemSize == 1 else alignment
        self._start, self._parts = self.Offset(), [elemSize, numElems, wide]
        return int(super().StartVector(elemSize, numElems, wide))

    def PrependUOffsetTRelative(self, off: int) -> None:  # noqa: N802
        if self.current_vtable is None:  # an entry of a vector: its place decides its bytes
            self._parts = None
        super().PrependUOffsetTRelative(off)

    def EndVector(self, numElems: int | None = None) -> int:  # noqa: N802, N803
        place = int(super().EndVector())
        if self._parts is None:
            return place
        # With the padding behind it, which is zero: of two equal ones it may differ in length, and
        # then both stay.
        key = (*self._parts, bytes(self.Bytes[self.Head() : len(self.Bytes) - self._start]))
        if key in self._places:
            return self._take_back(key)
        return self._remember(key, place)

    def CreateString(self, s: Any, encoding: str = "utf-8", errors: str = "strict") -> int:  # noqa: N802
        self._start, self._parts = self.Offset(), ["string"]
        return int(super().CreateString(s, encoding, errors))

    def _add(self, part: tuple[Any, ...]) -> None:
        if self._parts is not None:
            self._parts.append(part)

    def _remember(self, key: Any, place: int) -> int:
        if key is not None:
            self._places[key] = place
        return place

    def _take_back(self, key: Any) -> int:
        """Undoes what was written since the start, for the equal one that is there already."""
        self.head = len(self.Bytes) - self._start
        return self._places[key]
