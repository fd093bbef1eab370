"""A run's folder → the path of each thing that it holds."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Rows of a split that the run keeps as text: enough for a standard error of 0.35 points at an
# accuracy of 50 %, and for the calibration of every scheme.
MAX_TEST_EXAMPLES = 20_000
MAX_CALIBRATION_EXAMPLES = 500
# What a training may do with a run that is there.
EXISTING = ("refuse", "resume", "overwrite")


@dataclass(frozen=True)
class RunFolder:
    """Where a run keeps its files; the folders themselves are the only truth about what it holds.

    Attributes:
        path: The folder given as --run.
    """

    path: Path

    @property
    def run_json(self) -> Path:
        """What was trained and how good it is; written last, so it marks a finished training."""
        return self.path / "run.json"

    @property
    def recipe_toml(self) -> Path:
        """The recipe with every value that was chosen from the data."""
        return self.path / "recipe.toml"

    @property
    def vocabulary(self) -> Path:
        """One token a line, in id order."""
        return self.path / "vocabulary.txt"

    @property
    def labels(self) -> Path:
        """One label a line, in the order of the model's outputs."""
        return self.path / "labels.txt"

    @property
    def started(self) -> Path:
        """An empty file that marks the folder as a run's before anything else is known."""
        return self.path / "train" / "started"

    @property
    def plan_json(self) -> Path:
        """What a training decided before its first update; a resumed one goes by it."""
        return self.path / "train" / "plan.json"

    @property
    def checkpoint(self) -> Path:
        """Weights, optimizer and position in the training: all a resumed one needs."""
        return self.path / "train" / "checkpoint.npz"

    @property
    def history_csv(self) -> Path:
        """One line an epoch."""
        return self.path / "train" / "history.csv"

    @property
    def token_cache(self) -> Path:
        """The encoded splits while training goes on."""
        return self.path / "train" / "tokens"

    @property
    def tensorboard(self) -> Path:
        """Event files, when the recipe asks for them."""
        return self.path / "train" / "tensorboard"

    @property
    def bench(self) -> Path:
        """Results JSON, one file a device and call."""
        return self.path / "bench"

    def examples(self, split: str) -> Path:
        """JSON lines {"text", "labels"} of "test" or "calibration"."""
        return self.path / "data" / f"{split}.jsonl"

    def weights(self, variant: str) -> Path:
        """The weights of "base" or of a compressed variant."""
        return self.path / "variants" / variant / "weights.npz"

    @property
    def description(self) -> Path:
        """The layers of an imported model; a trained one has its recipe."""
        return self.path / "variants" / "base" / "layers.json"

    def export(self, name: str) -> Path:
        """The artifact folder of one export."""
        return self.path / "exports" / name

    def read(self) -> dict[str, Any]:
        """Returns run.json.

        Raises:
            ValueError: The folder is not a finished run.
        """
        if not self.run_json.is_file():
            state = "holds no run.json" if self.path.is_dir() else "does not exist"
            hint = (
                "Finish it with `tfpipe train … --resume`"
                if self.plan_json.is_file()
                else ("Make one with `tfpipe train DATA --run RUN`")
            )
            raise ValueError(f"run={str(self.path)!r} {state}, so it is no finished run. {hint}.")
        try:
            content = json.loads(self.run_json.read_text("utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(
                f"{self.run_json} is not JSON ({error}). Train the run again with --overwrite."
            ) from error
        if not isinstance(content, dict) or "recipe" not in content:
            raise ValueError(
                f"{self.run_json} is not a run's. Train the run again with --overwrite."
            )
        return content

    def check(self, existing: str) -> None:
        """Refuses a folder that a training must not use; changes nothing.

        Args:
            existing: "refuse", "resume" or "overwrite".

        Raises:
            FileExistsError: Something is there and `existing` is "refuse".
            ValueError: Overwriting what is no run, resuming what never began, or another word.
        """
        if existing not in EXISTING:
            raise ValueError(f"existing={existing!r} must be one of {', '.join(EXISTING)}.")
        for parent in self.path.parents:
            if parent.exists() and not parent.is_dir():
                raise ValueError(
                    f"run={str(self.path)!r} lies below {str(parent)!r}, which is a file. Give "
                    "another --run."
                )
        if not self._holds_files():
            return
        if existing == "refuse":
            raise FileExistsError(
                f"run={str(self.path)!r} exists. Give --resume to go on with it, --overwrite to "
                "replace it, or another --run."
            )
        if any(file.is_file() for file in (self.started, self.plan_json, self.run_json)):
            return
        if existing == "overwrite":
            raise ValueError(
                f"run={str(self.path)!r} exists and is no run of tfpipe, so --overwrite leaves "
                "it alone. Give another --run, or remove it yourself."
            )
        raise ValueError(
            f"run={str(self.path)!r} holds no training to resume. Remove it or give another."
        )

    def _holds_files(self) -> bool:
        """Whether anything is there but empty folders, which a killed training may leave."""
        if not self.path.is_dir():
            return self.path.exists()
        return any(not entry.is_dir() for entry in self.path.rglob("*"))

    def begin(self, *, overwrite: bool) -> None:
        """Makes the folder ready for a training that `check` let pass, emptying it if asked."""
        if overwrite and self.path.is_dir():
            # "train" marks a run, so it goes last: what a kill leaves can be overwritten again.
            for entry in sorted(self.path.iterdir(), key=lambda entry: entry.name == "train"):
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()
        self.started.parent.mkdir(parents=True, exist_ok=True)
        self.started.touch()
