"""Damaged and hostile files: always a record or one clear error, soon, and never anything else."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfpipe.check import check, format_check
from tfpipe.check.targets import CHECK_TARGETS

# Ten times what an idle machine needs.
TIME_LIMIT_SECONDS = 10
FUZZ = settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
EXTREMES = [0, 1, 3, 4, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def survive(folder: Path, data: bytes, target: str = "cpu") -> bool:
    """Whether the file was read; anything but a record or the one error fails the test."""
    path = folder / "fuzzed.tflite"
    path.write_bytes(data)
    start = time.monotonic()
    try:
        text = format_check(check(path, target=target))
    except ValueError as error:
        text = str(error)
        assert "Copy or export it again." in text or "is not a TFLite model" in text
        return False
    finally:
        assert time.monotonic() - start < TIME_LIMIT_SECONDS
    assert "\x1b" not in text
    return True


def test_every_power_of_two_of_a_cut_file_is_survived(tiny_model: Any, folder: Path) -> None:
    data = tiny_model.path.read_bytes()
    cuts = {1 << power for power in range(len(data).bit_length())}
    cuts |= {cut + by for cut in cuts for by in (-1, 1)} | {len(data) - cut for cut in cuts}
    read = [survive(folder, data[:cut]) for cut in sorted(cuts) if 0 <= cut < len(data)]
    assert read.count(False) > 20
    assert survive(folder, data)


@FUZZ
@given(st.binary(max_size=400), st.sampled_from(sorted(CHECK_TARGETS)))
def test_random_bytes_behind_the_identifier_are_survived(
    folder: Path, data: bytes, target: str
) -> None:
    survive(folder, b"\x10\0\0\0TFL3" + data, target)


@FUZZ
@given(
    st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=40),
    st.sampled_from(sorted(CHECK_TARGETS)),
)
def test_changed_bytes_are_survived(
    tiny_model: Any, folder: Path, changes: list[tuple[int, int]], target: str
) -> None:
    data = bytearray(tiny_model.path.read_bytes())
    for place, value in changes:
        data[8 + place % (len(data) - 8)] = value
    survive(folder, bytes(data), target)


@FUZZ
@given(st.lists(st.tuples(st.integers(2, 1 << 18), st.sampled_from(EXTREMES)), max_size=3))
def test_extreme_offsets_and_lengths_are_survived(
    tiny_model: Any, folder: Path, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(tiny_model.path.read_bytes())
    for place, value in changes:
        at = 4 * (place % (len(data) // 4 - 2) + 2)
        data[at : at + 4] = value.to_bytes(4, "little")
    survive(folder, bytes(data))


def test_every_word_of_a_file_set_to_an_extreme_is_survived(tiny_model: Any, folder: Path) -> None:
    original = tiny_model.path.read_bytes()
    rng = random.Random(1)
    for at in rng.sample(range(8, len(original) - 4, 4), 120):
        data = bytearray(original)
        data[at : at + 4] = rng.choice(EXTREMES).to_bytes(4, "little")
        survive(folder, bytes(data))


def build(fill: Callable[[flatbuffers.Builder], int]) -> bytes:
    """A file around one vector of subgraphs."""
    builder = flatbuffers.Builder(1 << 16)
    graphs = fill(builder)
    schema.ModelStart(builder)
    schema.ModelAddVersion(builder, 3)
    schema.ModelAddSubgraphs(builder, graphs)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    return bytes(builder.Output())


def many(builder: flatbuffers.Builder, table: int, count: int) -> int:
    """A vector whose entries are all the same table."""
    builder.StartVector(4, count, 4)
    for _ in range(count):
        builder.PrependUOffsetTRelative(table)
    return int(builder.EndVector())


def test_one_tensor_shared_by_many_graphs_is_refused_soon(folder: Path) -> None:
    def fill(builder: flatbuffers.Builder) -> int:
        schema.TensorStart(builder)
        tensors = many(builder, schema.TensorEnd(builder), 3_000)
        schema.SubGraphStart(builder)
        schema.SubGraphAddTensors(builder, tensors)
        return many(builder, schema.SubGraphEnd(builder), 3_000)

    path = folder / "shared.tflite"
    path.write_bytes(build(fill))
    with pytest.raises(ValueError, match="3000 Tensors are more than the file has room for"):
        check(path)


def test_more_tables_than_any_model_has_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tfpipe.check.flatbuffer.MAX_TABLES", 1000)

    def fill(builder: flatbuffers.Builder) -> int:
        schema.SubGraphStart(builder)
        return many(builder, schema.SubGraphEnd(builder), 1_001)

    path = folder / "tables.tflite"
    path.write_bytes(build(fill))
    with pytest.raises(ValueError, match="it has more than 1000 tables"):
        check(path)


def test_table_that_contains_itself_is_survived(folder: Path) -> None:
    """Every word in turn points back at the model itself."""

    def fill(builder: flatbuffers.Builder) -> int:
        schema.SubGraphStart(builder)
        return many(builder, schema.SubGraphEnd(builder), 2)

    data = build(fill)
    root = int.from_bytes(data[:4], "little")
    for at in range(8, len(data) - 3, 4):
        changed = bytearray(data)
        changed[at : at + 4] = ((root - at) & 0xFFFFFFFF).to_bytes(4, "little")
        survive(folder, bytes(changed))


def test_tensor_of_many_dimensions_is_refused_soon(folder: Path) -> None:
    """The product of so many sizes would be a number of a million digits."""

    def fill(builder: flatbuffers.Builder) -> int:
        builder.StartVector(4, 100_000, 4)
        for _ in range(100_000):
            builder.PrependInt32(2_000_000_000)
        shape = builder.EndVector()
        schema.TensorStart(builder)
        schema.TensorAddShape(builder, shape)
        tensors = many(builder, schema.TensorEnd(builder), 1)
        schema.SubGraphStart(builder)
        schema.SubGraphAddTensors(builder, tensors)
        return many(builder, schema.SubGraphEnd(builder), 1)

    path = folder / "rank.tflite"
    path.write_bytes(build(fill))
    with pytest.raises(ValueError, match="tensor 0 has 100000 dimensions"):
        check(path)
