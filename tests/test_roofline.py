"""Tests of benchmarks/roofline.py and ceilings.py: work counted by hand, loops as often as they
ran, products that the runtime computes as NumPy does."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from conftest import load_benchmark

from tfpipe.check.parse import read_model
from tfpipe.export.lowering import inference_form
from tfpipe.export.merge import merge_files
from tfpipe.models import MODELS

LENGTH, UNITS, CLASSES = 12, 8, 3
PEAKS = {
    "float32": {"multiply_adds_per_ns": 10.0, "bytes_per_ns": 20.0},
    "int8": {"multiply_adds_per_ns": 100.0, "bytes_per_ns": 20.0},
}
# Every step: the input's and the state's matrix for four gates; in the end a dense layer.
MULTIPLY_ADDS = LENGTH * 2 * UNITS * 4 * UNITS + UNITS * CLASSES


@pytest.fixture(scope="module")
def roofline() -> ModuleType:
    return load_benchmark("roofline")


@pytest.fixture(scope="module")
def ceilings() -> ModuleType:
    return load_benchmark("ceilings")


def rows() -> list[np.ndarray]:
    """Row n has n real tokens, and then padding."""
    ids = np.tile(np.arange(1, LENGTH + 1, dtype=np.int32), (LENGTH + 1, 1))
    return list(np.where(np.arange(LENGTH) < np.arange(LENGTH + 1)[:, None], ids, 0)[:, None])


def loop_file() -> bytes:
    tf.keras.utils.set_random_seed(3)
    plain = {"embedding_dim": UNITS, "units": UNITS, "pooling": "last", "embedding_skip": False}
    model = MODELS["lstm"](40, LENGTH, CLASSES, **plain)
    function = inference_form(model, sequence_length=LENGTH, lowering="loop", multi_label=False)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
    return merge_files([bytes(converter.convert())], [])


def branch_file() -> bytes:
    tf.keras.utils.set_random_seed(3)
    model = MODELS["transformer"](40, LENGTH, CLASSES, embedding_dim=UNITS, num_heads=2)
    function = inference_form(
        model, sequence_length=LENGTH, lowering="branches", multi_label=False, branch_lengths=[4]
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
    return bytes(converter.convert())


def fused_file() -> bytes:
    inputs = tf_keras.Input(batch_shape=(1, LENGTH), dtype=tf.int32)
    values = tf_keras.layers.Embedding(40, UNITS)(inputs)
    values = tf_keras.layers.Dense(CLASSES)(tf_keras.layers.LSTM(UNITS)(values))
    converter = tf.lite.TFLiteConverter.from_keras_model(tf_keras.Model(inputs, values))
    return bytes(converter.convert())


def test_loop_counts_as_often_as_it_ran(roofline: ModuleType) -> None:
    data = loop_file()
    model = read_model(data)
    loops = list(roofline.calls_of(model, model.graphs[0]))
    runs = [count for ((_, count),) in roofline.run_calls(data, loops, rows())]
    # Blocks of four steps, as many as hold the text; see export/recurrence.py.
    assert runs == [-(-num_tokens // 4) for num_tokens in range(LENGTH + 1)]
    full = roofline.bounds_of_texts(data, rows()[-1:], PEAKS)
    assert full["multiply_adds"] == MULTIPLY_ADDS
    # Of the texts of 0 to 12 tokens the one of 6 is the median: two blocks of three.
    median = roofline.bounds_of_texts(data, rows(), PEAKS)
    assert median["multiply_adds"] == 2 / 3 * (MULTIPLY_ADDS - UNITS * CLASSES) + UNITS * CLASSES


def test_branch_counts_where_it_was_taken(roofline: ModuleType) -> None:
    data = branch_file()
    short, long = (
        roofline.bounds_of_texts(data, rows()[count : count + 1], PEAKS) for count in (4, 5)
    )
    # Projections and feed-forward layers (128 wide) of each token; scores and contexts of each
    # pair of them; the head's two pooled vectors.
    expected = [
        length * (4 * UNITS * UNITS + 2 * UNITS * 128) + 2 * length * length * UNITS
        for length in (4, LENGTH)
    ]
    assert long["multiply_adds"] - short["multiply_adds"] == expected[1] - expected[0]


def test_fused_lstm_reads_the_weights_of_its_state_in_every_step(roofline: ModuleType) -> None:
    data = fused_file()
    found = roofline.bounds_of_texts(data, rows()[-1:], PEAKS)
    assert found["multiply_adds"] == MULTIPLY_ADDS
    gates = 4 * UNITS * UNITS * 4
    values = LENGTH * UNITS * 4
    head = 4 * (UNITS + UNITS * CLASSES + CLASSES + CLASSES)
    assert found["moved_bytes"] == pytest.approx(LENGTH * gates + gates + values + head, abs=12)


def test_onnx_file_of_the_same_function_has_the_same_multiply_adds(roofline: ModuleType) -> None:
    tf2onnx = pytest.importorskip("tf2onnx")
    load_benchmark("onnx_work")  # which roofline imports when it meets such a file
    inputs = tf_keras.Input(batch_shape=(1, LENGTH), dtype=tf.int32)
    values = tf_keras.layers.Embedding(40, UNITS)(inputs)
    values = tf_keras.layers.Dense(CLASSES)(tf_keras.layers.LSTM(UNITS)(values))
    signature = [tf.TensorSpec((1, LENGTH), tf.int32)]
    model, _ = tf2onnx.convert.from_keras(tf_keras.Model(inputs, values), signature, opset=17)
    found = roofline.bounds_of_texts(model.SerializeToString(), rows()[-1:], PEAKS)
    assert found["multiply_adds"] == MULTIPLY_ADDS


def test_bound_is_the_larger_of_computing_and_moving(roofline: ModuleType) -> None:
    assert roofline.bound_ns(roofline.Work("float32", 1000, 100), PEAKS) == (100.0, False)
    assert roofline.bound_ns(roofline.Work("int8", 1000, 300, runs=4), PEAKS) == (60.0, True)
    works = [
        (roofline.Work("float32", 1000, 100), 1),
        (roofline.Work("int8", 1000, 300, runs=4), 5),
    ]
    assert roofline.total(works, PEAKS) == {
        "multiply_adds": 1000 + 20 * 1000,
        "moved_bytes": 100 + 20 * 300,
        "bound_ns": 100.0 + 300.0,
        "moving_share": 0.75,
    }


@pytest.mark.parametrize("kind", ["float32", "int8", "dynamic"])
def test_product_is_what_its_work_says(
    roofline: ModuleType, ceilings: ModuleType, kind: str
) -> None:
    product = ceilings.Product(kind, 2, 32, 3)
    data = ceilings.write_product(product)
    works = list(roofline.works_of(read_model(data).graphs[0]))
    assert sum(work.multiply_adds for work in works) == product.multiply_adds == 3 * 2 * 32 * 32
    assert sum(work.moved_bytes for work in works) == product.moved_bytes
    assert {work.dtype for work in works} == {"float32" if kind == "float32" else "int8"}
    loaded = ceilings.Loaded(product, 1)
    values = loaded.example()
    loaded.set_input(values)
    loaded.invoke()
    detail = loaded.interpreter.get_output_details()[0]
    output = dequantize(loaded.interpreter.get_tensor(detail["index"]), detail["quantization"])
    expected = product_in_numpy(data, values)
    error = np.abs(output - expected).max() / np.abs(expected).max()
    assert np.abs(expected).max() > 0.1 and error < (1e-5 if kind == "float32" else 0.1)


def dequantize(values: np.ndarray, quantization: tuple[float, int]) -> np.ndarray:
    scale, zero_point = quantization
    return values * scale - zero_point if scale else values


def product_in_numpy(data: bytes, values: np.ndarray) -> np.ndarray:
    """The chain in float64, every number as its quantization says."""
    result: Any = values.astype(np.float64)
    tensors = read_model(data).graphs[0].tensors
    if values.dtype == np.int8:
        result = result * tensors[0].scales[0]
    for tensor in tensors:
        if tensor.data is not None:
            dtype = np.int8 if tensor.dtype == "int8" else np.float32
            weights = np.frombuffer(tensor.data, dtype).reshape(tensor.shape).astype(np.float64)
            result = (
                result @ (weights * (np.array(tensor.scales)[:, None] if tensor.scales else 1)).T
            )
    return np.asarray(result)


def test_peaks_are_the_best_of_each_kind(ceilings: ModuleType) -> None:
    def row(kind: str, rows: int, multiply_adds: int, moved_bytes: int) -> dict[str, Any]:
        return {
            "kind": kind, "rows": rows, "p50_ns": 10.0,
            "multiply_adds": multiply_adds, "moved_bytes": moved_bytes,
        }  # fmt: skip

    found = ceilings.peaks(
        [
            row("float32", 64, 400, 900),
            row("float32", 1, 100, 500),
            row("int8", 64, 3000, 900),
            row("dynamic", 64, 2000, 900),
            row("int8", 1, 200, 300),
            row("dynamic", 1, 200, 350),
        ]
    )
    assert found == {
        "float32": {"multiply_adds_per_ns": 40.0, "bytes_per_ns": 50.0},
        "int8": {"multiply_adds_per_ns": 300.0, "bytes_per_ns": 35.0},
    }
