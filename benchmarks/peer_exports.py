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
    """Keras 3's `export(format="litert")` of an LSTM classifier that was given our weights."""
    import keras

    content = folder.read()
    if content["model"] != "lstm":
        raise ValueError("not written: the Transformer in Keras 3's layers")
    length = content["recipe"]["data"]["sequence_length"]
    model = load_model(folder, "base")
    embedding, lstm, dense = (
        next(layer for layer in model.layers if type(layer).__name__ == name)
        for name in ("ScaledEmbedding", "LSTM", "Dense")
    )
    inputs = keras.Input(batch_shape=(1, length), dtype="int32")
    table = keras.layers.Embedding(embedding.input_dim, embedding.output_dim)
    recurrent = keras.layers.LSTM(lstm.units, go_backwards=True, unroll=unroll)
    head = keras.layers.Dense(dense.units, activation="softmax")
    peer = keras.Model(inputs, head(recurrent(table(inputs))))
    table.set_weights([embedding.get_weights()[0] * embedding.scale])
    recurrent.set_weights(lstm.get_weights())
    head.set_weights(dense.get_weights())
    path = Path(sys.argv[3])
    signature = [keras.InputSpec(shape=(1, length), dtype="int32", name="token_ids")]
    peer.export(str(path), format="litert", input_signature=signature)
    return path.read_bytes()


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
