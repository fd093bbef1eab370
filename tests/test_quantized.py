"""The quantization-aware form: one description of the roundings, for batches and for the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from ai_edge_litert.interpreter import Interpreter

from tfpipe.export.convert import convert_form
from tfpipe.export.lowering import inference_form
from tfpipe.models import MODELS
from tfpipe.models.quantized import QuantizedModel
from tfpipe.models.rounding import GATE_LIMIT, RoundingForm, on_grid

LENGTH, VOCABULARY_SIZE = 12, 40
WITH_A_FORM = sorted(MODELS)


def texts_of_every_length() -> np.ndarray:
    rng = np.random.default_rng(3)
    token_ids = np.zeros((LENGTH + 1, LENGTH), np.int32)
    for length in range(LENGTH + 1):
        token_ids[length, :length] = rng.integers(1, VOCABULARY_SIZE, length)
    return token_ids


def random_quantized(name: str, **arguments: Any) -> QuantizedModel:
    rng = np.random.default_rng(3)
    model = MODELS[name](VOCABULARY_SIZE, LENGTH, 3, embedding_dim=8, **arguments)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape, scale=0.5))
        if variable.constraint is not None:
            variable.assign(variable.constraint(variable))
    quantized = QuantizedModel(model)
    quantized.observe(tf.constant(texts_of_every_length()))
    return quantized


@pytest.mark.parametrize("name", ["lstm", "bilstm"])
def test_state_that_is_joined_with_another_value_converts_to_int8(
    name: str, tmp_path: Path
) -> None:
    model = random_quantized(name, pooling="last")
    function = inference_form(model, sequence_length=LENGTH, lowering="loop", multi_label=False)
    job = {"target": "cpu", "scheme": "int8", "runtime": None}
    data = convert_form(LENGTH, function, model, job, tmp_path)
    runner = Interpreter(model_content=data).get_signature_runner()
    token_ids = texts_of_every_length()
    actual = np.concatenate([runner(token_ids=row[None])["probabilities"] for row in token_ids])
    wanted = tf.nn.softmax(model(tf.constant(token_ids), training=False)).numpy()
    assert np.median(np.abs(actual - wanted)) < 0.005
    assert np.abs(actual - wanted).max() < 0.05


@pytest.mark.parametrize(
    ("name", "pooling", "rank"),
    [
        ("lstm", "last", 0),
        *((name, "mean_max", rank) for name in WITH_A_FORM for rank in (0, 3)),
    ],
)
def test_graph_of_the_file_equals_the_form_for_batches(name: str, pooling: str, rank: int) -> None:
    layers = {} if name == "average" else {"num_layers": 2}
    model = random_quantized(name, pooling=pooling, embedding_rank=rank, **layers)
    token_ids = texts_of_every_length()
    function = inference_form(model, sequence_length=LENGTH, lowering="unrolled", multi_label=False)
    actual = np.array([function(tf.constant(row[None]))["probabilities"][0] for row in token_ids])
    wanted = tf.nn.softmax(model(tf.constant(token_ids), training=False)).numpy()
    differences = np.abs(actual - wanted).max(1)
    # Sums in another order may tip a value that lies between two quanta, in few texts.
    assert np.median(differences) < 1e-6
    assert differences.max() < 0.05
    # The rounding is there: the float model says something else.
    exact = tf.nn.softmax(model.float_model(token_ids)).numpy()
    assert 1e-4 < np.abs(exact - wanted).max() < 0.2


def test_int8_file_of_convolutions_computes_what_the_form_does(tmp_path: Path) -> None:
    model = random_quantized("textcnn", pooling="mean_max")
    token_ids = texts_of_every_length()
    function = inference_form(model, sequence_length=LENGTH, lowering="static", multi_label=False)
    job = {"target": "cpu", "scheme": "int8", "runtime": None}
    interpreter = Interpreter(model_content=convert_form(LENGTH, function, model, job, tmp_path))
    interpreter.allocate_tensors()
    kernels = [each for each in interpreter.get_tensor_details() if len(each["shape"]) == 4]
    assert {each["dtype"] for each in kernels} == {np.int8}
    wanted = tf.nn.softmax(model(tf.constant(token_ids), training=False)).numpy()
    for row, expected in zip(token_ids, wanted, strict=True):
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], row[None])
        interpreter.invoke()
        found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]
        # CONCATENATION has one scale for all windows, which the form does not know of.
        np.testing.assert_allclose(found, expected, rtol=0, atol=4 / 256)


@pytest.mark.parametrize("name", WITH_A_FORM)
def test_batches_give_what_their_texts_give_alone(name: str) -> None:
    model = random_quantized(name)
    token_ids = texts_of_every_length()
    together = model(tf.constant(token_ids), training=False).numpy()
    for length in (1, 5, LENGTH):
        alone = model(tf.constant(token_ids[length : length + 1, :length]), training=False).numpy()
        np.testing.assert_allclose(alone[0], together[length], rtol=0, atol=0.05)


def test_training_gives_every_weight_a_gradient() -> None:
    for name in WITH_A_FORM:
        model = random_quantized(name)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(model(texts_of_every_length(), training=True)))
        gradients = tape.gradient(loss, model.trainable_variables)
        assert all(gradient is not None for gradient in gradients), name
        sizes = [np.abs(tf.convert_to_tensor(gradient)).max() for gradient in gradients]
        assert min(sizes) > 0, (name, sizes)


def test_convolution_that_no_kernel_computes_is_refused() -> None:
    inputs = keras.Input((8, 4))
    layer = keras.layers.Conv1D(2, 3, padding="causal", name="past")
    with pytest.raises(
        ValueError, match="'past' has padding='causal' groups=1 .* Use padding same"
    ):
        QuantizedModel(keras.Model(inputs, layer(inputs)))


def test_kernels_of_a_convolution_are_rounded_per_filter() -> None:
    kernel = np.float32([[[1.0, 100.0]], [[0.4, -127.0]], [[-0.1, 3.4]]])
    expected = [[[1, 100]], [[round(0.4 * 127) / 127, -127]], [[-round(0.1 * 127) / 127, 3]]]
    np.testing.assert_allclose(on_grid(kernel, one_scale=False), expected, rtol=1e-6)
    form = RoundingForm(tf.zeros((1, 2)), ["x"], training=False)
    rounded = form.quantize("k", tf.constant(kernel), "kernel")
    np.testing.assert_allclose(rounded, expected, rtol=1e-5)


def test_rounding_is_that_of_8_bits() -> None:
    form = RoundingForm(tf.constant([[-1.0, 1.55]]), ["x"], training=False)
    step = 2.55 / 255
    values = tf.constant([-9.0, -1.0, 0.0, 0.004, 0.006, 1.0, 9.0])
    expected = np.array([-100, -100, 0, 0, 1, 100, 155]) * step
    np.testing.assert_allclose(form.quantize("x", values), expected, atol=1e-6)
    trained = RoundingForm(tf.constant([[-1.0, 1.55]]), ["x"], training=True)
    # In training nothing is cut off.
    unclipped = np.array([-900, -100, 0, 0, 1, 100, 900]) * step
    np.testing.assert_allclose(trained.quantize("x", values), unclipped, atol=1e-5)
    assert form.quantize("", tf.constant([0.9999]), "sigmoid").numpy() == 255 / 256
    assert form.quantize("", tf.constant([0.9999]), "tanh").numpy() == 127 / 128


def test_kernels_are_rounded_per_column() -> None:
    kernel = np.array([[1.0, 100.0], [0.4, -127.0], [-0.1, 3.4]], np.float32)
    expected = [[1, 100], [round(0.4 * 127) / 127, -127], [-round(0.1 * 127) / 127, 3]]
    np.testing.assert_allclose(on_grid(kernel, one_scale=False), expected, rtol=1e-6)
    one_grid = [[1, 100], [0, -127], [0, 3]]
    np.testing.assert_allclose(on_grid(kernel, one_scale=True), one_grid, rtol=1e-6)
    form = RoundingForm(tf.zeros((1, 2)), ["x"], training=False)
    np.testing.assert_allclose(form.quantize("k", kernel, "kernel"), expected, rtol=1e-5)
    form.per_tensor = True
    np.testing.assert_allclose(form.quantize("k", kernel, "kernel"), one_grid, rtol=1e-5)


def test_ranges_are_those_of_all_steps_of_an_lstm() -> None:
    model = random_quantized("lstm", units=4, pooling="mean_max")
    token_ids = tf.constant(texts_of_every_length()[-3:])
    layer = model.float_model.get_layer("lstm_0")
    vectors = model.float_model.get_layer("embedding")(token_ids)
    hidden = layer(vectors).numpy()
    model = QuantizedModel(model.float_model)
    model.observe(token_ids)
    low, high = model.range_of()["lstm_0/hidden"]
    assert (low, high) == pytest.approx((min(0, hidden.min()), max(0, hidden.max())), abs=1e-6)
    low, high = model.range_of()["lstm_0/gates"]
    assert -GATE_LIMIT <= low < 0 < high <= GATE_LIMIT


def test_padding_leaves_an_lstm_at_zero() -> None:
    model = random_quantized("lstm", pooling="last", embedding_skip=False)
    empty = model(tf.zeros((1, LENGTH), tf.int32), training=False)
    bias = model.float_model.get_layer("logits").bias.numpy()
    step = np.diff(model.range_of()["logits/output"]) / 255
    np.testing.assert_allclose(empty[0], bias, atol=step[0] / 2 + 1e-6)


def test_unknown_layer_is_named() -> None:
    inputs = keras.Input((None,), dtype=tf.int32)
    model = keras.Model(inputs, keras.layers.GaussianNoise(0.1, name="noise")(inputs))
    with pytest.raises(ValueError, match="'noise' of type GaussianNoise has no quantization-aware"):
        QuantizedModel(model)


def test_unknown_activation_is_named() -> None:
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(2, "gelu", name="wide")(inputs))
    with pytest.raises(ValueError, match="'wide' has activation='gelu', .* Use relu or linear"):
        QuantizedModel(model)


def test_ranges_of_another_model_are_refused() -> None:
    model = random_quantized("average").float_model
    with pytest.raises(ValueError, match=r"ranges of shape \(9, 2\) do not fit a model with 2 "):
        QuantizedModel(model, np.zeros((9, 2), np.float32))
