"""Models: the open set, each layer against NumPy, and padding that never changes a result."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfpipe.config import MODEL_NAMES, load_recipe
from tfpipe.models import MODELS
from tfpipe.models.attention import SelfAttention
from tfpipe.models.constraints import ZeroCandidateBias, ZeroPaddingRow
from tfpipe.models.dropout import ResumableDropout
from tfpipe.models.embedding import EmbeddingProjection
from tfpipe.models.padding import POOLINGS, MaskedPooling, PaddingMask
from tfpipe.models.position import PositionEmbedding
from tfpipe.models.recurrent import Masked, ReverseTime

RNG = np.random.default_rng(7)
LAYERS = [
    EmbeddingProjection(4),
    MaskedPooling("mean_max"),
    Masked(),
    PaddingMask(),
    PositionEmbedding(5),
    ResumableDropout(0.5, 3, (0, 1)),
    ReverseTime(),
    SelfAttention(2),
]


def constrained(model):
    """Gives a model random weights that keep its constraints, as training does."""
    for variable in model.trainable_variables:
        variable.assign(RNG.normal(size=variable.shape, scale=0.5))
        if variable.constraint is not None:
            variable.assign(variable.constraint(variable))
    return model


def padded(lengths, sequence_length, vocabulary_size=50):
    token_ids = np.zeros((len(lengths), sequence_length), np.int32)
    for row, length in enumerate(lengths):
        token_ids[row, :length] = RNG.integers(1, vocabulary_size, length)
    return token_ids


def test_model_names_are_the_open_set():
    assert sorted(MODELS) == sorted(MODEL_NAMES)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_recipe_holds_exactly_the_builders_arguments(name):
    recipe = load_recipe(name, overrides=["model.dropout=0.5", "model.embedding_dropout=0.5"])
    MODELS[name](50, 8, 3, **recipe.model, seed=1)


@pytest.mark.parametrize("rank", [0, 3])
@pytest.mark.parametrize("pooling", sorted(POOLINGS))
@pytest.mark.parametrize("name", sorted(MODELS))
def test_padding_never_changes_a_result(name, pooling, rank):
    sizes = {"pooling": pooling, "embedding_dim": 8, "embedding_rank": rank}
    layers = {} if name == "average" else {"num_layers": 2}
    model = constrained(MODELS[name](50, 24, 3, **sizes, **layers))
    short = padded(range(9), 8)
    longer = np.pad(short, ((0, 0), (0, 16)))
    # 1e-6 of logits up to 90: float32 sums in another order.
    np.testing.assert_allclose(model(longer), model(short), rtol=1e-6, atol=1e-5)


def test_lstm_state_is_exactly_zero_on_padding():
    model = constrained(MODELS["lstm"](50, 24, 3, embedding_dim=8, units=8))
    states = keras.Model(model.input, model.get_layer("reverse").output)(padded([5], 24))
    assert np.abs(states[0, 5:]).max() == 0
    assert np.abs(states[0, :5]).min() > 0


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_layer_config_holds_every_constructor_argument(layer):
    copy = type(layer).from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()


def test_pooling_equals_numpy():
    lengths = [2, 4, 0, 1]
    states = RNG.normal(size=(len(lengths), 4, 2))
    mask = np.float64([[place < length for place in range(4)] for length in lengths])
    mean = [states[0, :2].mean(0), states[1].mean(0), [0, 0], states[3, 0]]
    highest = np.maximum([states[0, :2].max(0), states[1].max(0), [0, 0], states[3, 0]], 0)
    last = [states[0, 1], states[1, 3], [0, 0], states[3, 0]]
    expected = {"mean": mean, "max": highest, "last": last, "mean_max": np.hstack([mean, highest])}
    for pooling, values in expected.items():
        layer = MaskedPooling(pooling, dtype="float64")
        np.testing.assert_allclose(layer([states, mask[:, :, None]]), values, atol=1e-12)


def test_attention_equals_numpy():
    layer, width, heads, rng = SelfAttention(2), 6, 2, np.random.default_rng(1)
    states, mask = rng.normal(size=(1, 5, width)).astype("f4"), np.float32([1, 1, 1, 0, 0])
    layer([states, mask[None, :, None]])
    kernel, bias, output_kernel, output_bias = (
        rng.normal(size=weights.shape, scale=0.5) for weights in layer.get_weights()
    )
    layer.set_weights([kernel, bias, output_kernel, output_bias])
    query, key, value = np.split(states[0] @ kernel + bias, 3, axis=1)
    parts = []
    for head in range(heads):
        columns = slice(head * 3, head * 3 + 3)
        scores = np.exp(query[:, columns] @ key[:3, columns].T / np.sqrt(3))
        parts.append(scores / scores.sum(1, keepdims=True) @ value[:3, columns])
    expected = np.hstack(parts) @ output_kernel + output_bias
    actual = layer([states, mask[None, :, None]])[0]
    # 1e-5: float32 sums; a padded key keeps exp(-30) = 1e-13 of its weight.
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


def test_dropout_masks_depend_on_seed_and_count_alone():
    inputs = tf.ones((4, 5, 6))
    layer, twin = ResumableDropout(0.5, 3), ResumableDropout(0.5, 3)
    first, second = layer(inputs, training=True), layer(inputs, training=True)
    assert np.any(first != second)
    np.testing.assert_array_equal(twin(inputs, training=True), first)
    twin.set_weights([np.int64(1)])
    np.testing.assert_array_equal(twin(inputs, training=True), second)
    np.testing.assert_array_equal(layer(inputs, training=False), inputs)
    assert set(np.unique(first)) == {0.0, 2.0}


def test_dropout_shares_its_mask_along_the_other_axes():
    whole_tokens = ResumableDropout(0.5, 3, (0, 1))(tf.ones((4, 5, 6)), training=True).numpy()
    assert (whole_tokens == whole_tokens[:, :, :1]).all()
    assert len(np.unique(whole_tokens)) == 2


def test_constraints_zero_what_padding_needs():
    np.testing.assert_array_equal(ZeroPaddingRow()(tf.ones((3, 2))), [[0, 0], [1, 1], [1, 1]])
    np.testing.assert_array_equal(ZeroCandidateBias()(tf.ones(8)), [1, 1, 1, 1, 0, 0, 1, 1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ResumableDropout(1.0, 1), r"rate=1.0 must lie in \[0, 1\)"),
        (lambda: MaskedPooling("sum"), "pooling='sum' is unknown. Use one of"),
        (
            lambda: MODELS["transformer"](50, 8, 3, embedding_dim=64, num_heads=5),
            "num_heads=5 does not divide embedding_dim=64. Use one of",
        ),
        (lambda: MODELS["transformer"](50, 8, 3, norm="mid"), "norm='mid' is unknown"),
        (
            lambda: MODELS["textcnn"](50, 8, 3, smallest_kernel=4, largest_kernel=3),
            "largest_kernel=3 is below smallest_kernel=4",
        ),
        (
            lambda: MODELS["average"](50, 8, 3, embedding_dim=8, embedding_rank=9),
            "embedding_rank=9 is above model.embedding_dim=8",
        ),
        *(
            (
                lambda name=name: MODELS[name](50, 8, 3, embedding_rank=4, embedding_skip=False),
                "Give model.embedding_dim=4",
            )
            for name in ("lstm", "bilstm", "textcnn")
        ),
    ],
)
def test_bad_argument_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
