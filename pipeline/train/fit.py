"""A model and encoded splits → trained weights, through checkpoints that outlive a kill."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from numpy.typing import NDArray

from tfpipe.fit_progress import Progress
from tfpipe.metrics import deciding_score, near_best, predict_labels, score_predictions
from tfpipe.models.constraints import project_gradients
from tfpipe.run_folder import RunFolder
from tfpipe.train.checkpoint import TrainingState, load_checkpoint, save_checkpoint, write_history
from tfpipe.train.corpus import EncodedSplit
from tfpipe.train.distillation import Lessons
from tfpipe.train.inference import compute_logits, make_infer
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
from tfpipe.train.tensorboard import EpochLog

CHECKPOINT_SECONDS = 60  # a killed training loses at most this, and the step it was in


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
        lessons: What teachers say about the training rows.
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
        lessons: Lessons | None = None,
    ) -> None:
        self.settings, self.train, self.validation = settings, train, validation
        self.num_classes, self.run, self.lessons = num_classes, run, lessons
        self.multi_label = train.targets.ndim == 2
        mixed = wants_mixed_precision(settings["mixed_precision"])
        keras.utils.set_random_seed(settings["seed"])
        # Without it the gradient of an embedding adds up in the order threads happen to finish.
        tf.config.experimental.enable_op_determinism()
        with precision(mixed):
            self.model, self.averaged = build(), build()
        for variable in self.model.trainable_variables:
            if variable.constraint is not None:
                variable.assign(variable.constraint(variable))
        self.averaged.set_weights(self.model.get_weights())
        self.optimizer = make_optimizer(settings, self.model, loss_scaling=mixed)
        self.class_weights = tf.constant(weigh_classes(train.targets, num_classes, settings))
        self.steps = math.ceil(len(train.lengths) / settings["batch_size"])
        self.total = self.steps * settings["epochs"]
        self.decay = averaging_decay(settings["weight_averaging"], self.total)
        self.best = self.averaged.get_weights()
        self.state = TrainingState()
        self.log = EpochLog(run.tensorboard) if settings["tensorboard"] else None
        self.update = tf.function(self._update, input_signature=self._signature(), autograph=False)
        self.infer = make_infer(self.averaged)

    def _signature(self) -> list[Any]:
        targets = tf.TensorSpec((None, self.num_classes) if self.multi_label else (None,), tf.int32)
        lesson = self.lessons.signature() if self.lessons else ()
        rate = tf.TensorSpec((), tf.float32)
        return [tf.TensorSpec((None, None), tf.int32), targets, lesson, rate]

    def _update(self, token_ids: Any, targets: Any, lesson: Any, rate: Any) -> tuple[Any, Any]:
        """One step of the optimizer and of the running mean; returns (summed loss, right ones)."""
        self.optimizer.learning_rate = rate
        with tf.GradientTape() as tape:
            logits = self.model(token_ids, training=True)
            losses = self._losses(targets, logits)
            if self.lessons:
                losses = self.lessons.mix(losses, logits, lesson, multi_label=self.multi_label)
            loss = tf.reduce_mean(losses)
            scaled = getattr(self.optimizer, "get_scaled_loss", tf.identity)(loss)
        variables = self.model.trainable_variables
        gradients = tape.gradient(scaled, variables)
        gradients = getattr(self.optimizer, "get_unscaled_gradients", list)(gradients)
        gradients = project_gradients(gradients, variables)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        self._hold(variables)
        means, updates = self.averaged.trainable_variables, self.optimizer.iterations
        average_weights(means, variables, decay=self.decay, updates=updates)
        if self.multi_label:
            right = tf.reduce_all((logits > 0) == (targets > 0), 1)
        else:
            right = tf.argmax(logits, 1, tf.int32) == targets
        return tf.reduce_sum(losses), tf.reduce_sum(tf.cast(right, tf.float32))

    def _losses(self, targets: Any, logits: Any) -> Any:
        """Returns the loss of each text of a batch, float32 `(batch,)`."""
        smoothing = self.settings["label_smoothing"]
        return cross_entropy(targets, logits, self.class_weights, smoothing=smoothing)

    def _hold(self, variables: list[tf.Variable]) -> None:
        """Called in the graph of each update, after it; a fine-tuning may override it."""

    def fit(self, progress: Callable[[Progress], None]) -> None:
        """Trains to the end, or until patience runs out; `averaged` then has the best weights.

        Args:
            progress: Called after each update and at the end of each epoch.

        Raises:
            ValueError: The validation loss is not finite.
        """
        epochs, patience = self.settings["epochs"], self.settings["early_stopping_patience"]
        while self.state.epoch < epochs:
            waited = self.state.epoch - self.state.best_epoch
            if patience and self.state.best_epoch and waited >= patience:
                break
            self.run_epoch(progress)
            self.end_epoch()
            self.save()
            progress(Progress(self.state.epoch, epochs, self.steps, self.steps, self.state.history))
        self.averaged.set_weights(self.best)

    def run_epoch(self, progress: Callable[[Progress], None]) -> None:
        """Runs the updates of one pass over the training rows, from the one that comes next."""
        state, settings, epochs = self.state, self.settings, self.settings["epochs"]
        order = self.train.epoch_order(
            settings["seed"] * 100_003 + state.epoch, settings["batch_size"]
        )
        started = saved = time.monotonic()
        spent = state.seconds
        for rows in order[state.step :]:
            targets = tf.constant(self.train.targets[rows], tf.int32)
            rate = tf.constant(self._rate(self.steps * state.epoch + state.step), tf.float32)
            rng = np.random.default_rng([settings["seed"], state.epoch, state.step])
            token_ids = tf.constant(self.train.batch(rows, rng))
            lesson = self.lessons.batch(rows) if self.lessons else ()
            loss, right = self.update(token_ids, targets, lesson, rate)
            state.loss_sum += float(loss)
            state.correct += float(right)
            state.step += 1
            state.seconds = spent + time.monotonic() - started
            if time.monotonic() - saved > CHECKPOINT_SECONDS:
                self.save()
                saved = time.monotonic()
            progress(Progress(state.epoch + 1, epochs, state.step, self.steps, state.history))

    def end_epoch(self) -> None:
        """Scores the averaged weights on the validation split and writes the epoch down."""
        state, num_examples = self.state, len(self.train.lengths)
        loss, figures = self.evaluate(self.validation)
        state.epoch += 1
        entry = {
            "epoch": state.epoch,
            "loss": state.loss_sum / num_examples,
            "accuracy": state.correct / num_examples,
            "val_loss": loss,
            "val_accuracy": figures["accuracy"],
            "learning_rate": self._rate(self.steps * state.epoch - 1),
            "seconds": round(state.seconds, 3),
        }
        state.history.append(entry)
        score = deciding_score(figures)
        state.best_score = max(score, state.best_score)
        if near_best(score, state.best_score, len(self.validation.lengths)):
            state.best_epoch = state.epoch
            self.best = self.averaged.get_weights()
        state.step, state.loss_sum, state.correct, state.seconds = 0, 0.0, 0.0, 0.0
        write_history(self.run.history_csv, state.history)
        if self.log is not None:
            self.log.write(entry)
        if not math.isfinite(loss):
            raise ValueError(
                f"epoch {state.epoch}: the validation loss is {loss}. Lower train.learning_rate="
                f"{self.settings['learning_rate']} or set train.gradient_clip_norm."
            )

    def _rate(self, done: int) -> float:
        return learning_rate(self.settings, done=done, total=self.total)

    def evaluate(self, split: EncodedSplit) -> tuple[float, dict[str, float]]:
        """Returns the mean loss, as of the labels in training, and the averaged model's metrics."""
        logits = self.logits(split)
        targets = tf.constant(split.targets, tf.int32)
        losses = self._losses(targets, tf.constant(logits))
        predictions = predict_labels(self.probabilities(logits), multi_label=self.multi_label)
        figures = score_predictions(split.targets, predictions, self.num_classes)
        return float(tf.reduce_mean(losses)), figures

    def logits(self, split: EncodedSplit) -> NDArray[np.float32]:
        """Returns the averaged model's logits of every text, float32 `(n, num_classes)`."""
        return compute_logits(self.infer, split, self.num_classes)

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns softmax, or sigmoid for multi-label, of logits `(n, num_classes)`."""
        squash = tf.sigmoid if self.multi_label else tf.nn.softmax
        result: NDArray[np.float32] = squash(logits).numpy()
        return result

    def _groups(self) -> dict[str, list[NDArray[Any]]]:
        return {
            "model": self.model.get_weights(),
            "averaged": self.averaged.get_weights(),
            "best": self.best,
            "optimizer": [value.numpy() for value in optimizer_variables(self.optimizer)],
        }

    def save(self) -> None:
        """Writes the checkpoint."""
        save_checkpoint(self.run.checkpoint, self._groups(), self.state)

    def restore(self) -> bool:
        """Goes on where the checkpoint stands; False where there is none.

        Raises:
            ValueError: The file is damaged or of another model.
        """
        if not self.run.checkpoint.is_file():
            return False
        groups, self.state = load_checkpoint(self.run.checkpoint, self._groups())
        self.model.set_weights(groups["model"])
        self.averaged.set_weights(groups["averaged"])
        self.best = groups["best"]
        variables = optimizer_variables(self.optimizer)
        for variable, value in zip(variables, groups["optimizer"], strict=True):
            variable.assign(value)
        write_history(self.run.history_csv, self.state.history)
        return True
