"""Texts and several devices → predictions in order, each part by the first device that is free."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from device_runner.texts import read_texts
from tfpipe.devices import open_device
from tfpipe.predict import predict

# Fewer texts than this take less time than connecting does.
MIN_SHARD = 64
# So that a device of half the speed does half the work.
SHARDS_PER_DEVICE = 4

Shard = tuple[int, list[str]]


class ShardQueue:
    """Parts of a list that several threads work on; a part that failed is given out again.

    Attributes:
        done: Start of a part → its predictions.
    """

    def __init__(self, texts: Sequence[str], size: int) -> None:
        self._pending = [(at, list(texts[at : at + size])) for at in range(0, len(texts), size)]
        self._running = 0
        self._changed = threading.Condition()
        self.done: dict[int, list[dict[str, Any]]] = {}

    def work(self, task: Callable[[list[str]], list[dict[str, Any]]]) -> int:
        """Takes parts until all are done and returns how many texts this thread did.

        Args:
            task: Texts → predictions. Its first error ends this thread's work; others go on.

        Raises:
            ValueError, OSError: The task's.
        """
        count = 0
        while True:
            shard = self._take()
            if shard is None:
                return count
            try:
                predictions = task(shard[1])
            except BaseException:
                self._return(shard, None)
                raise
            self._return(shard, predictions)
            count += len(predictions)

    def _take(self) -> Shard | None:
        """Waits while others may still fail; None when all is done."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending or not self._running)
            if not self._pending:
                return None
            self._running += 1
            return self._pending.pop(0)

    def _return(self, shard: Shard, predictions: list[dict[str, Any]] | None) -> None:
        with self._changed:
            self._running -= 1
            if predictions is None:
                self._pending.insert(0, shard)
            else:
                self.done[shard[0]] = predictions
            self._changed.notify_all()


def predict_fleet(
    artifact: Path, texts: Sequence[str] | Path, devices: Sequence[str]
) -> dict[str, Any]:
    """Classifies texts on several devices at once; a lost device's part is done by another.

    Args:
        artifact: An artifact folder.
        texts: The texts, or a file of them.
        devices: Names; one gives the very record of `tfpipe.predict`.

    Returns:
        `predictions` in the order of the texts; `complete`: whether all were classified, else
        those that were not have a `label` of None; `devices`: {"device", "num_texts"} of
        those that went on to the end; `failures`: {"device", "error"} of devices that were lost.

    Raises:
        ValueError: No device classified anything, or a text is not Unicode.
        OSError: The file cannot be read.
    """
    if len(devices) == 1:
        return predict(artifact, texts, device=devices[0])
    lines = list(read_texts(texts)) if isinstance(texts, Path) else list(texts)
    size = max(MIN_SHARD, -(-len(lines) // (SHARDS_PER_DEVICE * len(devices))))
    queue = ShardQueue(lines, size)
    opened = [open_device(name) for name in devices]
    used: list[dict[str, Any]] = []
    failures: list[dict[str, str]] = []

    def work(name: str) -> int:
        return queue.work(lambda part: list(predict(artifact, part, device=name)["predictions"]))

    with ThreadPoolExecutor(max_workers=len(devices)) as threads:
        futures = [threads.submit(work, name) for name in devices]
        for device, future in zip(opened, futures, strict=True):
            try:
                used.append({"device": device.name, "num_texts": future.result()})
            except (ValueError, OSError) as error:
                failures.append({"device": device.name, "error": str(error)})
    if lines and not queue.done:
        raise ValueError("\n".join(failure["error"] for failure in failures))
    predictions = [
        prediction
        for at in range(0, len(lines), size)
        for prediction in queue.done.get(at) or map(_missing, lines[at : at + size])
    ]
    complete = len(queue.done) == -(-len(lines) // size)
    return {
        "predictions": predictions,
        "complete": complete,
        "devices": used,
        "failures": failures,
    }


def _missing(text: str) -> dict[str, Any]:
    return {"text": text, "label": None, "score": None, "labels": None, "scores": None}
