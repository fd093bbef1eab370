"""A model file and what belongs to it → the files of its translation, from a child process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

TIME_LIMIT_SECONDS = 1800
# What the child leaves beside its job: the model's description, its weights, the probabilities that
# the user's own model gives the texts, facts; or why it was refused.
DESCRIPTION_FILE, WEIGHTS_FILE, SCORES_FILE = "layers.json", "weights.npz", "scores.npy"
RESULT_FILE, REFUSAL_FILE = "result.json", "refusal.txt"


def read_model(
    job: dict[str, Any], folder: Path, *, time_limit: float = TIME_LIMIT_SECONDS
) -> dict[str, Any]:
    """Translates a model in a process of its own.

    Args:
        job: "model": path; "vocabulary", "texts": paths; "tokenizer": what `TokenizerSpec.to_json`
            gives; "num_labels"; "multi_label"; "sequence_length" or None.
        folder: Where the files go.
        time_limit: Seconds until the child is ended.

    Returns:
        The content of RESULT_FILE.

    Raises:
        ValueError: The model is refused, or the child failed, was killed by a signal, or took too
            long.
    """
    job_path, log_path = folder / "job.json", folder / "log.txt"
    job_path.write_text(json.dumps(job), "utf-8")
    with log_path.open("wb") as log:
        try:
            code = subprocess.run(
                # -P: nothing in the user's present folder may stand in for a module.
                [sys.executable, "-P", "-m", "tfpipe.keras_file.reading", str(job_path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=time_limit,
                # Keras 3 takes its backend from the environment or a file in the user's home.
                env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "1", "KERAS_BACKEND": "tensorflow"},
                check=False,
            ).returncode
        except subprocess.TimeoutExpired as error:
            raise ValueError(
                f"{job['model']}: reading the model was not done after {time_limit:g} s and was "
                "ended. Give fewer texts with --data, or a smaller model."
            ) from error
    if (folder / REFUSAL_FILE).is_file():
        raise ValueError((folder / REFUSAL_FILE).read_text("utf-8"))
    if code or not (folder / RESULT_FILE).is_file():
        raise ValueError(f"{job['model']}: {describe_end(code, log_path)}")
    result: dict[str, Any] = json.loads((folder / RESULT_FILE).read_text("utf-8"))
    return result


def describe_end(code: int, log: Path) -> str:
    """Returns how the child ended, and the last lines that it printed."""
    ending = f"the process that reads the model failed with exit code {code}"
    if code < 0:
        named = {each.value for each in signal.Signals}
        name = signal.Signals(-code).name if -code in named else f"signal {-code}"
        ending = f"the process that reads the model was ended by {name}"
    lines = log.read_bytes().decode("utf-8", "replace").splitlines()
    tail = "\n".join(f"  {line[:300]}" for line in lines[-6:] if line.strip())
    fix = "Save the model again with model.save('model.keras'), or a smaller one."
    return f"{ending}. {fix} Its last lines:\n{tail or '  (it printed nothing)'}"
