"""A folder → small .tflite files of many kinds in it; run as a program: converters can die."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

LENGTH, WORDS, WIDTH = 8, 20, 16
RANDOM = np.random.default_rng(3)
IDS = tf.TensorSpec((1, LENGTH), tf.int32, name="token_ids")
FLOATS = tf.TensorSpec((1, WIDTH), tf.float32, name="features")
STATES = tf.TensorSpec((1, LENGTH, WIDTH), tf.float32, name="states")
IMAGE = tf.TensorSpec((1, 8, 8, 3), tf.float32, name="image")
ZOO: dict[str, Callable[[], bytes]] = {}


def constant(*shape: int) -> Any:
    return tf.constant(RANDOM.normal(size=shape).astype(np.float32))


def samples(spec: tf.TensorSpec) -> Iterator[list[Any]]:
    for _ in range(8):
        shape = [size or 1 for size in spec.shape]
        if spec.dtype == tf.int32:
            yield [RANDOM.integers(0, WORDS, shape).astype(np.int32)]
        else:
            yield [RANDOM.normal(size=shape).astype(np.float32)]


def convert(function: Callable[..., Any], spec: tf.TensorSpec, scheme: str = "float32") -> bytes:
    """The scheme's name, then its options, such as "int8 float_io per_tensor"."""
    module = tf.Module()
    module.run = tf.function(function, input_signature=[spec], autograph=False)
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [module.run.get_concrete_function()], module
    )
    name, *options = scheme.split()
    if name != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if name == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if name in ("int8", "int16x8"):
        converter.representative_dataset = lambda: samples(spec)
        kind = "TFLITE_BUILTINS_INT8"
        if name == "int16x8":
            kind = "EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8"
        converter.target_spec.supported_ops = [getattr(tf.lite.OpsSet, kind)]
    if name == "int8" and "float_io" not in options:
        converter.inference_output_type = tf.int8
        if spec.dtype == tf.float32:
            converter.inference_input_type = tf.int8
    if "per_tensor" in options:
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    if "flex" in options:
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS,
        ]  # fmt: skip
    if "custom" in options:
        converter.allow_custom_ops = True
    if "variables" in options:
        converter.experimental_enable_resource_variables = True
    return bytes(converter.convert())


def add(
    name: str, function: Callable[..., Any], spec: tf.TensorSpec, scheme: str = "float32"
) -> None:
    ZOO[name] = lambda: convert(function, spec, scheme)


def dense(units: int = 4, width: int = WIDTH) -> Callable[[Any], Any]:
    kernel, bias = constant(width, units), constant(units)
    return lambda x: tf.nn.softmax(tf.matmul(x, kernel) + bias)


def average(rank_one: bool = True, guard: bool = False) -> Callable[[Any], Any]:
    table, head = constant(WORDS, WIDTH), dense()

    def run(ids: Any) -> Any:
        if guard:
            ids = tf.where(ids < 0, ids + WORDS, ids)
        if rank_one:
            rows = tf.reshape(tf.gather(table, tf.reshape(ids, [-1])), [1, LENGTH, WIDTH])
        else:
            rows = tf.gather(table, ids)
        return head(tf.reduce_mean(rows, axis=1))

    return run


def attention(states: Any) -> Any:
    left, right = constant(WIDTH, WIDTH), constant(WIDTH, WIDTH)
    scores = tf.matmul(states @ left, states @ right, transpose_b=True)
    return tf.matmul(tf.nn.softmax(scores), states)


def layer_norm(states: Any) -> Any:
    mean = tf.reduce_mean(states, axis=-1, keepdims=True)
    variance = tf.reduce_mean(tf.math.squared_difference(states, mean), axis=-1, keepdims=True)
    return (states - mean) * tf.math.rsqrt(variance + 1e-3)


def text_cnn(ids: Any) -> Any:
    rows = tf.reshape(tf.gather(constant(WORDS, WIDTH), tf.reshape(ids, [-1])), [1, LENGTH, WIDTH])
    hidden = tf.nn.relu(tf.nn.conv1d(rows, constant(3, WIDTH, 8), 1, "SAME"))
    return dense(4, 8)(tf.reduce_max(hidden, axis=1))


def unrolled(states: Any) -> Any:
    kernel, recurrent = constant(WIDTH, 4 * WIDTH), constant(WIDTH, 4 * WIDTH)
    hidden = cell = tf.zeros((1, WIDTH))
    for step in tf.unstack(states, axis=1)[:4]:
        gates = tf.matmul(step, kernel) + tf.matmul(hidden, recurrent)
        i, f, g, o = tf.split(gates, 4, axis=1)
        cell = tf.sigmoid(f) * cell + tf.sigmoid(i) * tf.tanh(g)
        hidden = tf.sigmoid(o) * tf.tanh(cell)
    return hidden


def loop(states: Any) -> Any:
    recurrent = constant(WIDTH, WIDTH)

    def body(step: Any, hidden: Any) -> Any:
        return step + 1, tf.tanh(tf.matmul(hidden, recurrent) + states[:, 0])

    return tf.while_loop(lambda step, _: step < 3, body, [0, tf.zeros((1, WIDTH))])[1]


def branch(x: Any) -> Any:
    return tf.cond(tf.reduce_sum(x) > 0, lambda: x * 2, lambda: tf.tanh(x))


def keras_lstm(folder: Path) -> bytes:
    """What Keras 2 writes: the fused op, whose state is a variable tensor."""
    model = tf_keras.Sequential(
        [
            tf_keras.layers.Input((LENGTH,), batch_size=1, dtype="int32"),
            tf_keras.layers.Embedding(WORDS, 5),
            tf_keras.layers.LSTM(6),
            tf_keras.layers.Dense(3, activation="softmax"),
        ]
    )
    function = tf.function(
        lambda ids: {"probabilities": model(ids)}, input_signature=[IDS], autograph=False
    )
    module = tf.Module()
    module.weights = model.variables
    tf.saved_model.save(module, str(folder / "lstm"), signatures={"classify": function})
    return bytes(tf.lite.TFLiteConverter.from_saved_model(str(folder / "lstm")).convert())


def keras_three() -> bytes:
    model = tf.keras.Sequential(
        [
            tf.keras.Input((LENGTH,), batch_size=1, dtype="int32"),
            tf.keras.layers.Embedding(WORDS, 5),
            tf.keras.layers.GlobalAveragePooling1D(),
            tf.keras.layers.Dense(3, activation="softmax"),
        ]
    )
    return bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())


def keras_three_weightless() -> bytes:
    """`from_concrete_functions` of a Keras 3 model: its variables are not those of a tf.Module."""
    model = tf.keras.Sequential(
        [
            tf.keras.Input((WIDTH,), batch_size=1),
            tf.keras.layers.Dense(3, activation="softmax"),
        ]
    )
    function = tf.function(lambda x: model(x), input_signature=[FLOATS], autograph=False)
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [function.get_concrete_function()], model
    )
    return bytes(converter.convert())


def counter(variables: bool) -> bytes:
    module = tf.Module()
    module.count = tf.Variable(tf.ones((1, WIDTH)))
    module.run = tf.function(
        lambda x: module.count.assign_add(x) + x, input_signature=[FLOATS], autograph=False
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [module.run.get_concrete_function()], module
    )
    converter.experimental_enable_resource_variables = variables
    return bytes(converter.convert())


def hash_table() -> bytes:
    class Module(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            pairs = tf.lookup.KeyValueTensorInitializer(
                tf.constant([1, 2, 3], tf.int64), tf.constant(["a", "b", "c"])
            )
            self.table = tf.lookup.StaticHashTable(pairs, "?")

        @tf.function(input_signature=[tf.TensorSpec((4,), tf.int64)])
        def run(self, keys: Any) -> Any:
            return self.table.lookup(keys)

    module = Module()
    function = module.run.get_concrete_function()
    return bytes(tf.lite.TFLiteConverter.from_concrete_functions([function], module).convert())


def two_signatures(folder: Path) -> bytes:
    module = tf.Module()
    kernel = constant(WIDTH, WIDTH)
    module.one = tf.function(lambda x: {"y": tf.matmul(x, kernel)}, input_signature=[FLOATS])
    module.two = tf.function(lambda x: {"y": tf.tanh(x)}, input_signature=[FLOATS])
    signatures = {"one": module.one, "two": module.two}
    tf.saved_model.save(module, str(folder / "two"), signatures=signatures)
    return bytes(tf.lite.TFLiteConverter.from_saved_model(str(folder / "two")).convert())


def fill(folder: Path) -> None:
    for scheme in ("float32", "float16", "dynamic", "dynamic per_tensor", "int8", "int8 float_io"):
        add(f"dense-{scheme.replace(' ', '-')}", dense(width=WIDTH), FLOATS, scheme)
    wide = tf.TensorSpec((1, 256), tf.float32)
    for scheme in ("dynamic", "dynamic per_tensor"):
        add(f"wide-{scheme.replace(' ', '-')}", dense(8, 256), wide, scheme)
    add("int16x8", dense(), FLOATS, "int16x8")
    add("two-outputs", dense(2), FLOATS, "int8 float_io")
    add("two-outputs-per-tensor", dense(2), FLOATS, "int8 float_io per_tensor")
    add("average", average(), IDS)
    add("average-int8", average(), IDS, "int8 float_io")
    add("average-rank-2", average(rank_one=False), IDS)
    add("average-guard", average(rank_one=False, guard=True), IDS)
    add("attention", attention, STATES)
    add("attention-int8", attention, STATES, "int8")
    add("layer-norm", layer_norm, STATES)
    add("layer-norm-int16x8", layer_norm, STATES, "int16x8")
    add("text-cnn", text_cnn, IDS)
    add("text-cnn-int8", text_cnn, IDS, "int8 float_io")
    add("unrolled", unrolled, STATES)
    add("unrolled-int8", unrolled, STATES, "int8")
    add("loop", loop, STATES)
    add("branch", branch, FLOATS)
    add("gelu", lambda x: tf.nn.gelu(x), FLOATS)
    add("top-k", lambda x: tf.math.top_k(x, 3), FLOATS)
    add("argmax-int64", lambda x: tf.argmax(x, axis=1), FLOATS)
    add("cumsum", lambda x: tf.cumsum(x, axis=1), FLOATS)
    add("one-hot", lambda ids: tf.one_hot(ids, WORDS), IDS)
    add("reverse", lambda x: tf.reverse(x, [1]), STATES)
    add("strided-slice", lambda x: x[:, 1:7:2, ::3], STATES)
    add(
        "transpose-split",
        lambda x: tf.concat(tf.split(tf.transpose(x, [0, 2, 1]), 4, 1), 2),
        STATES,
    )
    add("power", lambda x: tf.sin(x) + tf.cos(x) * tf.abs(x) ** 1.5, FLOATS)
    add("image", lambda x: tf.nn.conv2d(x, constant(3, 3, 3, 4), 2, "SAME"), IMAGE)
    add(
        "depthwise",
        lambda x: tf.nn.depthwise_conv2d(x, constant(3, 3, 3, 1), [1] * 4, "SAME"),
        IMAGE,
    )
    add("up", lambda x: tf.nn.conv2d_transpose(x, constant(2, 2, 4, 3), (1, 16, 16, 4), 2), IMAGE)
    add("spectrum", lambda x: tf.abs(tf.signal.rfft(x)), FLOATS)
    add("random", lambda x: x + tf.random.normal((1, WIDTH)), FLOATS)
    add("flex", lambda x: tf.math.erf(x) + 1, FLOATS, "float32 flex")
    add("custom", lambda x: tf.math.erf(x) + 1, FLOATS, "float32 custom")
    add("dynamic-batch", dense(), tf.TensorSpec((None, WIDTH), tf.float32))
    add("dynamic-length", lambda x: tf.reduce_sum(x * 2, 1), tf.TensorSpec((1, None), tf.float32))
    ZOO["keras-3"] = keras_three
    ZOO["keras-3-weightless"] = keras_three_weightless
    ZOO["counter"] = lambda: counter(variables=True)
    ZOO["hash-table"] = hash_table
    ZOO["lstm"] = lambda: keras_lstm(folder)
    ZOO["two-signatures"] = lambda: two_signatures(folder)


def main(folder: Path) -> None:
    fill(folder)
    for name, make in ZOO.items():
        try:
            data = make()
        except Exception:  # one kind that cannot be made must not hide the others
            traceback.print_exc()
            print(f"no {name}", file=sys.stderr)
        else:
            (folder / f"{name}.tflite").write_bytes(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
