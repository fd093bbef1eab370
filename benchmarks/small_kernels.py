"""Sizes of a dense kernel × rows of its input → the time of its product, float32 beside int8.

    python benchmarks/small_kernels.py --rounds 300 --markdown docs/targets.md

A file is a chain of products, each with a kernel of its own, whose first columns become the next
one's input, as in a recurrence. The converter writes it in dynamic_int8; `widen_kernels` makes the
file with the same values in float32. Both run in turn in ai-edge-litert on one thread, other inputs
each time.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from compression_tables import write_section

from device_runner.machine import read_fingerprint
from tfpipe.export.small_kernels import widen_kernels
from tfpipe.weight_schemes import SMALL_KERNEL

HEADING = "## Small kernels in dynamic_int8\n"
ABOUT = """
Dense kernels of fewer than {small:,} numbers are float32 in `dynamic_int8` files for `cpu` (values
as rounded to int8): a product with int8 weights rounds its input first, an op of its own, which
costs more than a small product saves. Made by `python benchmarks/small_kernels.py --rounds {rounds}
--markdown docs/targets.md`: a chain of {products} products of n columns with n × 4n kernels, median
time of one in µs over {rounds} calls, float32 and int8 in turn, one thread; above 1 float32 is
faster. Taken on: {machine}.
"""
WIDTHS = (16, 24, 32, 48, 64)
ROWS = (1, 4, 16, 40)
PRODUCTS = 40
WARM_UP = 3


def convert_chain(width: int, rows: int, rng: np.random.Generator) -> bytes:
    """Returns the dynamic_int8 file of a chain of products, as the converter writes it."""
    scale = 1 / np.sqrt(width)
    kernels = rng.normal(0, scale, (PRODUCTS, width, 4 * width)).astype(np.float32)

    def run(values: Any) -> Any:
        for kernel in kernels:
            values = tf.tanh(tf.matmul(values, tf.constant(kernel))[:, :width])
        return values

    signature = tf.TensorSpec((rows, width), tf.float32)
    function = tf.function(run, input_signature=[signature], autograph=False)
    module = tf.Module()
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [function.get_concrete_function()], module
    )
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return bytes(converter.convert())


def measure(
    interpreters: list[Interpreter], rounds: int, rng: np.random.Generator
) -> list[list[float]]:
    """Returns the microseconds of one product of each chain, `(interpreters, rounds)`."""
    taken: list[list[int]] = [[] for _ in interpreters]
    for interpreter in interpreters:
        interpreter.allocate_tensors()
    for number in range(WARM_UP + rounds):
        for interpreter, times in zip(interpreters, taken, strict=True):
            details = interpreter.get_input_details()[0]
            values = rng.normal(size=details["shape"]).astype(np.float32)
            interpreter.set_tensor(details["index"], values)
            started = time.perf_counter_ns()
            interpreter.invoke()
            if number >= WARM_UP:
                times.append(time.perf_counter_ns() - started)
    return [[nanoseconds / 1e3 / PRODUCTS for nanoseconds in times] for times in taken]


def main() -> None:
    """Measures every size and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--markdown", type=Path, required=True)
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    lines = ["| n | numbers | rows | float32 | int8 | int8 / float32 |", "|--:|" + "--:|" * 5]
    for width in WIDTHS:
        for rows in ROWS:
            data = convert_chain(width, rows, rng)
            wide = widen_kernels(data, below=8 * width * width)
            files = [Interpreter(model_content=each, num_threads=1) for each in (wide, data)]
            float32, int8 = map(np.median, measure(files, options.rounds, rng))
            cells = (width, f"{4 * width * width:,}", rows, f"{float32:.2f}", f"{int8:.2f}")
            lines.append(f"| {' | '.join(map(str, cells))} | {int8 / float32:.2f} |")
    about = ABOUT.format(
        small=SMALL_KERNEL,
        rounds=options.rounds,
        products=PRODUCTS,
        machine=f"{read_fingerprint()['cpu_model']}, {os.cpu_count()} cores",
    )
    write_section(options.markdown, HEADING, about, lines)


if __name__ == "__main__":
    main()
