"""A trained model and methods that hold its weights or values → the model trained on with them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from tfpipe.compress.source import Source
from tfpipe.fit_progress import Progress
from tfpipe.metrics import deciding_score
from tfpipe.run_folder import RunFolder
from tfpipe.train.fit import Trainer

# Of the run's own highest learning rate: the weights are good already, only the method is new.
LEARNING_RATE_SHARE = 0.3


class Method:
    """Something that changes a model while it is trained on; this one changes nothing."""

    def begin(self, trainer: FineTuner) -> None:
        """Called once, before the checkpoint is restored and the first update."""

    def begin_epoch(self, trainer: FineTuner) -> None:
        """Called before each epoch; `trainer.state.epoch` is the number of those finished."""

    def hold(self, variables: Sequence[tf.Variable], updates: Any) -> None:
        """Called in the graph of each update, after it; `updates` counts them, int64 scalar."""

    def resume(self) -> None:
        """Called when the weights are those of a checkpoint."""

    def settle(self) -> None:
        """Called before the averaged weights are evaluated."""

    def reached(self, epoch: int) -> bool:
        """Whether weights of the end of this epoch have what the method is for; epoch 0 is before
        the first update."""
        return True


class FineTuner(Trainer):
    """A `Trainer` that begins with trained weights and applies methods.

    Args:
        build: Makes the model with its weights; called twice.
        source: Data and recipe of the run.
        methods: What to apply, in this order.
        epochs: Passes over the training rows.
        learning_rate: The highest; 0 takes `LEARNING_RATE_SHARE` of the recipe's.
        work: Where checkpoint and history go.
    """

    def __init__(
        self,
        build: Callable[[], keras.Model],
        source: Source,
        methods: Sequence[Method],
        *,
        epochs: int,
        learning_rate: float,
        work: RunFolder,
    ) -> None:
        recipe: Mapping[str, Any] = source.recipe["train"]
        work.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(
            build,
            {
                **recipe,
                "epochs": epochs,
                "learning_rate": learning_rate or LEARNING_RATE_SHARE * recipe["learning_rate"],
                # A method takes its time; the best epoch that has its result is chosen at the end.
                "early_stopping_patience": 0,
                "tensorboard": False,
            },
            train=source.splits["train"],
            validation=source.splits["validation"],
            num_classes=len(source.dataset.labels),
            run=work,
            lessons=source.lessons,
        )
        self.methods = list(methods)

    def fit(self, progress: Callable[[Progress], None]) -> None:
        """Trains to the end, going on where the checkpoint stands if there is one."""
        for method in self.methods:
            method.begin(self)
        if self.restore():
            for method in self.methods:
                method.resume()
        super().fit(progress)

    def run_epoch(self, progress: Callable[[Progress], None]) -> None:
        if not self.state.step:
            for method in self.methods:
                method.begin_epoch(self)
            if not self.state.epoch and all(method.reached(0) for method in self.methods):
                # What needs no training to have what it should may be best as it is.
                self._settle()
                self.state.best_score = deciding_score(self.evaluate(self.validation)[1])
                self.best = self.averaged.get_weights()
        super().run_epoch(progress)

    def _hold(self, variables: list[tf.Variable]) -> None:
        for method in self.methods:
            method.hold(variables, self.optimizer.iterations)

    def _settle(self) -> None:
        for method in self.methods:
            method.settle()

    def end_epoch(self) -> None:
        self._settle()
        super().end_epoch()
        if not all(method.reached(self.state.epoch) for method in self.methods):
            # Not yet a candidate for the best epoch.
            self.state.best_score, self.state.best_epoch = -math.inf, 0
