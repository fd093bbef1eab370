"""tfpipe.train.fit and its parts: the formulas by hand, and what one update changes."""

import csv
import math

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from sklearn.utils.class_weight import compute_class_weight

from tfpipe.arrays import read_arrays, write_arrays
from tfpipe.metrics import near_best
from tfpipe.models import MODELS
from tfpipe.models.constraints import project_gradients
from tfpipe.run_folder import RunFolder
from tfpipe.train import fit
from tfpipe.train.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from tfpipe.train.corpus import EncodedSplit
from tfpipe.train.fit import Trainer
from tfpipe.train.optimization import (
    average_weights,
    averaging_decay,
    cross_entropy,
    learning_rate,
    make_optimizer,
    optimizer_variables,
    precision,
    wants_mixed_precision,
    weigh_classes,
)

VOCABULARY_SIZE = 30
DIMENSIONS = {"embedding_dim": 4, "token_dropout": 0.1, "embedding_dropout": 0.1}


def encoded(path, num_examples, *, multi_label=False, seed=1):
    """Texts whose first token is their class, followed by chance."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 3, num_examples)
    texts = [[1 + c, *rng.integers(4, VOCABULARY_SIZE, rng.integers(0, 5))] for c in classes]
    offsets = np.cumsum([0, *map(len, texts)])
    np.concatenate(texts).astype(np.uint16).tofile(path)
    targets = np.eye(3, dtype=np.uint8)[classes] if multi_label else classes.astype(np.int32)
    return EncodedSplit(path, offsets, targets, dtype=np.uint16)


@pytest.fixture
def make_trainer(tmp_path, small_recipe):
    def make(*overrides, model="average", multi_label=False, num_train=40):
        settings = small_recipe(model, *overrides).train
        folder = RunFolder(tmp_path / "run")
        folder.begin(overwrite=False)
        splits = {
            name: encoded(tmp_path / name, size, multi_label=multi_label, seed=size)
            for name, size in {"train": num_train, "validation": 12}.items()
        }
        return Trainer(
            lambda: MODELS[model](VOCABULARY_SIZE, 8, 3, **DIMENSIONS, seed=settings["seed"]),
            settings,
            **splits,
            num_classes=3,
            run=folder,
        )

    return make


def ignore(_):
    pass


# --- The formulas ---


def test_learning_rate_rises_then_falls_along_a_cosine():
    settings = {"learning_rate": 0.2, "warmup_fraction": 0.1}
    rates = [learning_rate(settings, done=done, total=100) for done in range(101)]
    assert rates[0] == pytest.approx(0.02)
    assert rates[9] == rates[10] == pytest.approx(0.2)
    # Half way down, cos = 0: the mean of the highest and a hundredth of it.
    assert rates[55] == pytest.approx(0.2 * 0.505)
    # A third of the way cos = 1/2: 0.01 + 0.99 * 0.75.
    assert rates[40] == pytest.approx(0.2 * 0.7525)
    assert rates[100] == pytest.approx(0.002)
    assert (np.diff(rates[10:]) < 0).all()


@pytest.mark.parametrize(("fraction", "first"), [(0, 1.0), (1, 0.25)])
def test_learning_rate_without_or_with_nothing_but_warm_up(fraction, first):
    settings = {"learning_rate": 1.0, "warmup_fraction": fraction}
    rates = [learning_rate(settings, done=done, total=4) for done in range(5)]
    assert rates[0] == first and max(rates) == 1.0 and min(rates) > 0


def test_loss_of_one_label_equals_numpy():
    rng = np.random.default_rng(1)
    logits, targets = rng.normal(size=(5, 3)).astype("f4"), np.array([0, 2, 1, 1, 0], np.int32)
    weights = np.float32([1.0, 2.0, 0.5])
    log_probabilities = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    wanted = np.eye(3)[targets] * 0.8 + 0.2 / 3
    expected = -(wanted * log_probabilities).sum(1) * weights[targets]
    actual = cross_entropy(tf.constant(targets), tf.constant(logits), weights, smoothing=0.2)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
    plain = cross_entropy(tf.constant(targets), tf.constant(logits), np.ones(3, "f4"), smoothing=0)
    np.testing.assert_allclose(plain, -log_probabilities[np.arange(5), targets], rtol=1e-5)


def test_loss_of_several_labels_equals_numpy():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(4, 3)).astype("f4")
    targets = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]], np.int32)
    weights = np.float32([1.0, 2.0, 0.5])
    scores, wanted = 1 / (1 + np.exp(-logits)), targets * 0.8 + 0.1
    losses = -(wanted * np.log(scores) + (1 - wanted) * np.log(1 - scores))
    actual = cross_entropy(tf.constant(targets), tf.constant(logits), weights, smoothing=0.2)
    np.testing.assert_allclose(actual, (losses * weights).mean(1), rtol=1e-5)


def test_balanced_weights_equal_scikit_learn():
    targets = np.array([0] * 7 + [1] * 2 + [3], np.int32)
    expected = compute_class_weight("balanced", classes=np.array([0, 1, 3]), y=targets)
    weights = weigh_classes(targets, 4, {"class_weights": "balanced"})
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights, np.insert(expected, 2, 1), rtol=1e-6)
    assert weigh_classes(targets, 4, {"class_weights": "none"}).tolist() == [1, 1, 1, 1]


def test_balanced_weights_of_several_labels_are_hand_made():
    # 300 rows, as uint8 sums would overflow; labels counted 300, 100, 0.
    targets = np.zeros((300, 3), np.uint8)
    targets[:, 0] = 1
    targets[:100, 1] = 1
    weights = weigh_classes(targets, 3, {"class_weights": "balanced"})
    np.testing.assert_allclose(weights, [400 / (2 * 300), 400 / (2 * 100), 1])


def test_running_mean_is_hand_made():
    mean, weight = tf.Variable([1.0, 2.0]), tf.Variable([3.0, 10.0])
    # After 89 updates (1 + 89) / (10 + 89) = 10/11 is below 0.99.
    average_weights([mean], [weight], decay=0.99, updates=89)
    np.testing.assert_allclose(mean, [3 - 2 * 10 / 11, 10 - 8 * 10 / 11], rtol=1e-6)
    mean.assign([1.0, 2.0])
    average_weights([mean], [weight], decay=0.5, updates=89)
    np.testing.assert_allclose(mean, [2.0, 6.0])
    average_weights([mean], [weight], decay=0, updates=89)
    np.testing.assert_array_equal(mean, weight)


def test_running_mean_looks_back_on_a_share_of_the_training():
    assert averaging_decay(0.1, 1000) == 0.99
    assert averaging_decay(0, 1000) == averaging_decay(0.1, 5) == 0


def test_precision_is_that_of_the_layers_made_within():
    before = keras.mixed_precision.global_policy().name
    with precision(True):
        assert keras.layers.Dense(1).compute_dtype == "float16"
    assert keras.layers.Dense(1).compute_dtype == "float32"
    assert keras.mixed_precision.global_policy().name == before
    assert wants_mixed_precision("on") and not wants_mixed_precision("off")
    assert wants_mixed_precision("auto") == bool(tf.config.list_physical_devices("GPU"))


# --- Gradients of what padding holds at zero ---


@pytest.mark.parametrize("dense", [False, True])
def test_gradients_of_weights_held_at_zero_are_zero(dense):
    model = MODELS["lstm"](VOCABULARY_SIZE, 64, 3, embedding_dim=4, units=4, num_layers=1)
    rng = np.random.default_rng(3)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
        if variable.constraint is not None:
            variable.assign(variable.constraint(variable))
    token_ids = np.zeros((3, 64), np.int32)
    token_ids[:, :3] = rng.integers(1, VOCABULARY_SIZE, (3, 3))
    variables = model.trainable_variables
    with tf.GradientTape() as tape:
        targets = tf.constant([0, 1, 2])
        losses = cross_entropy(targets, model(token_ids), tf.ones(3), smoothing=0.0)
    raw = tape.gradient(losses, variables)
    if dense:
        raw = [tf.convert_to_tensor(gradient) for gradient in raw]
    kept = project_gradients(raw, variables)
    before = {v.name: tf.convert_to_tensor(g).numpy() for v, g in zip(variables, raw, strict=True)}
    after = {v.name: tf.convert_to_tensor(g).numpy() for v, g in zip(variables, kept, strict=True)}
    table = next(name for name in before if "embeddings" in name)
    bias = next(name for name in before if "lstm" in name and "bias" in name)
    assert np.abs(before[table][0]).max() > 0 and np.abs(before[bias][8:12]).max() > 0
    assert np.abs(after[table][0]).max() == np.abs(after[bias][8:12]).max() == 0
    before[table][0] = 0
    before[bias][8:12] = 0
    for name in before:
        np.testing.assert_array_equal(after[name], before[name])
        assert np.abs(after[name]).max() > 0


# --- The checkpoint ---


def test_checkpoint_gives_back_what_it_was_given(tmp_path):
    line = dict.fromkeys(
        ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds"), 1.0
    )
    groups = {"model": [np.arange(3.0), np.int64(4)], "optimizer": []}
    for state in (TrainingState(), TrainingState(1, 2, 3.5, 4, 5.5, 0.9, 1, [line])):
        save_checkpoint(tmp_path / "c.npz", groups, state)
        found, again = load_checkpoint(tmp_path / "c.npz", groups)
        assert again == state
        np.testing.assert_array_equal(found["model"][0], groups["model"][0])
        assert found["model"][1] == 4 and found["optimizer"] == []


def test_checkpoint_of_another_model_is_refused(tmp_path):
    path = tmp_path / "c.npz"
    save_checkpoint(path, {"model": [np.zeros(3)]}, TrainingState())
    message = r"c\.npz does not fit .*\(model\.0 has the shape \(3,\) where the model needs \(4,\)"
    with pytest.raises(ValueError, match=message):
        load_checkpoint(path, {"model": [np.zeros(4)]})
    with pytest.raises(ValueError, match=r"model\.1 is missing\)\. Remove it to begin ag"):
        load_checkpoint(path, {"model": [np.zeros(3), np.zeros(3)]})


def test_damaged_arrays_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    write_arrays(path, {"x": np.arange(1000.0)})
    np.testing.assert_array_equal(read_arrays(path)["x"], np.arange(1000.0))
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[4000] ^= 1
    np.save(tmp_path / "one.npy", np.zeros(3))
    pickled = tmp_path / "pickled.npz"
    np.savez(pickled, x=np.array([{}], object))
    damaged = [b"", whole[:100], whole[:-30], bytes(flipped), b"text", pickled.read_bytes()]
    for content in [*damaged, (tmp_path / "one.npy").read_bytes()]:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.npz is no whole \.npz file: .*\. Restore it"):
            read_arrays(path)


# --- The trainer ---


@pytest.mark.parametrize("multi_label", [False, True])
def test_training_learns_and_measures_what_it_kept(make_trainer, multi_label):
    trainer = make_trainer("train.epochs=12", multi_label=multi_label, num_train=120)
    trainer.fit(ignore)
    history = trainer.state.history
    losses = [entry["val_loss"] for entry in history]
    assert losses[-1] < losses[0]
    best = history[trainer.state.best_epoch - 1]
    assert multi_label or best["val_accuracy"] >= max(e["val_accuracy"] for e in history) - 0.1
    loss, figures = trainer.evaluate(trainer.validation)
    assert loss == pytest.approx(best["val_loss"], rel=1e-6)
    assert figures["accuracy"] == best["val_accuracy"]
    assert figures["accuracy"] > 0.9
    with trainer.run.history_csv.open() as file:
        lines = list(csv.DictReader(file))
    assert [float(line["val_loss"]) for line in lines] == losses
    assert float(lines[-1]["learning_rate"]) == pytest.approx(0.0002, rel=0.05)


def test_the_last_epoch_within_one_standard_error_is_near_best():
    # 100 texts, 90 of them right: the error of that share is sqrt(0.9 * 0.1 / 100) = 0.03.
    assert near_best(0.9, 0.9, 100) and near_best(0.871, 0.9, 100)
    assert not near_best(0.869, 0.9, 100)
    assert near_best(1.0, 1.0, 5) and not near_best(0.99, 1.0, 100)


def test_early_stopping_gives_back_the_best_epoch(make_trainer, monkeypatch):
    trainer = make_trainer("train.epochs=20", "train.early_stopping_patience=2")
    # Of 10 or more texts, 0.2 differs from 1; the loss is not asked.
    measured, seen = iter([(3.0, 0.8), (3.5, 1.0), (2.0, 0.2), (1.0, 0.2), (1.0, 1.0)]), []
    assert len(trainer.validation.lengths) >= 10

    def evaluate(_):
        seen.append(trainer.averaged.get_weights())
        loss, accuracy = next(measured)
        return loss, {"accuracy": accuracy}

    monkeypatch.setattr(trainer, "evaluate", evaluate)
    trainer.fit(ignore)
    assert (trainer.state.epoch, trainer.state.best_epoch) == (4, 2)
    for kept, best, last in zip(trainer.averaged.get_weights(), seen[1], seen[3], strict=True):
        np.testing.assert_array_equal(kept, best)
        assert best.size == 1 or not np.array_equal(best, last)
    # A training that was stopped there and resumed ends there too.
    again = make_trainer("train.epochs=20", "train.early_stopping_patience=2")
    assert again.restore()
    again.fit(lambda _: pytest.fail("trained on"))
    np.testing.assert_array_equal(again.averaged.get_weights()[0], seen[1][0])


def test_without_averaging_the_last_weights_are_kept(make_trainer):
    trainer = make_trainer("train.weight_averaging=0", "train.epochs=1")
    trainer.fit(ignore)
    mean = make_trainer("train.weight_averaging=0.9", "train.epochs=1")
    mean.run.checkpoint.unlink()
    mean.fit(ignore)
    pairs = zip(
        trainer.model.trainable_variables, trainer.averaged.trainable_variables, strict=True
    )
    for weight, kept in pairs:
        np.testing.assert_array_equal(weight, kept)
    assert np.any(mean.model.get_weights()[0] != mean.averaged.get_weights()[0])
    np.testing.assert_array_equal(mean.model.get_weights()[0], trainer.model.get_weights()[0])


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_loss_that_is_not_finite_ends_the_training(make_trainer, monkeypatch, loss):
    trainer = make_trainer()
    monkeypatch.setattr(trainer, "evaluate", lambda _: (loss, {"accuracy": 0.0}))
    message = r"epoch 1: the validation loss is (nan|inf)\. Lower train\.learning_rate=0\.02 or set"
    with pytest.raises(ValueError, match=message):
        trainer.fit(ignore)


def test_checkpoints_come_by_the_clock_too(make_trainer, monkeypatch):
    monkeypatch.setattr(fit, "CHECKPOINT_SECONDS", -1)
    trainer = make_trainer("train.epochs=1")
    saved = []
    monkeypatch.setattr(trainer, "save", lambda: saved.append(trainer.state.step))
    trainer.fit(ignore)
    assert saved == [1, 2, 3, 0]  # 40 texts are 3 batches of 16; then the end of the epoch


def test_training_resumed_at_any_update_is_the_same(make_trainer, monkeypatch):
    class Killed(Exception):
        pass

    through = make_trainer("train.epochs=2")
    through.fit(ignore)
    monkeypatch.setattr(fit, "CHECKPOINT_SECONDS", -1)
    through.run.checkpoint.unlink()
    for stop in [(1, 1), (1, 3), (2, 2)]:

        def kill(progress, stop=stop):
            if (progress.epoch, progress.step) == stop:
                raise Killed

        killed = make_trainer("train.epochs=2")
        killed.restore()
        with pytest.raises(Killed):
            killed.fit(kill)
    last = make_trainer("train.epochs=2")
    assert last.restore()
    assert (last.state.epoch, last.state.step) == (1, 2)
    last.fit(ignore)
    for one, other in zip(last.best, through.best, strict=True):
        np.testing.assert_array_equal(one, other)
    assert [entry["loss"] for entry in last.state.history] == pytest.approx(
        [entry["loss"] for entry in through.state.history]
    )


def test_mixed_precision_trains_and_resumes_with_its_loss_scale(make_trainer):
    trainer = make_trainer("train.mixed_precision=on", "train.epochs=2")
    assert trainer.model.get_layer("embedding").compute_dtype == "float16"
    assert keras.mixed_precision.global_policy().name == "float32"
    assert all(value.dtype in (np.float32, np.int64) for value in trainer.averaged.get_weights())
    trainer.fit(ignore)
    assert all(np.isfinite(value).all() for value in trainer.averaged.get_weights())
    assert math.isfinite(trainer.state.history[-1]["val_loss"])
    trainer.optimizer._loss_scale.current_loss_scale.assign(512.0)
    trainer.optimizer.dynamic_counter.assign(7)
    trainer.save()
    again = make_trainer("train.mixed_precision=on", "train.epochs=2")
    assert again.restore()
    assert float(again.optimizer.loss_scale) == 512.0
    assert int(again.optimizer.dynamic_counter) == 7
    assert len(optimizer_variables(trainer.optimizer)) == len(trainer.optimizer.variables) + 2


def test_biases_and_norms_are_not_decayed():
    model = MODELS["transformer"](VOCABULARY_SIZE, 8, 3, embedding_dim=4, num_heads=2)
    settings = {"learning_rate": 1.0, "weight_decay": 0.5, "gradient_clip_norm": 0.0}
    optimizer = make_optimizer(settings, model, loss_scaling=False)
    variables = model.trainable_variables
    for variable in variables:
        variable.assign(tf.ones_like(variable))
    optimizer.apply_gradients((tf.zeros_like(variable), variable) for variable in variables)
    decayed = {variable.name for variable in variables if np.any(variable.numpy() != 1)}
    for variable in variables:
        held = any(word in variable.name for word in ("bias", "gamma", "beta", "positions"))
        assert (variable.name in decayed) != held, variable.name
