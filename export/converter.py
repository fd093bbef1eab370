"""A conversion job → its model file from a child process, or one clear error."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tfpipe.export.target import TARGETS, ExportError

# An unrolled LSTM of 256 steps in int8 takes two minutes on two slow cores.
TIME_LIMIT_SECONDS = 900
# Written by the child when the run, not the converter, is at fault: the whole message.
REFUSAL_FILE = "refusal.txt"
# Written by the child where the job has a "probe": float32 (n, num_classes), Keras' probabilities.
KERAS_FILE = "keras.npy"
# Written by a child whose file only it can look into: the content of check.json.
FACTS_FILE = "facts.json"
# What the converter says about an op that it cannot write, newest wording first.
OP_AT_FAULT = re.compile(
    r"'(tfl?\.\w+)' op (?:is neither|requires|operand|result|has|can)"
    r"|failed to legalize operation '(\w+\.\w+)'"
    r"|Op type not registered '(\w+)'"
    r"|(?:Flex|Custom) ops?: ([\w, ]+)"
)


def convert(job: dict[str, Any], folder: Path, *, time_limit: float = TIME_LIMIT_SECONDS) -> Path:
    """Runs the converter of the job's target in `folder`; returns the file it wrote.

    Raises:
        ExportError: The run cannot be exported, or the child failed, was killed by a signal, or
            took too long. The message names the op at fault where the converter's log does, and
            ends with the log's last lines.
    """
    target = TARGETS[job["target"]]
    output, log_path, job_path = (
        folder / name for name in (f"out-{target.model_file}", "log.txt", "job.json")
    )
    job_path.write_text(json.dumps({**job, "output": str(output)}), "utf-8")
    what = f"scheme={job['scheme']} lowering={job['lowering']}"
    with log_path.open("wb") as log:
        try:
            code = subprocess.run(
                # -P: nothing in the user's present folder may stand in for a module.
                [sys.executable, "-P", "-m", target.converter, str(job_path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=time_limit,
                env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "1"},
                check=False,
            ).returncode
        except subprocess.TimeoutExpired as error:
            raise ExportError(
                f"{what}: the converter was not done after {time_limit:g} s and was ended. Use a "
                "smaller data.sequence_length or --lowering loop."
            ) from error
    if (folder / REFUSAL_FILE).is_file():
        raise ExportError((folder / REFUSAL_FILE).read_text("utf-8"))
    if code or not output.is_file():
        raise ExportError(f"{what}: {describe_death(code, read_log(log_path))}")
    return output


def read_log(path: Path) -> str:
    """Returns what the child printed, undecodable bytes replaced."""
    return path.read_bytes().decode("utf-8", "replace")


def describe_death(code: int, log: str) -> str:
    """Returns how the child ended, the op at fault if the log names one, and its last lines."""
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        ending = f"the converter's process was ended by {name}"
    elif code:
        ending = f"the converter failed with exit code {code}"
    else:
        ending = "the converter ended without writing a file"
    match = OP_AT_FAULT.search(log)
    fault = f" at op {next(filter(None, match.groups()))}" if match else ""
    lines = [line for line in log.splitlines() if line.strip() and not is_noise(line)]
    tail = "\n".join(f"  {line[:300]}" for line in lines[-6:]) or "  (it printed nothing)"
    return f"{ending}{fault}. Try another --scheme or --lowering. Its last lines:\n{tail}"


def is_noise(line: str) -> bool:
    """Returns whether a line of the log says nothing about the failure."""
    return bool(re.match(r"[IW]\d{4} |WARNING|\d{4}-\d\d-\d\d .*: [IW] |\s+(File|@|\^)", line))
