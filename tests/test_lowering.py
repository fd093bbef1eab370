"""The inference form against the training form, for every model, lowering and text length."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from ai_edge_litert import schema_py_generated as schema

from tfpipe.export.lowering import inference_form
from tfpipe.export.recurrence import RECURRENCES
from tfpipe.export.target import RECURRENT_MODELS, TARGETS, ExportError, possible_lowerings
from tfpipe.models import MODELS
from tfpipe.models.padding import MaskedPooling
from tfpipe.models.recurrent import ReverseTime

LENGTH, VOCABULARY_SIZE = 12, 40
CELLS = [
    (name, lowering)
    for name in sorted(MODELS)
    for lowering in (sorted(RECURRENCES) if name in RECURRENT_MODELS else ["unrolled"])
]


def texts_of_every_length(seed=3):
    rng = np.random.default_rng(seed)
    token_ids = np.zeros((LENGTH + 1, LENGTH), np.int32)
    for length in range(LENGTH + 1):
        token_ids[length, :length] = rng.integers(1, VOCABULARY_SIZE, length)
    return token_ids


def random_model(name, seed=3, **arguments):
    rng = np.random.default_rng(seed)
    model = MODELS[name](VOCABULARY_SIZE, LENGTH, 3, embedding_dim=8, **arguments)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape, scale=0.5))
        if variable.constraint is not None:
            variable.assign(variable.constraint(variable))
    return model


@pytest.mark.parametrize(("pooling", "rank"), [("last", 0), ("mean_max", 0), ("mean_max", 3)])
@pytest.mark.parametrize(("name", "lowering"), CELLS)
def test_inference_form_equals_training_form(name, lowering, pooling, rank):
    layers = {} if name == "average" else {"num_layers": 2}
    model = random_model(name, pooling=pooling, embedding_rank=rank, **layers)
    token_ids = texts_of_every_length()
    function = inference_form(model, sequence_length=LENGTH, lowering=lowering, multi_label=False)
    actual = [function(tf.constant(row[None]))["probabilities"][0] for row in token_ids]
    # 1e-5: float32 sums of at most 64 products, in another order.
    np.testing.assert_allclose(actual, tf.nn.softmax(model(token_ids)), rtol=0, atol=1e-5)


def assert_loop_is_model(model, length=LENGTH):
    token_ids = texts_of_every_length()[: length + 1, :length]
    function = inference_form(model, sequence_length=length, lowering="loop", multi_label=False)
    actual = [function(tf.constant(row[None]))["probabilities"][0] for row in token_ids]
    np.testing.assert_allclose(actual, tf.nn.softmax(model(token_ids)), rtol=0, atol=1e-5)
    return function


@pytest.mark.parametrize("pooling", ["last", "mean_max"])
@pytest.mark.parametrize("length", [1, 4, 10, 11])
@pytest.mark.parametrize("name", ["bilstm", "lstm"])
def test_loop_takes_a_length_that_its_blocks_do_not_divide(name, length, pooling):
    assert_loop_is_model(random_model(name, num_layers=2, pooling=pooling), length)


def carried_shapes(function):
    """Returns the shapes of what each loop carries."""
    loops = [op for op in function.graph.get_operations() if op.type in ("While", "StatelessWhile")]
    return [[tuple(value.shape) for value in loop.inputs] for loop in loops]


@pytest.mark.parametrize("length", [1, 4, 10, 11])
@pytest.mark.parametrize(("pooling", "rows"), [("mean", 1), ("max", 1), ("mean_max", 2)])
def test_loop_whose_states_are_pooled_carries_no_states(pooling, rows, length):
    model = random_model("lstm", pooling=pooling, units=6)
    (carried,) = carried_shapes(assert_loop_is_model(model, length))
    # Hidden and cell state, and a sum or a maximum or both.
    assert [shape for shape in carried if shape[-1:] == (6,)] == [(1, 6)] * (2 + rows)
    assert "ReverseV2" not in {op.type for op in assert_loop_is_model(model).graph.get_operations()}


def test_loop_carries_states_that_another_layer_reads():
    model = with_second_reader(random_model("lstm", units=6))
    (carried,) = carried_shapes(assert_loop_is_model(model))
    assert (LENGTH, 6) in carried


def test_loop_carries_states_of_a_layer_that_meets_the_padding_last():
    def forwards(layer):
        changed = {"go_backwards": False} if isinstance(layer, keras.layers.LSTM) else {}
        return type(layer).from_config({**layer.get_config(), **changed})

    model = keras.models.clone_model(random_model("lstm", units=6), clone_function=forwards)
    function = inference_form(model, sequence_length=LENGTH, lowering="loop", multi_label=False)
    (carried,) = carried_shapes(function)
    assert (LENGTH, 6) in carried


def test_loop_carries_states_of_a_layer_that_reads_other_than_zero_at_the_padding():
    whole = random_model("lstm", units=6)
    vectors = keras.layers.Dense(8, bias_initializer="ones")(whole.get_layer("embedding").output)
    states = keras.layers.LSTM(6, return_sequences=True, go_backwards=True)(vectors)
    pooled = MaskedPooling("mean_max")([ReverseTime()(states), whole.get_layer("mask").output])
    model = keras.Model(whole.input, keras.layers.Dense(3)(pooled))
    (carried,) = carried_shapes(assert_loop_is_model(model))
    assert (LENGTH, 6) in carried


def with_second_reader(model):
    """Returns a classifier whose logits see the states' maximum beside the pooled ones."""
    states = keras.layers.GlobalMaxPooling1D()(model.get_layer("reverse").output)
    features = keras.layers.Concatenate()([model.get_layer("features").output, states])
    return keras.Model(model.input, keras.layers.Dense(3)(features))


def test_condition_of_a_loop_is_one_comparison():
    # tflite-runtime 2.14 allocates anew in every iteration where a RESHAPE to a scalar ends it.
    model = random_model("bilstm", num_layers=2)
    function = inference_form(model, sequence_length=LENGTH, lowering="loop", multi_label=False)
    data = tf.lite.TFLiteConverter.from_concrete_functions([function], model).convert()
    graphs = schema.ModelT.InitFromPackedBuf(data, 0).subgraphs
    whiles = [
        op for op in graphs[0].operators if isinstance(op.builtinOptions, schema.WhileOptionsT)
    ]
    conditions = [graphs[op.builtinOptions.condSubgraphIndex] for op in whiles]
    assert [len(graph.operators) for graph in conditions] == [1] * 4


@pytest.mark.parametrize("branch_lengths", [[1, 4, 11], [6]])
def test_text_in_the_shortest_branch_that_holds_it_gives_what_it_gives_in_the_longest(
    branch_lengths,
):
    model = random_model("transformer", num_layers=2)
    token_ids = texts_of_every_length()
    token_ids[[5, 7], 2] = 0  # not padding: the last token does not fit where their number would
    function = inference_form(
        model,
        sequence_length=LENGTH,
        lowering="branches",
        multi_label=False,
        branch_lengths=branch_lengths,
    )
    actual = [function(tf.constant(row[None]))["probabilities"][0] for row in token_ids]
    np.testing.assert_allclose(actual, tf.nn.softmax(model(token_ids)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_multi_label_form_is_a_sigmoid_each(norm):
    model = random_model("transformer", norm=norm)
    token_ids = texts_of_every_length()
    function = inference_form(model, sequence_length=LENGTH, lowering="unrolled", multi_label=True)
    actual = [function(tf.constant(row[None]))["probabilities"][0] for row in token_ids]
    np.testing.assert_allclose(actual, tf.sigmoid(model(token_ids)), rtol=0, atol=1e-5)


def test_inference_form_holds_no_variable_and_no_random_op():
    function = inference_form(
        random_model("bilstm"), sequence_length=LENGTH, lowering="unrolled", multi_label=False
    )
    kinds = {op.type for op in function.graph.get_operations()}
    assert not [kind for kind in kinds if "Variable" in kind or "Random" in kind], kinds
    assert function.structured_input_signature[0][0].shape == (1, LENGTH)


def test_unknown_layer_is_named():
    inputs = keras.Input((None,), dtype=tf.int32)
    model = keras.Model(inputs, keras.layers.GaussianNoise(0.1, name="noise")(inputs))
    with pytest.raises(ValueError, match="'noise' of type GaussianNoise has no inference form"):
        inference_form(model, sequence_length=4, lowering="unrolled", multi_label=False)


@pytest.mark.parametrize(
    ("model", "scheme", "lowering", "sequence_length", "expected"),
    [
        ("lstm", "float32", "auto", 128, ("loop", "unrolled")),
        ("lstm", "float32", "auto", 129, ("loop",)),
        ("lstm", "int8", "auto", 129, ("loop",)),
        ("bilstm", "float32", "loop", 8, ("loop",)),
        ("bilstm", "int8", "unrolled", 1024, ("unrolled",)),
        ("imported_rnn", "int8", "auto", 300, ("unrolled",)),
        ("imported_rnn", "float32", "auto", 300, ("loop",)),
        ("transformer", "float32", "auto", 4096, ("branches", "static")),
        ("transformer", "int8", "branches", 64, ("branches",)),
        ("transformer", "int8", "static", 64, ("static",)),
        ("transformer", "int8", "unrolled", 64, ("static",)),
        ("transformer", "float16", "auto", 64, ("static",)),
        ("average", "float32", "static", 64, ("static",)),
    ],
)
def test_lowerings_of_a_request(model, scheme, lowering, sequence_length, expected):
    possible = possible_lowerings(
        model, target="cpu", scheme=scheme, lowering=lowering, sequence_length=sequence_length
    )
    assert possible == expected


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"target": "tpu"}, r"target='tpu' is unknown. Use one of \['cpu', 'edgetpu'"),
        ({"scheme": "int4"}, "scheme='int4' does not run on target 'cpu'. Use one of"),
        ({"lowering": "rolled"}, "lowering='rolled' does not run on target 'cpu'"),
        ({"lowering": "branches"}, "'branches' does not run on target 'cpu' with model 'lstm'"),
        ({"lowering": "static"}, "with model 'lstm' and scheme 'float32'. Use auto or one of"),
        ({"lowering": "unrolled", "sequence_length": 1025}, "over 1024 steps .* --lowering auto"),
    ],
)
def test_request_is_refused(request_, message):
    usual = {"target": "cpu", "scheme": "float32", "lowering": "auto", "sequence_length": 64}
    with pytest.raises(ExportError, match=message):
        possible_lowerings("lstm", **{**usual, **request_})


@pytest.mark.parametrize(("lowering", "length"), [("loop", 64), ("auto", 1025)])
def test_loop_of_an_imported_recurrence_has_no_int8(lowering, length):
    with pytest.raises(ExportError, match="int8 unrolled, up to 1024 steps. Use --scheme dynamic"):
        possible_lowerings(
            "imported_rnn", target="cpu", scheme="int8", lowering=lowering, sequence_length=length
        )


def test_targets_take_only_known_lowerings():
    for target in TARGETS.values():
        assert set(target.lowerings) <= set(RECURRENCES)
