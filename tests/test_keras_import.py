"""Somebody's Keras files → runs that compute the same, or one message that names the layer."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras as keras_3
import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras_2
from click.testing import CliRunner

import tfpipe
from device_runner.encode import Tokenizer
from tfpipe.cli import cli
from tfpipe.compress.options import CompressOptions
from tfpipe.compress.variant import compress
from tfpipe.devices.software_gpu import gpu_environment
from tfpipe.export.artifact import ExportOptions
from tfpipe.export.cells import CELLS as RECURRENT_CELLS
from tfpipe.export.lowering import LOWERED, inference_form
from tfpipe.import_keras import ImportOptions, import_keras
from tfpipe.keras_file import belongings, process, reading
from tfpipe.keras_file.belongings import open_tokenizer, read_examples, read_label_file
from tfpipe.keras_file.loading import load_keras
from tfpipe.keras_file.record import find_warnings
from tfpipe.keras_file.source import read_source
from tfpipe.keras_file.translate import translate
from tfpipe.keras_file.vetting import vet_layer, vet_model
from tfpipe.models.imported import LAYERS, build_imported
from tfpipe.run_folder import RunFolder
from tfpipe.tokenizer.rules import tokenizer_spec
from tfpipe.variant import load_model

NEEDS_GPU = pytest.mark.skipif(
    not gpu_environment(), reason="no SwiftShader: Chromium is not installed, or a driver is"
)
pytestmark = [
    # Keras 3 says so of every layer that lets a mask go, and that is what is tested.
    pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*HDF5 file:UserWarning"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]
LENGTH = 8
VOCABULARY = ["[PAD]", "[UNK]", *(f"w{index}" for index in range(18))]
LABELS = ["red", "green", "blue"]
Build = Callable[[Any], Any]


def masked_lstm(k: Any) -> Any:
    layers = k.layers
    return k.Sequential(
        [
            k.Input((LENGTH,)),  # float32, as most people leave it
            layers.Embedding(20, 6, mask_zero=True),
            layers.Dropout(0.3),
            layers.LSTM(5),
            layers.Dense(3, activation="softmax"),
        ]
    )


def bidirectional(k: Any) -> Any:
    layers = k.layers
    token_ids = k.Input((None,), dtype="int32")
    states = layers.Embedding(20, 6, mask_zero=True)(token_ids)
    states = layers.SpatialDropout1D(0.1)(states)
    states = layers.Bidirectional(layers.LSTM(4, return_sequences=True))(states)
    mean = layers.GlobalAveragePooling1D()(states)
    last = layers.Bidirectional(layers.GRU(4), merge_mode="mul")(states)
    features = layers.Concatenate()([mean, last])
    features = layers.BatchNormalization()(layers.Dense(6, use_bias=False)(features))
    features = layers.Activation("relu")(features)
    return k.Model(token_ids, layers.Dense(3)(features))


def convolution(k: Any) -> Any:
    layers = k.layers
    return k.Sequential(
        [
            k.Input((LENGTH,), dtype="int64"),
            layers.Embedding(20, 6),
            layers.Conv1D(5, 3, padding="causal", dilation_rate=2, activation="relu"),
            layers.Conv1D(5, 2, padding="same", use_bias=False),
            layers.MaxPooling1D(2),
            layers.AveragePooling1D(2, strides=1, padding="same"),
            layers.Conv1D(4, 3, strides=1, activation="gelu"),
            layers.GlobalMaxPooling1D(),
            layers.Dense(1, activation="sigmoid"),
        ]
    )


def held_states(k: Any) -> Any:
    """Layers that look at what masked recurrences give at padding."""
    layers = k.layers
    token_ids = k.Input((LENGTH,), dtype="int32")
    states = layers.Embedding(20, 6, mask_zero=True)(token_ids)
    states = layers.GRU(4, return_sequences=True, use_bias=False)(states)
    states = layers.LSTM(4, return_sequences=True)(states)
    flat = layers.Flatten()(states)
    backward = layers.GRU(4, go_backwards=True)(states)
    simple = layers.Bidirectional(layers.SimpleRNN(4), merge_mode="ave")(states)
    joined = layers.Add()([backward, simple, layers.Multiply()([backward, simple])])
    joined = layers.Maximum()([joined, layers.Subtract()([backward, simple])])
    joined = layers.Average()([joined, backward])
    return k.Model(
        token_ids, layers.Softmax()(layers.Dense(3)(layers.Concatenate()([flat, joined])))
    )


def nested(k: Any) -> Any:
    layers = k.layers
    encoder = k.Sequential(
        [layers.Embedding(20, 6), layers.LayerNormalization(scale=False), layers.ReLU()],
        name="encoder",
    )
    token_ids = k.Input((LENGTH,))
    states = layers.TimeDistributed(layers.Dense(5, activation="tanh"))(encoder(token_ids))
    states = layers.SimpleRNN(4, return_sequences=True, go_backwards=True)(states)
    pooled = layers.GlobalAveragePooling1D()(states)
    return k.Model(token_ids, layers.Activation("softmax")(layers.Dense(3)(pooled)))


def branches(k: Any) -> Any:
    """A mask that a nested model makes, joined masks, and a layer that is used twice."""
    layers = k.layers
    encoder = k.Sequential([layers.Embedding(20, 6, mask_zero=True), layers.Dropout(0.1)])
    token_ids = k.Input((LENGTH,))
    states = encoder(token_ids)
    first = layers.LSTM(4, return_sequences=True)(states)
    second = layers.LSTM(4, return_sequences=True)(states)
    mean = layers.GlobalAveragePooling1D()(layers.Concatenate()([first, second]))
    twice = layers.Dense(4, activation="tanh")
    last = layers.LSTM(4)(twice(twice(layers.Add()([first, second]))))
    probabilities = layers.Dense(3, activation="softmax")(layers.Concatenate()([mean, last]))
    return k.Model(token_ids, layers.Dropout(0.2)(probabilities))


MODELS: dict[str, Build] = {
    build.__name__: build
    for build in (masked_lstm, bidirectional, convolution, held_states, nested, branches)
}
FORMATS = {"keras": ".keras", "h5": ".h5", "savedmodel": ""}
CELLS = [
    ("masked_lstm", 3, "keras"),
    ("masked_lstm", 2, "savedmodel"),
    ("bidirectional", 3, "keras"),
    ("convolution", 2, "h5"),
    ("convolution", 3, "h5"),
    ("held_states", 2, "keras"),
    ("nested", 3, "keras"),
    ("branches", 3, "keras"),
    *(
        pytest.param(*cell, marks=pytest.mark.slow)
        for cell in (
            ("bidirectional", 2, "h5"),
            ("branches", 2, "h5"),
            ("held_states", 3, "keras"),
            ("nested", 2, "savedmodel"),
        )
    ),
]


def randomized(model: Any) -> Any:
    """Gives a model weights that matter: those of a new one hardly move its outputs."""
    random = np.random.default_rng(3)
    for layer in model.layers:
        positive = type(layer).__name__ == "BatchNormalization"
        values = [random.normal(0, 0.6, each.shape) for each in layer.get_weights()]
        layer.set_weights([np.abs(value) + 0.1 if positive else value for value in values])
    return model


def save(model: Any, folder: Path, file_format: str = "keras") -> Path:
    path = folder / f"model{FORMATS[file_format]}"
    if file_format == "savedmodel":
        model.save(path, save_format="tf")
    else:
        model.save(path)
    return path


def some_ids(number: int = 12) -> np.ndarray:
    """Padded on the right, as every tokenizer of ours pads; the first row has no padding."""
    random = np.random.default_rng(4)
    token_ids = random.integers(1, 20, (number, LENGTH), np.int32)
    lengths = random.integers(1, LENGTH + 1, number)
    lengths[0] = LENGTH
    token_ids[np.arange(LENGTH) >= lengths[:, None]] = 0
    return token_ids


def probabilities(model: Any, token_ids: np.ndarray) -> np.ndarray:
    """What the user's model says, as class probabilities in float64."""
    values = np.asarray(model(token_ids), np.float64)
    if values.shape[1] == 1:
        return np.concatenate([1 - values, values], 1)
    if np.allclose(values.sum(1), 1) and (values >= 0).all():
        return values
    exponents = np.exp(values - values.max(1, keepdims=True))
    return exponents / exponents.sum(1, keepdims=True)


def read(path: Path, work: Path, **options: Any) -> Any:
    """Loads and translates a file here, not in a process of its own; returns our model."""
    settings = {"sequence_length": LENGTH, "multi_label": False, **options}
    work.mkdir(exist_ok=True)
    description, weights = translate(load_keras(read_source(path), work), **settings)
    model = build_imported(json.loads(json.dumps(description)))
    for name, arrays in weights.items():
        model.get_layer(name).set_weights(arrays)
    return model


@pytest.mark.parametrize(("name", "version", "file_format"), CELLS)
def test_imported_model_computes_what_the_users_does(
    name: str, version: int, file_format: str, tmp_path: Path
) -> None:
    original = randomized(MODELS[name](keras_3 if version == 3 else keras_2))
    path = save(original, tmp_path, file_format)
    model = read(path, tmp_path / "work")
    token_ids = some_ids()
    expected = probabilities(original, token_ids)
    assert np.ptp(expected, axis=0).max() > 0.05, "the weights should tell the texts apart"
    for lowering in ("unrolled", "loop") if name == "held_states" else ("unrolled",):
        function = inference_form(
            model, sequence_length=LENGTH, lowering=lowering, multi_label=False
        )
        rows = [function(tf.constant(row[None]))["probabilities"].numpy() for row in token_ids]
        np.testing.assert_allclose(np.concatenate(rows), expected, rtol=0, atol=2e-6)


def test_several_labels_a_text_are_sigmoids(tmp_path: Path) -> None:
    layers = keras_3.layers
    head = (layers.LSTM(4), layers.Dense(3), layers.Activation("sigmoid"))
    original = randomized(sequential(keras_3, *head))
    path = save(original, tmp_path)
    model = read(path, tmp_path / "work", multi_label=True)
    function = inference_form(model, sequence_length=LENGTH, lowering="unrolled", multi_label=True)
    row = some_ids()[:1]
    expected = np.asarray(original(row))
    assert abs(expected.sum() - 1) > 0.01
    found = function(tf.constant(row))["probabilities"].numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)
    path = save(masked_lstm(keras_3), tmp_path)
    with pytest.raises(
        ValueError, match=r"softmax over 3 classes, one label a text\. Leave --mult"
    ):
        read(path, tmp_path / "work", multi_label=True)


def test_every_layer_of_an_import_has_an_inference_form() -> None:
    lowered = {kind.__name__ for kind in (*LOWERED, *RECURRENT_CELLS)} | {"LSTM"}
    assert set(LAYERS) <= lowered


def sequential(k: Any, *layers: Any, length: int | None = LENGTH) -> Any:
    return k.Sequential([k.Input((length,)), k.layers.Embedding(20, 6, mask_zero=True), *layers])


def two_outputs(k: Any) -> Any:
    token_ids = k.Input((LENGTH,))
    pooled = k.layers.GlobalMaxPooling1D()(k.layers.Embedding(20, 6)(token_ids))
    return k.Model(token_ids, [k.layers.Dense(3)(pooled), k.layers.Dense(2)(pooled)])


def with_state(k: Any) -> Any:
    token_ids = k.Input((LENGTH,))
    _, state = k.layers.GRU(4, return_state=True)(k.layers.Embedding(20, 6)(token_ids))
    return k.Model(token_ids, k.layers.Dense(3)(state))


def operation(k: Any) -> Any:
    token_ids = k.Input((LENGTH,))
    return k.Model(token_ids, k.layers.Dense(3)(k.layers.Embedding(20, 6)(token_ids)[:, 0] * 2.0))


def masked_nested(k: Any) -> Any:
    token_ids = k.Input((LENGTH,))
    states = k.layers.Embedding(20, 6, mask_zero=True)(token_ids)
    inner = k.Sequential([k.Input((LENGTH, 6)), k.layers.LSTM(4)], name="inner")
    return k.Model(token_ids, k.layers.Dense(3)(inner(states)))


def text_layer(k: Any) -> Any:
    layer = k.layers.TextVectorization(output_sequence_length=LENGTH, vocabulary=["a", "b"])
    texts = k.Input((), dtype="string")
    states = k.layers.Embedding(20, 6)(layer(texts))
    return k.Model(texts, k.layers.Dense(3)(k.layers.GlobalMaxPooling1D()(states)))


def reversed_bidirectional(k: Any) -> Any:
    forward, backward = k.layers.LSTM(4, go_backwards=True), k.layers.LSTM(4)
    layer = k.layers.Bidirectional(forward, backward_layer=backward, name="both")
    return sequential(k, layer, k.layers.Dense(3))


def refused_layer(
    name: str, *arguments: Any, ending: tuple[Any, ...] = (), **settings: Any
) -> Build:
    def build(k: Any) -> Any:
        layer = getattr(k.layers, name)(*arguments, name="odd", **settings)
        more = [getattr(k.layers, each)() for each in ending]
        return sequential(k, layer, *more, k.layers.Dense(3, activation="softmax"))

    return build


POOLED = ("GlobalMaxPooling1D",)
REFUSALS: dict[str, tuple[Build, str]] = {
    "two outputs": (two_outputs, r"has 2 outputs \(.*\), expected 1\. Save the part with one"),
    "state": (with_state, r"layer 'gru\w*' of class GRU has 2 outputs .* Leave return_state out"),
    "operation": (operation, r"'get_item\w*' of class GetItem has no inference form\. Those that"),
    "masked nested": (masked_nested, r"nested model 'inner' is handed a mask\. Put its layers"),
    "strings": (text_layer, r"of class TextVectorization takes strings.*give LAYER\.get_vocab"),
    "features": (
        lambda k: k.Sequential([k.Input((LENGTH,)), k.layers.Dense(4), k.layers.Dense(3)]),
        r"of class Dense reads the model's input itself: the model takes features",
    ),
    "sequences": (
        lambda k: sequential(k, k.layers.Dense(3)),
        r"gives shape \(None, 8, 3\), expected \(batch, num_classes\)",
    ),
    "merge": (
        reversed_bidirectional,
        r"layer 'both' of class Bidirectional has merge_mode='concat' and go_backwards=\[True",
    ),
    "stateful": (
        refused_layer("LSTM", 4, activation="relu"),
        r"layer 'odd' of class LSTM has activation='relu', which has no inference form\. Use",
    ),
    "backward": (
        refused_layer("GRU", 4, go_backwards=True, return_sequences=True, ending=POOLED),
        r"layer 'odd' of class GRU reads backwards and returns masked sequences.*Bidirectional",
    ),
    "unknown layer": (
        refused_layer("UnitNormalization", ending=POOLED),
        r"layer 'odd' of class UnitNormalization has no inference form\. Those that have one: Act",
    ),
    "activation": (
        refused_layer("LSTM", 4, recurrent_activation="hard_sigmoid"),
        r"layer 'odd' has activation='hard_sigmoid', which has no inference form\. Use one of elu",
    ),
    "groups": (
        refused_layer("Conv1D", 4, 2, groups=2, ending=POOLED),
        r"layer 'odd' of class Conv1D has groups=2, data_format='channels_last'\. Use groups=1",
    ),
    "channels": (
        refused_layer("MaxPooling1D", 2, data_format="channels_first", ending=POOLED),
        r"layer 'odd' of class MaxPooling1D has data_format='channels_first'\. Use 'channels_last",
    ),
    "keepdims": (
        refused_layer("GlobalMaxPooling1D", keepdims=True, ending=("Flatten",)),
        r"layer 'odd' of class GlobalMaxPooling1D has keepdims=True\. Use keepdims=False",
    ),
    "axis of a norm": (
        refused_layer("LayerNormalization", axis=1, ending=POOLED),
        r"layer 'odd' of class LayerNormalization has axis=.*Normalize features: axis=-1",
    ),
    "axis of a softmax": (
        refused_layer("Softmax", axis=1, ending=POOLED),
        r"layer 'odd' of class Softmax has axis=1\. Use axis=-1",
    ),
    "relu": (
        refused_layer("ReLU", max_value=3.0, ending=POOLED),
        r"layer 'odd' of class ReLU has max_value=3\.0\. Use a plain ReLU",
    ),
    "time distributed": (
        lambda k: sequential(
            k,
            k.layers.TimeDistributed(k.layers.LayerNormalization(), name="odd"),
            k.layers.LSTM(4),
            k.layers.Dense(3),
        ),
        r"layer 'odd' of class TimeDistributed holds a LayerNormalization\. Use a Dense",
    ),
    "ending": (
        lambda k: sequential(k, k.layers.LSTM(4), k.layers.Dense(3, activation="relu", name="end")),
        r"layer 'end' ends the model with activation='relu': neither probabilities nor logits",
    ),
    "no head": (
        lambda k: sequential(k, k.layers.LSTM(4, name="end")),
        r"layer 'end_last' of class MaskedPooling ends the model, expected a Dense layer",
    ),
    "sigmoids": (
        lambda k: sequential(k, k.layers.LSTM(4), k.layers.Dense(3, activation="sigmoid")),
        r"ends the model with 3 sigmoids, several labels a text\. Give --multi-label",
    ),
    "one class": (
        lambda k: sequential(k, k.layers.LSTM(4), k.layers.Dense(1, activation="softmax")),
        r"ends the model with a softmax over 1 classes, one label a text\. Leave --multi-label",
    ),
    "unbuilt": (
        lambda k: k.Sequential([k.layers.Embedding(20, 6), k.layers.LSTM(4), k.layers.Dense(3)]),
        r"the weights do not fit the layers: .* not yet been built.*\. Save the whole model again",
    ),
    "float input": (
        lambda k: k.Sequential([k.Input((LENGTH, 4)), k.layers.LSTM(4), k.layers.Dense(3)]),
        r"has an input of shape \(None, 8, 4\), expected \(batch, sequence_length\) of token ids",
    ),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_model_that_cannot_be_lowered_is_refused_by_its_layers_name(
    what: str, tmp_path: Path
) -> None:
    build, message = REFUSALS[what]
    path = save(build(keras_3), tmp_path)
    with pytest.raises(ValueError, match=message):
        read(path, tmp_path / "work")


def rewrite_config(path: Path, change: Callable[[str], str]) -> None:
    """Changes config.json in a .keras file, as whoever made the file could have."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["config.json"] = change(members["config.json"].decode()).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


@pytest.mark.parametrize("file_format", ["keras", "h5", "savedmodel"])
def test_lambda_is_refused_and_its_code_never_run(file_format: str, tmp_path: Path) -> None:
    k = keras_2 if file_format == "savedmodel" else keras_3
    mark = str(tmp_path / "ran")
    layer = k.layers.Lambda(lambda x: (os.path.exists(mark) or open(mark, "w").close(), x)[1])
    pooling = k.layers.GlobalMaxPooling1D()
    path = save(sequential(k, layer, pooling, k.layers.Dense(3)), tmp_path, file_format)
    Path(mark).unlink(missing_ok=True)
    with pytest.raises(ValueError, match=r"layer 'lambda\w*' of class Lambda holds Python code"):
        read(path, tmp_path / "work")
    assert not Path(mark).exists()


def test_object_that_a_configuration_names_is_never_made(tmp_path: Path) -> None:
    path = save(masked_lstm(keras_3), tmp_path)
    evil = {"module": "os", "class_name": "system", "config": f"touch {tmp_path}/ran"}
    text = '"embeddings_initializer": ' + json.dumps(evil) + ', "ignored": '
    rewrite_config(path, lambda config: config.replace('"embeddings_initializer": ', text))
    with pytest.raises(ValueError, match=r"layer 'embedding\w*' has ignored=.*, an object\. Build"):
        read(path, tmp_path / "work")
    rewrite_config(path, lambda config: config.replace('"ignored": ', '"kernel_regularizer": '))
    read(path, tmp_path / "work")
    assert not (tmp_path / "ran").exists()


LAYER = {"class_name": "Dense", "name": "odd", "config": {"units": 3}}
BAD_LAYERS = {
    "custom": (
        {**LAYER, "registered_name": "mine>Dense"},
        r"layer 'odd' of class mine>Dense has no inference form",
    ),
    "quantized": (
        {**LAYER, "config": {"dtype": {"config": {"name": "int8_from_float32"}}}},
        r"layer 'odd' has dtype='int8_from_float32'\. Save the model in float32",
    ),
    "lora": (
        {**LAYER, "config": {"lora_rank": 4}},
        r"layer 'odd' has lora_rank: Keras changed its weights\. Save the model before",
    ),
    "constant": (
        {**LAYER, "inbound_nodes": [{"args": [{"class_name": "__numpy__"}]}]},
        r"layer 'odd' is called with .*__numpy__.*, a constant\. Build the model from layers",
    ),
    "own activation": (
        {**LAYER, "config": {"activation": {"class_name": "function", "config": "mine"}}},
        r"layer 'odd' has activation='mine', which has no inference form",
    ),
    "nothing": ([], r"the model's configuration has the layer '\[\]'\. Save the whole model"),
}


@pytest.mark.parametrize("what", BAD_LAYERS)
def test_layer_that_brings_something_is_refused(what: str) -> None:
    layer, message = BAD_LAYERS[what]
    with pytest.raises(ValueError, match=message):
        vet_layer(layer, keras_3=True)


def test_model_of_a_class_of_its_own_is_refused() -> None:
    with pytest.raises(ValueError, match=r"of class 'Mine', a class of its own, whose code no"):
        vet_model({"class_name": "Mine", "config": {}}, keras_3=True)
    vetted = vet_model({"class_name": "Sequential", "config": [LAYER]}, keras_3=False)
    assert [layer["class_name"] for layer in vetted["config"]["layers"]] == ["Dense"]


def damaged(tmp_path: Path) -> dict[str, tuple[Path, str]]:
    """Files that are no whole models, and what is said of them."""
    whole = save(masked_lstm(keras_3), tmp_path)
    cut = tmp_path / "cut.keras"
    cut.write_bytes(whole.read_bytes()[:-100])
    text = tmp_path / "text.keras"
    text.write_text("no model")
    broken = tmp_path / "broken.h5"
    broken.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    weights = tmp_path / "only.weights.h5"
    masked_lstm(keras_3).save_weights(weights)
    untrained = shutil.copy(whole, tmp_path / "other.keras")
    rewrite_config(Path(untrained), lambda config: config.replace('"units": 5', '"units": 7'))
    version = tmp_path / "version.keras"
    with zipfile.ZipFile(version, "w") as archive:
        archive.writestr("config.json", '{"class_name": "Sequential", "config": {}}')
        archive.writestr("metadata.json", "{}")
    listed = tmp_path / "list.keras"
    with zipfile.ZipFile(listed, "w") as archive:
        archive.writestr("config.json", "[]")
    folders = {name: tmp_path / name for name in ("plain", "graph", "bad", "own")}
    for folder in folders.values():
        folder.mkdir()
    (folders["graph"] / "saved_model.pb").touch()
    (folders["bad"] / "keras_metadata.pb").write_bytes(b"\x0a\xff")
    (folders["own"] / "keras_metadata.pb").write_bytes(b"\x0a\x07\x22\x05_mine")
    return {
        "cut": (cut, r"cut\.keras is no whole \.keras file: .*\. Save the whole model again"),
        "text": (text, r"is neither a \.keras file, nor .* it begins with b'no model'"),
        "h5": (broken, r"broken\.h5 is no whole HDF5 file: .*\. Save the whole model again"),
        "weights": (weights, r"holds weights alone \(it has no model_config\)"),
        "other": (Path(untrained), r"the weights do not fit the layers: .* Save the whole"),
        "version": (version, r"keras_version=None is no version"),
        "list": (listed, r"list\.keras is no whole \.keras file: config\.json is no JSON object"),
        "plain": (folders["plain"], r"plain is a folder without keras_metadata\.pb, so its layers"),
        "graph": (folders["graph"], r"graph is a SavedModel without keras_metadata\.pb"),
        "bad": (folders["bad"], r"keras_metadata\.pb is damaged \(.*\)\. Save the whole model"),
        "own": (folders["own"], r"own: its model is a class of its own .* whose code no file"),
    }


def test_file_that_is_no_whole_model_is_refused(tmp_path: Path) -> None:
    for what, (path, message) in damaged(tmp_path).items():
        work = tmp_path / f"work-{what}"
        work.mkdir()
        with pytest.raises(ValueError, match=message):
            load_keras(read_source(path), work)


def write_belongings(folder: Path, *, number: int = 60) -> ImportOptions:
    random = np.random.default_rng(5)
    (folder / "vocabulary.txt").write_text("".join(f"{token}\n" for token in VOCABULARY))
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in LABELS))
    rows = ["text,label"]
    for _ in range(number):
        words = " ".join(f"w{index}" for index in random.integers(0, 20, random.integers(1, 10)))
        rows.append(f"{words},{random.choice(LABELS)}")
    (folder / "texts.csv").write_text("\n".join(rows) + "\n")
    names = ("vocabulary.txt", "labels.txt", "texts.csv")
    return ImportOptions(*(folder / name for name in names))


def job_of(path: Path, options: ImportOptions, folder: Path) -> dict[str, Any]:
    texts = folder / "texts.jsonl"
    texts.write_text("".join(f'{{"text": "w{index % 18} w1"}}\n' for index in range(30)))
    return {
        "model": str(path),
        "vocabulary": str(options.vocabulary),
        "texts": str(texts),
        "tokenizer": tokenizer_spec("wordpiece", True).to_json(),
        "num_labels": 3,
        "multi_label": options.multi_label,
        "sequence_length": options.sequence_length,
    }


def test_length_vocabulary_and_labels_must_fit_the_model(tmp_path: Path) -> None:
    options = write_belongings(tmp_path)
    job = job_of(save(bidirectional(keras_3), tmp_path), options, tmp_path)
    with pytest.raises(ValueError, match=r"takes texts of any length.*Give --sequence-length N"):
        reading.read_model(job, tmp_path)
    job = job_of(save(masked_lstm(keras_3), tmp_path), options, tmp_path)
    with pytest.raises(ValueError, match=r"sequence_length=9, but the model '\w+' takes 8 tokens"):
        reading.read_model({**job, "sequence_length": 9}, tmp_path)
    with pytest.raises(ValueError, match=r"the labels are 2, the model's classes 3\. Give one"):
        reading.read_model({**job, "num_labels": 2}, tmp_path)
    options.vocabulary.write_text("".join(f"{token}\n" for token in [*VOCABULARY, "one", "two"]))
    with pytest.raises(ValueError, match=r"has 22 tokens, the model's embedding 20 rows: ids from"):
        reading.read_model(job, tmp_path)


def test_translation_that_differs_is_never_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = write_belongings(tmp_path)
    job = job_of(save(randomized(masked_lstm(keras_3)), tmp_path), options, tmp_path)

    def wrong(*arguments: Any, **settings: Any) -> Any:
        description, weights = translate(*arguments, **settings)
        return description, {name: [each * 1.01 for each in w] for name, w in weights.items()}

    with monkeypatch.context() as patched:
        patched.setattr(reading, "translate", wrong)
        with pytest.raises(
            ValueError, match=r"the translated model differs by .* more than 0\.0001"
        ):
            reading.read_model(job, tmp_path)
    model = masked_lstm(keras_3)
    model.layers[0].set_weights([np.full((20, 6), np.nan, np.float32)])
    job["model"] = str(save(model, tmp_path))
    with pytest.raises(ValueError, match=r"the model's own outputs are not finite\. Train it"):
        reading.read_model(job, tmp_path)


def test_process_that_dies_or_hangs_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = tmp_path / "python"
    monkeypatch.setattr(process.sys, "executable", str(shell))
    for script, message in {
        "echo out of memory; kill -9 $$": r"was ended by SIGKILL\. Save .*\n  out of memory",
        "exit 3": r"failed with exit code 3\. .*\n  \(it printed nothing\)",
        "exec sleep 5": r"was not done after 0\.2 s and was ended\. Give fewer texts",
    }.items():
        shell.write_text(f"#!/bin/sh\n{script}\n")
        shell.chmod(0o755)
        limit = 0.2 if "sleep" in script else 60
        with pytest.raises(ValueError, match=message):
            process.read_model({"model": "m.keras"}, tmp_path, time_limit=limit)


@pytest.mark.parametrize(
    ("vocabulary", "kind", "lowercase"),
    [
        (VOCABULARY, "wordpiece", True),
        ([*VOCABULARY, "Apple"], "wordpiece", False),
        (["<PAD>", "<START>", "<UNKNOWN>", "w"], "word", True),
        (["<PAD>", "<UNKNOWN>", "w"], "char", True),
        (["", "[UNK]", "w", "École"], "text_vectorization", True),
    ],
)
def test_tokenizer_follows_from_the_vocabulary(
    vocabulary: list[str], kind: str, lowercase: bool, tmp_path: Path
) -> None:
    options = write_belongings(tmp_path)
    options.vocabulary.write_text("".join(f"{token}\n" for token in vocabulary))
    tokenizer, choices = open_tokenizer(options)
    assert (tokenizer.spec.kind, tokenizer.spec.lowercase) == (kind, lowercase)
    assert [choice["key"] for choice in choices] == ["tokenizer.kind", "tokenizer.lowercase"]


def test_what_belongs_to_a_model_is_checked(tmp_path: Path) -> None:
    options = write_belongings(tmp_path, number=30)
    with pytest.raises(ValueError, match=r"texts\.csv holds 30 labelled texts, fewer than 40"):
        read_examples(options, LABELS)
    with pytest.raises(ValueError, match=r"labels=\['red'\] are not among the run's"):
        read_examples(write_belongings(tmp_path), LABELS[1:])
    options.vocabulary.write_text("the\nof\n")
    with pytest.raises(ValueError, match=r"begins with \['the', 'of'\], as no kind of tokenizer"):
        open_tokenizer(options)
    options.vocabulary.write_text("[PAD]\n[UNK]\nthe\nthe\n")
    with pytest.raises(ValueError, match=r"vocabulary\.txt: Token 3 .* is there twice"):
        open_tokenizer(options)
    for content, message in {
        b"a\n\nb\n": r"labels\.txt has an empty line",
        b"a\nb\na\n": r"labels\.txt has \['a'\] twice\. Write one label a line",
        b"\xff\n": r"labels\.txt is not UTF-8",
    }.items():
        options.labels.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            read_label_file(options.labels)


def test_calibration_and_verification_texts_are_apart(tmp_path: Path) -> None:
    calibration, test = read_examples(write_belongings(tmp_path, number=60), LABELS)
    assert (len(calibration.texts), len(test.texts)) == (30, 30)
    rows = (tmp_path / "texts.csv").read_text().splitlines()[1:]
    assert sorted([*calibration.texts, *test.texts]) == sorted(row.split(",")[0] for row in rows)
    assert [LABELS[target] for target in test.targets] == [names[0] for names in test.labels]


def test_signs_of_another_training_are_told() -> None:
    content = {
        "metrics": {
            "test": {"accuracy": 0.2},
            "baseline": {"majority": {"accuracy": 0.4}},
        },
        "import": {"embedding_rows": 25},
    }
    tokenizer = Tokenizer(tokenizer_spec("wordpiece", True), VOCABULARY)
    first, second = find_warnings(content, tokenizer)
    assert first.startswith("The model is right in 20.0% of the texts, the most frequent label in")
    assert second.startswith("The vocabulary has 20 tokens, the embedding 25 rows: 5 of them")
    assert belongings.MIN_TEXTS == 40


@pytest.mark.parametrize("lowercase", [True, False])
def test_text_vectorization_gives_the_ids_of_keras(lowercase: bool) -> None:
    standardize = "lower_and_strip_punctuation" if lowercase else "strip_punctuation"
    words = ["dont", "Dont", "École", "École!", "a\x0bb", "a", "b", "naïve", "İstanbul", "x1"]
    layer = keras_3.layers.TextVectorization(
        output_sequence_length=6, vocabulary=words, standardize=standardize
    )
    texts = [
        "Don't, a: b!", "École ÉCOLE école", "a\x0bb\tA\u00a0b \u2003 a\x1cb", "", "?!", "naïve—a",
        "İSTANBUL İstanbul x-1 X1 ß ẞ", "a " * 20, "[UNK] unheard",
    ]  # fmt: skip
    tokenizer = Tokenizer(tokenizer_spec("text_vectorization", lowercase), layer.get_vocabulary())
    expected = np.asarray(layer(tf.constant(texts)))
    np.testing.assert_array_equal(tokenizer.encode_batch(texts, 6), expected)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that the command made of a Keras 3 file, with one artifact."""
    folder = tmp_path_factory.mktemp("imported")
    write_belongings(folder)
    save(randomized(masked_lstm(keras_3)), folder)
    result = export_keras(folder, "--lowering", "unrolled")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["name"] == "cpu-float32"
    assert "translated with a largest difference of" in result.stderr
    return folder / "run"


def export_keras(folder: Path, *options: str) -> Any:
    words = ["export", str(folder / "run"), "--keras", str(folder / "model.keras")]
    for name, file in (("vocabulary", "txt"), ("labels", "txt"), ("data", "csv")):
        stem = "texts" if name == "data" else name
        words += [f"--{name}", str(folder / f"{stem}.{file}")]
    return CliRunner().invoke(cli, [*words, *options], prog_name="tfpipe")


def test_imported_run_goes_the_whole_road(imported: Path) -> None:
    artifact = imported / "exports" / "cpu-float32"
    result = tfpipe.verify(artifact)
    assert result["passed"] and result["agreement"] == 1
    # The file, through the device's own runner, against the user's model in the user's Keras.
    original = keras_3.models.load_model(imported.parent / "model.keras")
    tokenizer = Tokenizer(tokenizer_spec("wordpiece", True), VOCABULARY)
    texts = ["w1 w2", "W3 unheard w17 w17", "w5 " * 30]
    expected = np.asarray(original(tokenizer.encode_batch(texts, LENGTH)))
    for row, said in zip(expected, tfpipe.predict(artifact, texts)["predictions"], strict=True):
        scores = [said["scores"][label] for label in LABELS]
        np.testing.assert_allclose(scores, row, rtol=0, atol=1e-6)
    content = RunFolder(imported).read()
    assert content["model"] == "imported_rnn"
    assert content["metrics"]["test"]["accuracy"] == pytest.approx(result["keras"])
    report = tfpipe.report(imported)
    text = (imported / "report.md").read_text()
    assert "On the texts for verification (n=30) the Keras model has accuracy" in text
    assert "model.keras of Keras 3" in text and "imported; verified on texts of texts.csv" in text
    (command, *_) = report["run"]["commands"]
    assert command.startswith("tfpipe export run-again --as cpu-float32 --keras model.keras --data")
    assert "--vocabulary run/vocabulary.txt" in command and "--sequence-length 8" in command


def test_import_that_is_there_is_taken_as_it_is(
    imported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("the model was read again")

    monkeypatch.setattr("tfpipe.import_keras.read_model", never)
    result = export_keras(imported.parent)
    assert result.exit_code == 1 and "artifact=" in result.output and "exists" in result.output
    result = export_keras(imported.parent, "--keep-case")
    assert result.exit_code == 1
    assert "was made of other files or options. Give --overwrite to replace it" in result.output


def test_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    options = write_belongings(tmp_path)
    model = tmp_path / "model.keras"
    model.touch()
    (tmp_path / "trained").mkdir()
    (tmp_path / "trained" / "run.json").write_text('{"recipe": {}, "model": "lstm"}')
    with pytest.raises(FileExistsError, match=r"holds a model that was trained here\. Give anoth"):
        import_keras(model, tmp_path / "trained", options, overwrite=True)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    with pytest.raises(ValueError, match=r"exists and is no run of tfpipe"):
        import_keras(model, tmp_path / "folder", options, overwrite=True)
    with pytest.raises(ValueError, match=r"labels='.*' is not there\. Give the path of a file"):
        options.labels.unlink()
        import_keras(model, tmp_path / "run", options)
    assert not (tmp_path / "run").exists()


def test_imported_model_is_not_trained_on(imported: Path) -> None:
    with pytest.raises(ValueError, match=r"holds an imported model, which is not trained on here"):
        compress(imported, "small", CompressOptions(prune=0.5))
    assert not (imported / "variants" / "small").exists()


def test_damaged_description_is_one_clear_error(imported: Path, tmp_path: Path) -> None:
    run = RunFolder(Path(shutil.copytree(imported, tmp_path / "run")))
    run.description.write_text('{"layers": [{"type": "Lambda"}]}')
    with pytest.raises(ValueError, match=r"layers\.json does not describe this run's model"):
        load_model(run, "base")


def test_options_of_a_keras_file_come_together(tmp_path: Path) -> None:
    def usage(*words: str) -> str:
        result = CliRunner().invoke(cli, ["export", *words], prog_name="tfpipe")
        assert result.exit_code == 2
        return result.output

    assert "Give RUN, a trained run, or --keras FILE." in usage()
    assert "--sequence-length belongs to --keras FILE." in usage("run", "--sequence-length", "9")
    missing = usage("run", "--keras", str(tmp_path))
    assert "--keras needs --vocabulary, --labels, --data as well." in missing


@pytest.fixture(scope="module")
def held_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the model with the most kinds of layers."""
    folder = tmp_path_factory.mktemp("held")
    model = save(randomized(held_states(keras_3)), folder)
    import_keras(model, folder / "run", write_belongings(folder))
    return folder / "run"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "scheme"),
    [
        ("cpu", "int8"),
        ("cpu", "dynamic_int8"),
        ("edgetpu", "int8"),
        ("onnx", "float32"),
        pytest.param("gpu", "float16", marks=NEEDS_GPU),
    ],
)
def test_imported_model_goes_to_every_target(target: str, scheme: str, held_run: Path) -> None:
    made = tfpipe.export(
        held_run, ExportOptions(target=target, scheme=scheme, lowering="auto"), overwrite=True
    )
    result = tfpipe.verify(made["artifact"])
    assert result["passed"] and result["num_examples"] == 30
