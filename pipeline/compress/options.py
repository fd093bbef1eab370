"""What to make of a run's weights, checked."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tfpipe.config import AUTO
from tfpipe.train.teacher import Teaching
from tfpipe.weight_schemes import WEIGHT_SCHEMES

INT8 = "int8"
# Schemes whose rounding can be trained with: int8 rounds every value, those others the weights
# alone, to so many bits.
QAT_SCHEMES = (INT8, *WEIGHT_SCHEMES)
MAX_BLOCK_SIZE = 64


@dataclass(frozen=True)
class CompressOptions:
    """Which methods to apply, in this order, and how long to train for each.

    Attributes:
        source: The variant to begin with.
        shrink: Share to remove of each width (units, heads, neurons, embedding columns); tokens
            that no training text has go as well. 0 leaves it out.
        low_rank: Columns to leave in the embedding's table, which a product makes of the old width
            again where need be; "auto": as few as the validation split bears, see `choose_rank`. 0
            leaves it out.
        prune: Share of zeros to reach in each table and kernel; 0 leaves it out.
        scan: Whether pruning first finds out what each table and kernel bears, and prunes those
            that do not bear it less or not at all, see `scan_sensitivity`.
        block_size: How many weights of an output go to zero together, those of successive inputs,
            as sparse kernels read them; see `block_of`. 1 prunes each alone.
        cluster: Values to reach in each table and kernel but the logits'; 0 leaves it out.
        qat: Whether to train with the rounding of a file (quantization-aware training).
        scheme: Of that file: int8 rounds weights and values, the dynamic ones weights alone.
        teaching: Finished runs that teach beside the labels, whatever the method; alone, they are
            the method: the model is trained on with them ("distill").
        epochs: Passes over the training rows for each method; 0 takes as many as the method needs,
            see `default_epochs`.
        learning_rate: Highest learning rate; 0 takes a share of the run's own, see `make_tuner`.
        data: The file the run was trained on, if it no longer lies where it was.
        test: The run's test file, if it had one of its own and moved.
    """

    source: str = "base"
    shrink: float = 0.0
    low_rank: int | str = 0
    prune: float = 0.0
    scan: bool = True
    block_size: int = 1
    cluster: int = 0
    qat: bool = False
    scheme: str = INT8
    teaching: Teaching = Teaching()
    epochs: int = 0
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
        if self.low_rank != AUTO and not (isinstance(self.low_rank, int) and self.low_rank >= 0):
            raise ValueError(
                f"low_rank={self.low_rank!r} is neither a number of columns from 1 on, nor "
                f"{AUTO!r}: 8 leaves eight columns in the embedding's table."
            )
        if not 0 <= self.prune < 1:
            raise ValueError(
                f"prune={self.prune:g} lies outside [0, 1): 0.8 sets 80 % of the weights to zero."
            )
        if not 1 <= self.block_size <= MAX_BLOCK_SIZE:
            raise ValueError(
                f"block_size={self.block_size} lies outside 1 to {MAX_BLOCK_SIZE}. TFLite's sparse "
                "kernels read blocks of 4 float32 or 16 int8 weights."
            )
        if self.block_size > 1 and not self.prune:
            raise ValueError(
                f"block_size={self.block_size} without prune: nothing else goes in blocks. Give "
                "--prune SHARE, or leave --block-size out."
            )
        if self.cluster and not 2 <= self.cluster <= 256:
            raise ValueError(
                f"cluster={self.cluster} lies outside 2 to 256: more values than 256 int8 does not "
                "have, and one is no model."
            )
        self._check_scheme()
        if not self.methods():
            raise ValueError(
                "No method was given, so nothing would change. Give --shrink, --low-rank, "
                "--prune, --cluster, --qat or --teacher."
            )
        if self.epochs < 0:
            raise ValueError(
                f"epochs={self.epochs} must be at least 1, or 0 for as many as a method needs."
            )
        if not 0 <= self.learning_rate <= 10:
            raise ValueError(f"learning_rate={self.learning_rate} lies outside 0 to 10.")

    def _check_scheme(self) -> None:
        if self.scheme not in QAT_SCHEMES:
            raise ValueError(
                f"scheme={self.scheme!r} has no quantization-aware training. Use one of "
                f"{list(QAT_SCHEMES)}, or leave --qat out and give --scheme to tfpipe export."
            )
        if self.scheme == INT8:
            return
        if not self.qat:
            raise ValueError(
                f"scheme={self.scheme!r} without qat: only quantization-aware training depends on "
                "it. Give --qat, or leave --scheme out."
            )
        if self.cluster:
            raise ValueError(
                f"cluster={self.cluster} with scheme={self.scheme!r}: its kernels have a scale for "
                f"each output, in which {self.cluster} values do not stay {self.cluster}. Leave "
                "--qat and --scheme out: the values of --cluster are those of a dynamic_int8 file. "
                "Or use --scheme int8."
            )

    def methods(self) -> list[str]:
        """Returns the names of the methods in the order in which they are applied."""
        wanted = {
            "shrink": self.shrink,
            "low_rank": self.low_rank,
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
