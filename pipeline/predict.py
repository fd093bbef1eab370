"""An artifact and texts → labels and scores, through the runner that a device uses."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfpipe.devices import open_device
from tfpipe.verb import make_callable

TIME_LIMIT_S = 600


def predict(
    artifact: str | Path, texts: Sequence[str] | Path, *, device: str = "local"
) -> dict[str, Any]:
    """Classifies texts with the artifact's own file, vocabulary and labels.

    Args:
        artifact: An artifact folder; its digests are checked.
        texts: The texts, or a file of them: JSON lines with a "text" each (.jsonl), else one a
            line.
        device: Where to run it; see `tfpipe.devices.open_device`.

    Returns:
        {"predictions": [{"text", "label", "score", "scores": {label: score}}]}; multi-label
        artifacts have "labels" with every label at or above the threshold beside the best one.

    Raises:
        ValueError: The artifact is damaged, a text is not Unicode, or the device fails.
    """
    if isinstance(texts, str):  # a sequence too, of single characters
        raise ValueError(f"texts={texts[:80]!r} is one string. Give a list of texts, or a Path.")
    if isinstance(texts, Path):
        return run_runner(artifact, texts, device)
    with tempfile.TemporaryDirectory() as work:
        # Not on the command line: a text may be longer than the system allows there.
        file = Path(work) / "texts.jsonl"
        file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
        return run_runner(artifact, file, device)


def run_runner(artifact: str | Path, file: Path, device: str = "local") -> dict[str, Any]:
    """Runs `device_runner predict` on a device, in a process of its own."""
    # The host has the CPU alone for certain, whatever the artifact is made for.
    delegate = ["--delegate=cpu"] if device == "local" else []
    arguments = ["predict", *delegate, f"--file={file}", "--", str(artifact)]
    result: dict[str, Any] = open_device(device).run(arguments, time_limit_s=TIME_LIMIT_S)
    return result


def format_predictions(result: dict[str, Any]) -> str:
    """Returns one line a text: its label, the score, the text."""
    return "\n".join(
        f"{entry['label']}\t{_score(entry)}\t{entry['text']}" for entry in result["predictions"]
    )


def _score(entry: dict[str, Any]) -> str:
    return "-" if entry["score"] is None else f"{entry['score']:.4f}"


make_callable(__name__, predict)
