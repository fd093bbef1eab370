"""Nothing but this machine → its fastest matrix products through the TFLite runtime, measured.

    python benchmarks/ceilings.py OUTPUT.json [THREADS]

Run by peers.py. Writes small .tflite files on the fly, each a chain of FULLY_CONNECTED ops, in
three kinds: float32; int8; and float32 values with int8 weights (dynamic). Measured in one process
in alternating blocks, as the models are.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from device_runner.files import write_json_atomic
from device_runner.latency import Contestant, measure
from device_runner.profiles import PROFILES

KINDS = ("float32", "int8", "dynamic")
FLOAT_BYTES = {"float32": 4, "int8": 1, "dynamic": 4}
WEIGHT_BYTES = {"float32": 4, "int8": 1, "dynamic": 1}
TYPES = {4: schema.TensorType.FLOAT32, 1: schema.TensorType.INT8}
# The version of FULLY_CONNECTED that the converter writes for each kind.
VERSIONS = {"float32": 1, "int8": 4, "dynamic": 12}


@dataclass(frozen=True)
class Product:
    """A chain of matrix products: (rows, n) values times one after the other of `depth` (n, n).

    Attributes:
        kind: One of `KINDS`.
        rows: 1 is a product of a matrix and a vector, as in a recurrence.
        size: n.
        depth: Products that wait for each other; more than one hides what a call costs by itself.
    """

    kind: str
    rows: int
    size: int
    depth: int

    @property
    def multiply_adds(self) -> int:
        """Of one call."""
        return self.depth * self.rows * self.size**2

    @property
    def moved_bytes(self) -> int:
        """Of one call: weights, values read and values written of each product."""
        values = 2 * self.rows * self.size * FLOAT_BYTES[self.kind]
        return self.depth * (WEIGHT_BYTES[self.kind] * self.size**2 + values)


# Compute-bound: as tall as a Transformer's 64 tokens and taller. Memory-bound: one row, with as
# many weights as the recurrences of 128 and 256 units (n × 4n values are 2n × 2n).
PRODUCTS = [
    *(Product(kind, rows, 512, 1) for kind in KINDS for rows in (64, 256)),
    *(Product(kind, 64, 128, 8) for kind in KINDS),
    *(Product(kind, 1, 256, depth) for kind in KINDS for depth in (1, 4, 16)),
    *(Product(kind, 1, 512, depth) for kind in KINDS for depth in (1, 4)),
]


def write_product(product: Product) -> bytes:
    """Returns a .tflite file that computes a product; each op has weights of its own."""
    writer = Writer(product.kind)
    value = writer.add_tensor((product.rows, product.size), FLOAT_BYTES[product.kind])
    writer.graph.inputs = [value]
    for _ in range(product.depth):
        value = writer.add_dense(value, product)
    writer.graph.outputs = [value]
    return writer.to_bytes()


class Writer:
    """A .tflite file of FULLY_CONNECTED ops in the making."""

    def __init__(self, kind: str) -> None:
        self.random = np.random.default_rng(1)
        self.model, self.graph = schema.ModelT(), schema.SubGraphT()
        code = schema.OperatorCodeT()
        code.builtinCode = schema.BuiltinOperator.FULLY_CONNECTED
        code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
        code.version = VERSIONS[kind]
        self.model.version, self.model.operatorCodes = 3, [code]
        self.model.buffers, self.model.subgraphs = [schema.BufferT()], [self.graph]
        self.graph.tensors, self.graph.operators = [], []

    def add_tensor(
        self, shape: tuple[int, ...], item_bytes: int, content: bytes | None = None
    ) -> int:
        """Adds a tensor, quantized per channel if it is int8 weights; returns its index."""
        tensor = schema.TensorT()
        tensor.shape, tensor.type = list(shape), TYPES[item_bytes]
        tensor.name = f"t{len(self.graph.tensors)}".encode()
        if item_bytes == 1:
            # Values of a scale that keeps a chain's values from saturating.
            scales = [0.05] if content is None else [1 / 73 / shape[1] ** 0.5] * shape[0]
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = scales
            tensor.quantization.zeroPoint = [0] * len(scales)
        if content is not None:
            tensor.buffer = len(self.model.buffers)
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(content, np.uint8)
            self.model.buffers.append(buffer)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def add_dense(self, value: int, product: Product) -> int:
        """Adds one FULLY_CONNECTED of random weights; returns its output's index."""
        size, item_bytes = product.size, WEIGHT_BYTES[product.kind]
        if item_bytes == 1:
            content = self.random.integers(-127, 128, (size, size), np.int8).tobytes()
        else:
            content = (
                (self.random.standard_normal((size, size)) / size**0.5).astype("<f4").tobytes()
            )
        weights = self.add_tensor((size, size), item_bytes, content)
        output = self.add_tensor((product.rows, size), FLOAT_BYTES[product.kind])
        operator = schema.OperatorT()
        operator.inputs, operator.outputs = [value, weights, -1], [output]
        operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
        operator.builtinOptions = schema.FullyConnectedOptionsT()
        self.graph.operators.append(operator)
        return output

    def to_bytes(self) -> bytes:
        """Returns the file."""
        builder = flatbuffers.Builder()
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


class Loaded:
    """A product's file in the runtime, with the methods that a measurement calls."""

    def __init__(self, product: Product, threads: int) -> None:
        self.interpreter = Interpreter(model_content=write_product(product), num_threads=threads)
        self.interpreter.allocate_tensors()
        self.input = self.interpreter.get_input_details()[0]["index"]
        self.invoke = self.interpreter.invoke

    def set_input(self, values: np.ndarray) -> None:
        self.interpreter.set_tensor(self.input, values)

    def example(self) -> np.ndarray:
        """Returns random values of the input's shape and type."""
        details = self.interpreter.get_input_details()[0]
        values = np.random.default_rng(2).standard_normal(details["shape"])
        return (20 * values).clip(-127, 127).astype(details["dtype"])


def measure_ceilings(threads: int) -> list[dict[str, Any]]:
    """Returns of every product its shape, work and median latency in nanoseconds."""
    loaded = [Loaded(product, threads) for product in PRODUCTS]
    contestants = [
        Contestant(str(product), model, [model.example()])
        for product, model in zip(PRODUCTS, loaded, strict=True)
    ]
    rows = []
    for product, found in zip(PRODUCTS, measure(contestants, PROFILES["quick"]), strict=True):
        p50_ns = float(np.median(found.latencies_ns))
        work = {"multiply_adds": product.multiply_adds, "moved_bytes": product.moved_bytes}
        rows.append({**vars(product), **work, "p50_ns": p50_ns})
    return rows


def peaks(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Returns for float32 and int8 weights the best rates of any product.

    Returns:
        {"float32" | "int8": {"multiply_adds_per_ns", "bytes_per_ns"}}; the second of products of
        one row alone, which read each weight for one multiply-add. "int8" is the better of int8
        and float32 values.
    """
    found: dict[str, dict[str, float]] = {}
    for name, kinds in {"float32": ("float32",), "int8": ("int8", "dynamic")}.items():
        own = [row for row in rows if row["kind"] in kinds]
        vectors = [row for row in own if row["rows"] == 1]
        found[name] = {
            "multiply_adds_per_ns": max(row["multiply_adds"] / row["p50_ns"] for row in own),
            "bytes_per_ns": max(row["moved_bytes"] / row["p50_ns"] for row in vectors),
        }
    return found


def main() -> None:
    """Writes {"products", "peaks"}."""
    rows = measure_ceilings(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    write_json_atomic(Path(sys.argv[1]), {"products": rows, "peaks": peaks(rows)})


if __name__ == "__main__":
    main()
