"""A model and encoded splits → trained weights, with a checkpoint that a killed training resumes."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from numpy.typing import NDArray

from device_runner.files import write_file_atomic
from tfpipe.corpus import EncodedSplit
from tfpipe.fit_progress import Progress
from tfpipe.metrics import predict_labels, score_predictions
from tfpipe.models.constraints import project_gradients
from tfpipe.run_folder import RunFolder

CHECKPOINT_SECONDS = 60  # a killed training loses at most this, and the step it was in
EVALUATION_BATCH = 256
# Validation losses this close are a tie, which the later epoch wins: its learning rate is lower and
# its running mean of the weights longer.
LOSS_TIE = 1.01
HISTORY_FIELDS = (
    "epoch",
    "loss",
    "accuracy",
    "val_loss",
    "val_accuracy",
    "learning_rate",
    "seconds",
)


@dataclass
class TrainingState:
    """Where a training stands, beside the weights: everything here is in the checkpoint.

    Attributes:
        epoch: Finished epochs.
        step: Updates done in the epoch after those.
        loss_sum: Sum over that epoch's texts of the loss so far.
        correct: Texts of that epoch so far whose prediction was right.
        seconds: Time spent on that epoch so far.
        best_loss: Lowest validation loss so far.
        best_epoch: The epoch that had it, from 1; 0 before the first.
        history: One dict an epoch.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    correct: float = 0.0
    seconds: float = 0.0
    best_loss: float = math.inf
    best_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


class Trainer:
    """One training: two copies of a model (the one that learns and the running mean of its
    weights), an optimizer, and the state that a checkpoint holds.

    Args:
        build: Makes the model; called twice.
        settings: The recipe's [train] section, `epochs` chosen.
        train: The training rows.
        validation: The rows that choose the best epoch.
        num_classes: Outputs of the model.
        run: Where checkpoint and history go.
    """

    def __init__(
        self,
        build: Callable[[], keras.Model],
        settings: Mapping[str, Any],
        *,
        train: EncodedSplit,
        validation: EncodedSplit,
        num_classes: int,
        run: RunFolder,
    ) -> None:
        self.settings, self.train, self.validation = settings, train, validation
        self.num_classes, self.run = num_classes, run
        self.multi_label = train.targets.ndim == 2
        use_mixed_precision(settings["mixed_precision"])
        keras.utils.set_random_seed(settings["seed"])
        # Without it the gradient of an embedding adds up in the order threads happen to finish.
        tf.config.experimental.enable_op_determinism()
        self.model, self.averaged = build(), build()
        for variable in self.model.trainable_variables:
            if variable.constraint is not None:
                variable.assign(variable.constraint(variable))
        self.averaged.set_weights(self.model.get_weights())
        self.optimizer = make_optimizer(settings, self.model)
        self.class_weights = tf.constant(weigh_classes(train.targets, num_classes, settings))
        self.steps = math.ceil(len(train.lengths) / settings["batch_size"])
        self.best = self.averaged.get_weights()
        self.state = TrainingState()
        self.update = tf.function(self._update, input_signature=self._signature(), autograph=False)
        self.infer = tf.function(
            lambda token_ids: self.averaged(token_ids, training=False),
            input_signature=[tf.TensorSpec((None, None), tf.int32)],
            autograph=False,
        )

    def _signature(self) -> list[tf.TensorSpec]:
        targets = (None, self.num_classes) if self.multi_label else (None,)
        token_ids = tf.TensorSpec((None, None), tf.int32)
        return [token_ids, tf.TensorSpec(targets, tf.int32), tf.TensorSpec((), tf.float32)]

    def _update(self, token_ids: Any, targets: Any, learning_rate: Any) -> tuple[Any, Any]:
        """One step of the optimizer and of the running mean; returns (summed loss, right ones)."""
        self.optimizer.learning_rate = learning_rate
        with tf.GradientTape() as tape:
            logits = self.model(token_ids, training=True)
            losses = self.losses(targets, logits, smoothing=self.settings["label_smoothing"])
            loss = tf.reduce_mean(losses)
            scaled = getattr(self.optimizer, "get_scaled_loss", tf.identity)(loss)
        gradients = tape.gradient(scaled, self.model.trainable_variables)
        gradients = getattr(self.optimizer, "get_unscaled_gradients", list)(gradients)
        variables = self.model.trainable_variables
        gradients = project_gradients(gradients, variables)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        # Early on the mean is over few steps, so that it forgets the initial weights.
        done = tf.cast(self.optimizer.iterations, tf.float32)
        decay = tf.minimum(self.settings["weight_averaging"], (1 + done) / (10 + done))
        decay = decay if self.settings["weight_averaging"] else 0.0
        for mean, variable in zip(
            self.averaged.trainable_variables, self.model.trainable_variables, strict=True
        ):
            mean.assign(variable + decay * (mean - variable))
        if self.multi_label:
            right = tf.reduce_all((logits > 0) == (targets > 0), 1)
        else:
            right = tf.argmax(logits, 1, tf.int32) == targets
        return tf.reduce_sum(losses), tf.reduce_sum(tf.cast(right, tf.float32))

    def losses(self, targets: Any, logits: Any, *, smoothing: float) -> Any:
        """Returns cross-entropy per text, float32 `(batch,)`, weighted by the text's class."""
        if self.multi_label:
            wanted = tf.cast(targets, tf.float32) * (1 - smoothing) + smoothing / 2
            losses = tf.nn.sigmoid_cross_entropy_with_logits(wanted, logits)
            return tf.reduce_mean(losses * self.class_weights, 1)
        wanted = (
            tf.one_hot(targets, self.num_classes) * (1 - smoothing) + smoothing / self.num_classes
        )
        losses = tf.nn.softmax_cross_entropy_with_logits(wanted, logits)
        return losses * tf.gather(self.class_weights, targets)

    def fit(self, progress: Callable[[Progress], None]) -> None:
        """Trains to the end, or until patience runs out; `best` then holds the best weights."""
        epochs, patience = self.settings["epochs"], self.settings["early_stopping_patience"]
        while self.state.epoch < epochs:
            waited = self.state.epoch - self.state.best_epoch
            if patience and self.state.best_epoch and waited >= patience:
                break
            self._run_epoch(progress)
            self._end_epoch()
            self.save()
            progress(Progress(self.state.epoch, epochs, self.steps, self.steps, self.state.history))
        self.averaged.set_weights(self.best)

    def _run_epoch(self, progress: Callable[[Progress], None]) -> None:
        state = self.state
        order = self.train.epoch_order(
            self.settings["seed"] * 100_003 + state.epoch, self.settings["batch_size"]
        )
        started = saved = time.monotonic()
        spent = state.seconds
        for rows in order[state.step :]:
            targets = tf.constant(self.train.targets[rows], tf.int32)
            rate = tf.constant(self.learning_rate(), tf.float32)
            rng = np.random.default_rng([self.settings["seed"], state.epoch, state.step])
            token_ids = tf.constant(self.train.batch(rows, rng))
            loss, right = self.update(token_ids, targets, rate)
            state.loss_sum += float(loss)
            state.correct += float(right)
            state.step += 1
            state.seconds = spent + time.monotonic() - started
            if time.monotonic() - saved > CHECKPOINT_SECONDS:
                self.save()
                saved = time.monotonic()
            progress(
                Progress(
                    state.epoch + 1, self.settings["epochs"], state.step, self.steps, state.history
                )
            )

    def _end_epoch(self) -> None:
        state, num_examples = self.state, len(self.train.lengths)
        loss, figures = self.evaluate(self.validation)
        state.epoch += 1
        state.history.append(
            {
                "epoch": state.epoch,
                "loss": state.loss_sum / num_examples,
                "accuracy": state.correct / num_examples,
                "val_loss": loss,
                "val_accuracy": figures["accuracy"],
                "learning_rate": self.learning_rate(),
                "seconds": round(state.seconds, 3),
            }
        )
        if loss < state.best_loss * LOSS_TIE:
            state.best_loss, state.best_epoch = min(loss, state.best_loss), state.epoch
            self.best = self.averaged.get_weights()
        state.step, state.loss_sum, state.correct, state.seconds = 0, 0.0, 0.0, 0.0
        write_history(self.run, state.history)
        if not math.isfinite(loss):
            raise ValueError(
                f"epoch {state.epoch}: the validation loss is {loss}. Lower train.learning_rate="
                f"{self.settings['learning_rate']} or set train.gradient_clip_norm."
            )

    def learning_rate(self) -> float:
        """Returns the rate of the next update: linear warm-up, then half a cosine down to 1 %
        (Loshchilov and Hutter 2017)."""
        total = self.steps * self.settings["epochs"]
        done = self.steps * self.state.epoch + self.state.step
        warmup = max(1, round(total * self.settings["warmup_fraction"]))
        highest: float = self.settings["learning_rate"]
        if done < warmup:
            return highest * (done + 1) / warmup
        share = min(1.0, (done - warmup) / max(1, total - warmup))
        return highest * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))

    def evaluate(self, split: EncodedSplit) -> tuple[float, dict[str, float]]:
        """Returns the mean loss, without smoothing, and the metrics of the averaged model."""
        logits = self.logits(split)
        losses = self.losses(tf.constant(split.targets, tf.int32), tf.constant(logits), smoothing=0)
        predictions = predict_labels(self.probabilities(logits), multi_label=self.multi_label)
        figures = score_predictions(split.targets, predictions, self.num_classes)
        return float(tf.reduce_mean(losses)), figures

    def logits(self, split: EncodedSplit) -> NDArray[np.float32]:
        """Returns the averaged model's logits of every text, float32 `(n, num_classes)`."""
        logits = np.zeros((len(split.lengths), self.num_classes), np.float32)
        for rows in split.in_order(EVALUATION_BATCH):
            logits[rows] = self.infer(tf.constant(split.batch(rows))).numpy()
        return logits

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns softmax, or sigmoid for multi-label, of logits `(n, num_classes)`."""
        squash = tf.sigmoid if self.multi_label else tf.nn.softmax
        result: NDArray[np.float32] = squash(logits).numpy()
        return result

    def save(self) -> None:
        """Writes the checkpoint in one atomic file of plain arrays."""
        arrays = {}
        groups = {
            "model": self.model.get_weights(),
            "averaged": self.averaged.get_weights(),
            "best": self.best,
            "optimizer": [variable.numpy() for variable in self.optimizer.variables],
        }
        for group, values in groups.items():
            arrays.update({f"{group}.{index}": value for index, value in enumerate(values)})
        state = self.state
        arrays["state"] = np.array(
            [
                state.epoch,
                state.step,
                state.loss_sum,
                state.correct,
                state.seconds,
                state.best_loss,
                state.best_epoch,
            ],
            np.float64,
        )
        arrays["history"] = np.array(
            [[entry[name] for name in HISTORY_FIELDS] for entry in state.history], np.float64
        )
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        write_file_atomic(self.run.checkpoint, buffer.getvalue())

    def restore(self) -> bool:
        """Goes on where the checkpoint stands; False where there is none.

        Raises:
            ValueError: The file is damaged or of another model.
        """
        if not self.run.checkpoint.is_file():
            return False
        try:
            with np.load(self.run.checkpoint, allow_pickle=False) as arrays:
                self._take(dict(arrays))
        except (OSError, KeyError, ValueError) as error:
            raise ValueError(
                f"{self.run.checkpoint} does not fit this training ({error}). Remove it to begin "
                "again, or give --overwrite."
            ) from error
        write_history(self.run, self.state.history)
        return True

    def _take(self, arrays: dict[str, NDArray[Any]]) -> None:
        def group(name: str, count: int) -> list[NDArray[Any]]:
            return [arrays[f"{name}.{index}"] for index in range(count)]

        count = len(self.best)
        self.model.set_weights(group("model", count))
        self.averaged.set_weights(group("averaged", count))
        self.best = group("best", count)
        variables = list(self.optimizer.variables)
        for variable, value in zip(variables, group("optimizer", len(variables)), strict=True):
            variable.assign(value)
        epoch, step, loss_sum, correct, seconds, best_loss, best_epoch = arrays["state"].tolist()
        history = [
            dict(zip(HISTORY_FIELDS, line, strict=True)) for line in arrays["history"].tolist()
        ]
        for entry in history:
            entry["epoch"] = int(entry["epoch"])
        self.state = TrainingState(
            int(epoch), int(step), loss_sum, correct, seconds, best_loss, int(best_epoch), history
        )


def make_optimizer(settings: Mapping[str, Any], model: keras.Model) -> keras.optimizers.Optimizer:
    """Returns AdamW (Loshchilov and Hutter 2019) with all its variables made; biases and norms are
    not decayed."""
    optimizer = keras.optimizers.AdamW(
        settings["learning_rate"],
        weight_decay=settings["weight_decay"],
        global_clipnorm=settings["gradient_clip_norm"] or None,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta", "positions"])
    if keras.mixed_precision.global_policy().compute_dtype == "float16":
        optimizer = keras.mixed_precision.LossScaleOptimizer(optimizer)
    optimizer.build(model.trainable_variables)
    return optimizer


def use_mixed_precision(setting: str) -> None:
    """Sets the policy of the models built next; "auto" asks whether there is a GPU."""
    on = setting == "on" or (setting == "auto" and bool(tf.config.list_physical_devices("GPU")))
    keras.mixed_precision.set_global_policy("mixed_float16" if on else "float32")


def weigh_classes(
    targets: NDArray[Any], num_classes: int, settings: Mapping[str, Any]
) -> NDArray[np.float32]:
    """Returns the weight of each class's loss, float32 `(num_classes,)`: 1, or for "balanced"
    n / (num_classes * count), scikit-learn's formula. A class without texts weighs 1."""
    if settings["class_weights"] == "none":
        return np.ones(num_classes, np.float32)
    counts = targets.sum(0) if targets.ndim == 2 else np.bincount(targets, minlength=num_classes)
    weights = counts.sum() / (num_classes * np.maximum(counts, 1))
    return np.where(counts > 0, weights, 1).astype(np.float32)


def write_history(run: RunFolder, history: list[dict[str, float]]) -> None:
    """Writes train/history.csv."""
    text = io.StringIO()
    writer = csv.DictWriter(text, HISTORY_FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_file_atomic(run.history_csv, text.getvalue().encode())
