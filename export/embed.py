"""A .tflite file and named metadata → the file with both; every old byte is kept as it is.

Offsets of a flatbuffer are relative and point forwards, so a new root that is put before the file
reaches all of it: nothing is repacked.
Slots are those of TensorFlow's schema.fbs:
https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/mlir/lite/schema/schema.fbs
"""

from __future__ import annotations

import struct

# force_align of Buffer.data: what is put before a file has a multiple of it.
ALIGNMENT = 16
# Table Model: operator_codes 1, subgraphs 2, description 3, buffers 4, metadata_buffer 5,
# metadata 6, signature_defs 7; version 0 is a number, the others are offsets.
NUM_MODEL_SLOTS = 8
BUFFERS, METADATA = 4, 6
_HEADER = 8  # offset of the root and the file's identifier
_IDENTIFIER = b"TFL3"


def add_metadata(model: bytes, name: str, content: bytes) -> bytes:
    """Adds an entry to the list of a file's metadata.

    Args:
        model: A .tflite file, as the converter writes it.
        name: The entry's name, ASCII.
        content: What it holds.

    Raises:
        ValueError: The file's root has fields that the schema of TensorFlow 2.21 does not have.
    """
    root = _Root(model)
    buffers, metadata = root.entries(BUFFERS), root.entries(METADATA)
    vtable = _HEADER
    table = vtable + 4 + 2 * NUM_MODEL_SLOTS
    new_buffers = table + 4 + 4 * NUM_MODEL_SLOTS
    new_metadata = new_buffers + 4 + 4 * (len(buffers) + 1)
    # The entry's table behind its list of fields: name 0, buffer 1.
    entry = new_metadata + 4 + 4 * (len(metadata) + 1) + 8
    text = entry + 12
    # The buffer's table behind its list of fields: data 0.
    buffer = _align(text + 4 + len(name) + 1, 4) + 8
    data = _align(buffer + 8 + 4, ALIGNMENT) - 4
    size = _align(data + 4 + len(content), ALIGNMENT)

    out = bytearray(size)
    struct.pack_into("<I4s", out, 0, table, _IDENTIFIER)
    struct.pack_into("<HH", out, vtable, table - vtable, new_buffers - table)
    struct.pack_into("<iI", out, table, table - vtable, root.version)
    moved = {slot: size + place for slot, place in root.targets.items()}
    for slot, target in {**moved, BUFFERS: new_buffers, METADATA: new_metadata}.items():
        place = table + 4 + 4 * slot
        struct.pack_into("<H", out, vtable + 4 + 2 * slot, place - table)
        struct.pack_into("<I", out, place, target - place)
    struct.pack_into("<H", out, vtable + 4, 4)
    _write_vector(out, new_buffers, [*(size + place for place in buffers), buffer])
    _write_vector(out, new_metadata, [*(size + place for place in metadata), entry])
    struct.pack_into("<HHHH", out, entry - 8, 8, 12, 4, 8)
    struct.pack_into("<iII", out, entry, 8, text - (entry + 4), len(buffers))
    struct.pack_into(f"<I{len(name)}s", out, text, len(name), name.encode("ascii"))
    struct.pack_into("<HHH", out, buffer - 8, 6, 8, 4)
    struct.pack_into("<iI", out, buffer, 8, data - (buffer + 4))
    struct.pack_into(f"<I{len(content)}s", out, data, len(content), content)
    return bytes(out) + model


class _Root:
    """The root table of a file.

    Args:
        model: The file.

    Attributes:
        version: Of the schema.
        targets: Slot → absolute position of what it points at.
    """

    def __init__(self, model: bytes) -> None:
        self._model = model
        table = self._number("<I", 0)
        vtable = table - self._number("<i", table)
        num_slots = self._number("<H", vtable) // 2 - 2
        fields = struct.unpack_from(f"<{num_slots}H", model, vtable + 4)
        if any(fields[NUM_MODEL_SLOTS:]):
            raise ValueError(
                f"The file's root has {num_slots} fields, of which {NUM_MODEL_SLOTS} are known. "
                "Convert it with TensorFlow 2.21."
            )
        self.version = self._number("<I", table + fields[0]) if fields[0] else 0
        self.targets = {
            slot: table + offset + self._number("<I", table + offset)
            for slot, offset in enumerate(fields)
            if slot and offset
        }

    def _number(self, code: str, position: int) -> int:
        return int(struct.unpack_from(code, self._model, position)[0])

    def entries(self, slot: int) -> list[int]:
        """Returns the absolute positions of the tables of a vector, none if it is absent."""
        if slot not in self.targets:
            return []
        start = self.targets[slot] + 4
        places = range(start, start + 4 * self._number("<I", start - 4), 4)
        return [place + self._number("<I", place) for place in places]


def _write_vector(out: bytearray, position: int, targets: list[int]) -> None:
    struct.pack_into("<I", out, position, len(targets))
    for index, target in enumerate(targets, start=1):
        place = position + 4 * index
        struct.pack_into("<I", out, place, target - place)


def _align(position: int, alignment: int) -> int:
    return -(-position // alignment) * alignment
