"""Width of a recurrence × sparsity of its kernel → the time of a product, sparse beside dense.

    python benchmarks/sparse_kernels.py --rounds 300 --markdown docs/compression.md

A file is a loop of products with one kernel, as an LSTM's is, pruned in the blocks that TFLite's
sparse kernels read; the converter writes it dense and, with EXPERIMENTAL_SPARSITY, sparse.
All four run in turn in ai-edge-litert on one thread. XNNPACK, the default, computes the dense ones;
it leaves sparse float32 weights alone, and takes the sparse ones of a dynamic_int8 file for dense
(`sparse-int8` of `tfpipe check`), so that file runs without it.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from compression_tables import write_section
from numpy.typing import NDArray
from small_kernels import PRODUCTS, measure

from device_runner.machine import read_fingerprint
from tfpipe.compress.sensitivity import without_smallest

HEADING = "## Sparse kernels, measured\n"
ABOUT = """
Made by `python benchmarks/sparse_kernels.py --rounds {rounds} --markdown docs/compression.md`: a
loop of {products} products of n columns with one n × 4n kernel, as an LSTM has, pruned in blocks
of {float_block} (float32) and {int8_block} (int8), files as TensorFlow's converter writes them.
Median time of one product in µs over {rounds} calls, all four in turn, one thread. *int8* is
dynamic_int8; its sparse file runs without XNNPACK, which reads it wrongly. *sparse / dense* is the
median over the calls, with its tenth and ninetieth percentiles; below 1 sparse is faster. Taken on:
{machine}.
"""
FLOAT_BLOCK, INT8_BLOCK = 4, 16
WIDTHS = (64, 128, 256, 512)
SPARSITIES = (0.8, 0.9, 0.95)
OPTIMIZE = tf.lite.Optimize


def convert_loop(kernel: NDArray[np.float32], optimizations: list[Any]) -> bytes:
    """Returns the file of a loop of products with a kernel `(n, 4 n)`."""
    width = kernel.shape[0]
    weights = tf.constant(kernel)

    def step(number: Any, values: Any) -> tuple[Any, Any]:
        return number + 1, tf.tanh(tf.matmul(values, weights)[:, :width])

    def run(values: Any) -> Any:
        return tf.while_loop(lambda number, _: number < PRODUCTS, step, (0, values))[1]

    signature = tf.TensorSpec((1, width), tf.float32)
    function = tf.function(run, input_signature=[signature], autograph=False)
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [function.get_concrete_function()], tf.Module()
    )
    converter.optimizations = optimizations
    return bytes(converter.convert())


def open_files(width: int, sparsity: float, rng: np.random.Generator) -> list[Interpreter]:
    """Returns float32 dense and sparse, int8 dense and sparse."""
    weights = rng.normal(0, 1 / np.sqrt(width), (width, 4 * width)).astype(np.float32)
    made = []
    for block, scheme in ((FLOAT_BLOCK, []), (INT8_BLOCK, [OPTIMIZE.DEFAULT])):
        kernel = without_smallest(weights, sparsity, (block, 1))
        for sparse in ([], [OPTIMIZE.EXPERIMENTAL_SPARSITY]):
            kernels = OpResolverType.AUTO
            if scheme and sparse:
                kernels = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            data = convert_loop(kernel, [*scheme, *sparse])
            made.append(
                Interpreter(
                    model_content=data, num_threads=1, experimental_op_resolver_type=kernels
                )
            )
    return made


def format_ratio(sparse: list[float], dense: list[float]) -> str:
    """Returns the median ratio of the calls with its tenth and ninetieth percentiles."""
    low, middle, high = np.percentile(np.divide(sparse, dense), [10, 50, 90])
    return f"{middle:.2f} ({low:.2f}–{high:.2f})"


def main() -> None:
    """Measures every size and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--markdown", type=Path, required=True)
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    names = ("float32", "sparse", "sparse / dense", "int8", "sparse", "sparse / dense")
    lines = [f"| n | sparsity | {' | '.join(names)} |", "|--:" * 8 + "|"]
    for width in WIDTHS:
        for sparsity in SPARSITIES:
            times = measure(open_files(width, sparsity, rng), options.rounds, rng)
            cells = [str(width), f"{sparsity:g}"]
            for dense, sparse in (times[:2], times[2:]):
                cells += [f"{np.median(dense):.2f}", f"{np.median(sparse):.2f}"]
                cells.append(format_ratio(sparse, dense))
            lines.append(f"| {' | '.join(cells)} |")
    about = ABOUT.format(
        rounds=options.rounds,
        products=PRODUCTS,
        float_block=FLOAT_BLOCK,
        int8_block=INT8_BLOCK,
        machine=f"{read_fingerprint()['cpu_model']}, {os.cpu_count()} cores",
    )
    write_section(options.markdown, HEADING, about, lines)


if __name__ == "__main__":
    main()
