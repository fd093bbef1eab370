"""Faults of the pinned converter that we go round: each test fails when its fault is gone."""

import subprocess
import sys

import numpy as np
import tensorflow as tf
import tf_keras as keras

from device_runner.interpreter import load_model
from tfpipe.check import check

CONVERT_LOOP_TO_INT8 = """
import numpy as np, tensorflow as tf, tf_keras as keras
from tfpipe.export.lowering import inference_form
token_ids = keras.Input((16,), dtype=tf.int32)
states = keras.layers.GRU(8)(keras.layers.Embedding(50, 8)(token_ids))
model = keras.Model(token_ids, keras.layers.Dense(3)(states))
function = inference_form(model, sequence_length=16, lowering="loop", multi_label=False)
converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
converter.optimizations = [tf.lite.Optimize.DEFAULT]
converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
converter.representative_dataset = lambda: ([np.ones((1, 16), "i4")] for _ in range(4))
converter.convert()
"""


def run_file(data, *inputs):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=data)
    interpreter.allocate_tensors()
    details = sorted(interpreter.get_input_details(), key=lambda tensor: tensor["name"])
    for tensor, values in zip(details, inputs, strict=True):
        interpreter.set_tensor(tensor["index"], values)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def test_subtraction_from_a_constant_is_turned_round_beside_a_transpose():
    """Then `export/lowering.py` may write the attention mask as (1 - mask) * PADDING_SCORE."""

    def masked(scores, mask):
        return scores + (1 - tf.transpose(mask)) * -30.0

    scores, mask = np.zeros((2, 4, 4), "f4"), np.float32([[1], [1], [0], [0]])
    specs = [tf.TensorSpec(scores.shape), tf.TensorSpec(mask.shape)]
    function = tf.function(masked, input_signature=specs, autograph=False)
    data = tf.lite.TFLiteConverter.from_concrete_functions(
        [function.get_concrete_function()]
    ).convert()
    wrong = run_file(data, *sorted([mask, scores], key=lambda array: -array.ndim)[::-1])
    expected = masked(scores, mask).numpy()
    assert expected[0, 0].tolist() == [0, 0, -30, -30]
    assert not np.allclose(wrong, expected), "the converter is mended: simplify lower_attention"


def test_calibrating_a_loop_fails_or_ends_the_process():
    """Then `export/target.py` may allow imported recurrences int8 with lowering=loop."""
    child = subprocess.run(
        [sys.executable, "-c", CONVERT_LOOP_TO_INT8], capture_output=True, timeout=300, check=False
    )
    assert child.returncode != 0, "the converter calibrates loops: allow int8 of them"


def test_fused_lstm_begins_where_the_text_before_it_ended(tmp_path):
    """Then `device_runner/interpreter.py` need not reset the variables before each text."""
    token_ids = keras.Input(batch_shape=(1, 4), dtype=tf.int32)
    states = keras.layers.LSTM(8)(keras.layers.Embedding(50, 8, "normal")(token_ids))
    model = keras.Model(token_ids, keras.layers.Dense(3)(states))
    path = tmp_path / "model.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    loaded = load_model(path)
    texts = np.random.default_rng(1).integers(0, 50, (3, 1, 4), np.int32)
    for ids in texts:
        np.testing.assert_allclose(loaded.run(ids), model(ids).numpy()[0], atol=1e-6)
    loaded.interpreter.set_tensor(loaded.input_index, texts[0])
    loaded.invoke()
    left = np.abs(loaded.get_output() - model(texts[0]).numpy()[0]).max()
    assert left > 1e-4, "the op begins at zero now: drop the reset"


RUN_TEXTS = """
import sys
import numpy as np
from tflite_runtime.interpreter import Interpreter
interpreter = Interpreter(sys.argv[1])
interpreter.allocate_tensors()
for token in (1, 3, 1):
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.full(4, token, "i4"))
    interpreter.invoke()
    print(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0, 0])
"""


def test_float16_weights_of_a_branch_are_lost_by_the_old_runtime(tmp_path, tflite_runtime_python):
    """Then `export/target.py` may branch in float16, and `check` be silent about it."""
    rng = np.random.default_rng(0)
    table, kernel = (rng.normal(size=(rows, 8)).astype("f4") for rows in (20, 8))

    def choose(token_ids):
        return tf.cond(
            tf.reduce_sum(token_ids) > 8,
            lambda: tf.matmul(tf.gather(table, token_ids), kernel),
            lambda: tf.gather(table, token_ids) * 2.0,
        )

    specs = [tf.TensorSpec((4,), tf.int32)]
    function = tf.function(choose, input_signature=specs, autograph=False)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    path = tmp_path / "model.tflite"
    path.write_bytes(converter.convert())
    codes = {
        runtime: {
            entry["code"]: entry["severity"] for entry in check(path, runtime=runtime)["findings"]
        }
        for runtime in ("tflite-runtime==2.14.0", "ai-edge-litert==2.3.0")
    }
    assert codes["tflite-runtime==2.14.0"]["float16-branch"] == "error"
    assert codes["ai-edge-litert==2.3.0"]["float16-branch"] == "warning"
    rows = [np.full(4, token, "i4") for token in (1, 3, 1)]
    np.testing.assert_allclose(run_file(path.read_bytes(), rows[0])[0, 0], 2 * table[1, 0], 1e-2)
    command = [tflite_runtime_python, "-c", RUN_TEXTS, str(path)]
    child = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    first, _, third = map(float, child.stdout.split())
    assert abs(first - 2 * table[1, 0]) < 1e-2
    assert abs(third - first) > 0.1, "the runtime is mended: allow branches of float16"
