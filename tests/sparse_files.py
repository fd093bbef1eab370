"""A folder → .tflite files with sparse dense layers, each beside its dense twin; run as a program,
because converters can die."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

INPUTS, OUTPUTS = 64, 128
SPARSE = tf.lite.Optimize.EXPERIMENTAL_SPARSITY
FEATURES = tf.TensorSpec((4, INPUTS), tf.float32)


def kernel(block: int) -> Any:
    """Four fifths of its blocks, runs of inputs of one output, at zero."""
    random = np.random.default_rng(7)
    kept = np.repeat(random.random((OUTPUTS, INPUTS // block)) > 0.8, block, axis=1)
    return tf.constant((random.normal(size=kept.shape) * kept).astype(np.float32))


def convert(block: int, scheme: str, *, sparse: bool, one_scale: bool) -> bytes:
    weights = kernel(block)

    def run(values: Any) -> Any:
        return tf.matmul(values, weights, transpose_b=True)

    module = tf.Module()
    module.run = tf.function(run, input_signature=[FEATURES], autograph=False)
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [module.run.get_concrete_function()], module
    )
    converter.optimizations = [tf.lite.Optimize.DEFAULT] * (scheme != "float32")
    converter.optimizations += [SPARSE] * sparse
    if scheme == "int8":
        random = np.random.default_rng(8)
        converter.representative_dataset = lambda: (
            [random.normal(size=FEATURES.shape).astype(np.float32)] for _ in range(20)
        )
        converter._experimental_disable_per_channel_quantization_for_dense_layers = one_scale
    return bytes(converter.convert())


if __name__ == "__main__":
    for name, block, scheme in (
        ("float32", 4, "float32"),
        ("dynamic", 16, "dynamic"),
        ("unpacked", 4, "dynamic"),
        ("int8", 16, "int8"),
        ("one-scale", 16, "int8"),
        ("unpacked-int8", 4, "int8"),
    ):
        for sparse in (False, True):
            file = Path(sys.argv[1]) / f"{name}-{'sparse' if sparse else 'dense'}.tflite"
            one_scale = name == "one-scale"
            file.write_bytes(convert(block, scheme, sparse=sparse, one_scale=one_scale))
