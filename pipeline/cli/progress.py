"""A training's progress → a live bar on a terminal, a line an epoch elsewhere, both on stderr."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

import click

from tfpipe.fit_progress import Progress


class ProgressDisplay:
    """Shows what `tfpipe.train` reports; use it as a context manager and as the callback."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._epochs_shown = 0
        self._steps_shown = 0

    def __enter__(self) -> ProgressDisplay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        self._close()

    def __call__(self, item: Progress | str) -> None:
        """Shows a sentence about a stage, or how far the training is."""
        if isinstance(item, str):
            self._close()
            click.echo(item, err=True)
            return
        for entry in item.history[self._epochs_shown :]:
            self._show_epoch(entry, item.epochs)
        self._epochs_shown = len(item.history)
        if sys.stderr.isatty():
            self._show_bar(item)

    def _show_epoch(self, entry: dict[str, float], epochs: int) -> None:
        line = (
            f"epoch {entry['epoch']:.0f}/{epochs}  loss {entry['loss']:.4f}  "
            f"accuracy {entry['accuracy']:.4f}  validation loss {entry['val_loss']:.4f}  "
            f"validation accuracy {entry['val_accuracy']:.4f}  {entry['seconds']:.1f} s"
        )
        click.echo(f"\r\033[K{line}" if sys.stderr.isatty() else line, err=True)

    def _show_bar(self, item: Progress) -> None:
        done = (item.epoch - 1) * item.steps + item.step
        if self._bar is None:
            # What is left at most: early stopping may end the training before. A resumed one has
            # its first updates behind it, which would make the estimated time too short.
            self._steps_shown = done - 1
            length = item.epochs * item.steps - self._steps_shown
            self._bar = click.progressbar(length=length, label="training", file=sys.stderr)
            self._bar.__enter__()
        self._bar.update(done - self._steps_shown)
        self._steps_shown = done

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None
