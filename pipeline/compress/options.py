"""What to make of a run's weights, checked."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tfpipe.train.teacher import Teaching


@dataclass(frozen=True)
class CompressOptions:
    """Which methods to apply, in this order, and how long to train for each.

    Attributes:
        source: The variant to begin with.
        shrink: Share to remove of each width (units, heads, neurons, embedding columns); tokens
            that no training text has go as well. 0 leaves it out.
        prune: Share of zeros to reach in each table and kernel; 0 leaves it out.
        scan: Whether pruning first finds out what each table and kernel bears, and prunes those
            that do not bear it less or not at all, see `scan_sensitivity`.
        cluster: Values to reach in each table and kernel; 0 leaves it out.
        qat: Whether to train with the rounding of an int8 file (quantization-aware training).
        teaching: Finished runs that teach beside the labels, whatever the method; alone, they are
            the method: the model is trained on with them ("distill").
        epochs: Passes over the training rows for each method.
        learning_rate: Highest learning rate; 0 takes a share of the run's own, see `make_tuner`.
        data: The file the run was trained on, if it no longer lies where it was.
        test: The run's test file, if it had one of its own and moved.
    """

    source: str = "base"
    shrink: float = 0.0
    prune: float = 0.0
    scan: bool = True
    cluster: int = 0
    qat: bool = False
    teaching: Teaching = Teaching()
    epochs: int = 5
    learning_rate: float = 0.0
    data: Path | None = None
    test: Path | None = None

    def check(self) -> None:
        """Refuses values that mean nothing.

        Raises:
            ValueError: No method is asked for, or a number lies outside its limits.
        """
        if not 0 <= self.shrink < 1:
            raise ValueError(
                f"shrink={self.shrink:g} lies outside [0, 1): 0.5 removes half of the units."
            )
        if not 0 <= self.prune < 1:
            raise ValueError(
                f"prune={self.prune:g} lies outside [0, 1): 0.8 sets 80 % of the weights to zero."
            )
        if self.cluster and not 2 <= self.cluster <= 256:
            raise ValueError(
                f"cluster={self.cluster} lies outside 2 to 256: more values than 256 int8 does not "
                "have, and one is no model."
            )
        if not self.methods():
            raise ValueError(
                "No method was given, so nothing would change. Give --shrink, --prune, "
                "--cluster, --qat or --teacher."
            )
        if self.epochs < 1:
            raise ValueError(f"epochs={self.epochs} must be at least 1.")
        if not 0 <= self.learning_rate <= 10:
            raise ValueError(f"learning_rate={self.learning_rate} lies outside 0 to 10.")

    def methods(self) -> list[str]:
        """Returns the names of the methods in the order in which they are applied."""
        wanted = {
            "shrink": self.shrink,
            "prune": self.prune,
            "cluster": self.cluster,
            "qat": self.qat,
        }
        alone = ["distill"] if self.teaching.num_teachers else []
        return [name for name, value in wanted.items() if value] or alone

    def identity(self) -> dict[str, Any]:
        """Returns what decides the result: all but where the data lies."""
        left_out = ("data", "test", "teaching")
        values = {key: value for key, value in asdict(self).items() if key not in left_out}
        return {**values, **self.teaching.identity()}
