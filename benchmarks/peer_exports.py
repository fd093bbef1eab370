"""A trained run and a peer's name → that peer's file of the same function, with the same weights.

    python benchmarks/peer_exports.py stock-int8 runs/peers/lstm-128 out.tflite

Run by peers.py as a process of its own: exporters of others abort and crash too.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from tfpipe.export.calibration import calibration_ids
from tfpipe.run_folder import RunFolder
from tfpipe.variant import load_model, load_tokenizer


def keras_classifier(folder: RunFolder) -> Any:
    """Returns the run's stock Keras model, batch 1 and softmax, as a user would convert it."""
    length = folder.read()["recipe"]["data"]["sequence_length"]
    inputs = tf_keras.Input(batch_shape=(1, length), dtype=tf.int32, name="token_ids")
    logits = load_model(folder, "base")(inputs, training=False)
    return tf_keras.Model(inputs, tf_keras.layers.Softmax()(logits))


def calibration(folder: RunFolder) -> np.ndarray:
    """Returns the same real token ids that our own int8 export is calibrated with."""
    length = folder.read()["recipe"]["data"]["sequence_length"]
    return calibration_ids(folder, load_tokenizer(folder, "base"), length)


def stock(folder: RunFolder, scheme: str) -> bytes:
    """TensorFlow's converter on the Keras model, with the settings of its guide."""
    converter = tf.lite.TFLiteConverter.from_keras_model(keras_classifier(folder))
    if scheme != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if scheme == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if scheme == "int8":
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = lambda: ([ids[None]] for ids in calibration(folder))
    return bytes(converter.convert())


def keras3(folder: RunFolder, *, unroll: bool) -> bytes:
    """Keras 3's `export(format="litert")` of a classifier of its layers with our weights."""
    import keras

    content, model = folder.read(), load_model(folder, "base")
    length = content["recipe"]["data"]["sequence_length"]
    inputs = keras.Input(batch_shape=(1, length), dtype="int32")
    if content["model"] == "lstm":
        states = keras3_lstm(model, keras3_embedding(model, inputs), unroll=unroll)
    elif unroll:
        raise ValueError("a Transformer has nothing to unroll")
    else:
        states = keras3_transformer(model, inputs, **content["recipe"]["model"])
    logits = model.get_layer("logits")
    head = keras.layers.Dense(logits.units, activation="softmax")
    peer = keras.Model(inputs, head(states))
    head.set_weights(logits.get_weights())
    path = Path(sys.argv[3])
    signature = [keras.InputSpec(shape=(1, length), dtype="int32", name="token_ids")]
    peer.export(str(path), format="litert", input_signature=signature)
    return path.read_bytes()


def keras3_embedding(model: Any, inputs: Any) -> Any:
    """Returns the vectors of token ids."""
    import keras

    embedding = model.get_layer("embedding")
    table = keras.layers.Embedding(embedding.input_dim, embedding.output_dim)
    vectors = table(inputs)
    table.set_weights([embedding.get_weights()[0] * embedding.scale])
    return vectors


def keras3_lstm(model: Any, vectors: Any, *, unroll: bool) -> Any:
    """Returns the final state of the one LSTM."""
    import keras

    lstm = model.get_layer("lstm_0")
    recurrent = keras.layers.LSTM(lstm.units, go_backwards=True, unroll=unroll)
    states = recurrent(vectors)
    recurrent.set_weights(lstm.get_weights())
    return states


def keras3_transformer(model: Any, inputs: Any, **recipe: Any) -> Any:
    """Returns the mean of the encoder's states, norms before the sublayers, padding masked."""
    import keras

    width, num_heads = recipe["embedding_dim"], recipe["num_heads"]
    length = inputs.shape[1]

    def apply(layer: Any, weights: Any, *values: Any, **options: Any) -> Any:
        made = layer(*values, **options)
        layer.set_weights(weights)
        return made

    def same(kind: Any, name: str, states: Any, **options: Any) -> Any:
        return apply(kind(**options), model.get_layer(name).get_weights(), states)

    def norm(name: str, states: Any) -> Any:
        return same(keras.layers.LayerNormalization, name, states, epsilon=1e-5)

    is_text = keras.ops.not_equal(inputs, 0)
    states = keras3_embedding(model, inputs)
    states = states + keras.ops.convert_to_tensor(model.get_layer("positions").get_weights()[0])
    for index in range(recipe["num_layers"]):
        own = model.get_layer(f"attention_{index}").get_weights()
        kernels = np.split(own[0].reshape(width, 3 * num_heads, -1), 3, 1)
        biases = np.split(own[1].reshape(3 * num_heads, -1), 3, 0)
        projections = [part for pair in zip(kernels, biases, strict=True) for part in pair]
        weights = [*projections, own[2].reshape(num_heads, -1, width), own[3]]
        inner = norm(f"attention_{index}_norm", states)
        layer = keras.layers.MultiHeadAttention(num_heads, width // num_heads)
        mask = keras.ops.reshape(is_text, (1, 1, length))
        states = states + apply(layer, weights, inner, inner, attention_mask=mask)
        name, size = f"feed_forward_{index}", recipe["feed_forward_dim"]
        inner = norm(f"{name}_norm", states)
        inner = same(keras.layers.Dense, f"{name}_hidden", inner, units=size, activation="relu")
        states = states + same(keras.layers.Dense, f"{name}_output", inner, units=width)
    states = norm("final_norm", states)
    mask = keras.ops.cast(keras.ops.reshape(is_text, (1, length, 1)), "float32")
    total = keras.ops.sum(states * mask, axis=1)
    return total / keras.ops.maximum(keras.ops.sum(mask, axis=1), 1)


def quantizer(folder: RunFolder, recipe: str) -> bytes:
    """The LiteRT quantizer's recipe on the stock float32 file."""
    from ai_edge_quantizer import quantizer as library
    from ai_edge_quantizer import recipe as recipes

    path = Path(sys.argv[3])
    path.write_bytes(stock(folder, "float32"))
    found = library.Quantizer(str(path), getattr(recipes, recipe)())
    arguments = {}
    if found.need_calibration:
        signature = next(iter(tf.lite.Interpreter(str(path)).get_signature_list().items()))
        name = signature[1]["inputs"][0]
        data = {signature[0]: [{name: ids[None]} for ids in calibration(folder)[:100]]}
        arguments["calibration_result"] = found.calibrate(data)
    return bytes(found.quantize(**arguments).quantized_model)


def onnx(folder: RunFolder, *, dynamic: bool) -> bytes:
    """tf2onnx on the Keras model; with `dynamic` ONNX Runtime's dynamic int8 quantization of it."""
    import tf2onnx

    model = keras_classifier(folder)
    signature = [tf.TensorSpec(model.inputs[0].shape, tf.int32, name="token_ids")]
    path = Path(sys.argv[3])
    tf2onnx.convert.from_keras(model, signature, opset=17, output_path=str(path))
    if dynamic:
        from onnxruntime.quantization import QuantType, quantize_dynamic

        source = path.rename(path.with_suffix(".float.onnx"))
        quantize_dynamic(source, path, weight_type=QuantType.QInt8)
    return path.read_bytes()


PEERS: dict[str, Callable[[RunFolder], bytes]] = {
    "stock-float32": lambda folder: stock(folder, "float32"),
    "stock-float16": lambda folder: stock(folder, "float16"),
    "stock-dynamic_int8": lambda folder: stock(folder, "dynamic_int8"),
    "stock-int8": lambda folder: stock(folder, "int8"),
    "keras3-float32": lambda folder: keras3(folder, unroll=False),
    "keras3-unrolled-float32": lambda folder: keras3(folder, unroll=True),
    "litert-quantizer-dynamic_int8": lambda folder: quantizer(folder, "dynamic_wi8_afp32"),
    "litert-quantizer-int8": lambda folder: quantizer(folder, "static_wi8_ai8"),
    "onnxruntime-float32": lambda folder: onnx(folder, dynamic=False),
    "onnxruntime-dynamic_int8": lambda folder: onnx(folder, dynamic=True),
}

if __name__ == "__main__":
    Path(sys.argv[3]).write_bytes(PEERS[sys.argv[1]](RunFolder(Path(sys.argv[2]))))
