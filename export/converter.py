"""A conversion job → its model file from a child process, or one clear error."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfpipe.export.child import LOG_FILE, Child
from tfpipe.export.target import TARGETS, ExportError

# An unrolled LSTM of 256 steps in int8 takes two minutes on two slow cores.
TIME_LIMIT_SECONDS = 900
# Written by the child when the run, not the converter, is at fault: the whole message.
REFUSAL_FILE = "refusal.txt"
# Written by the child beside the job's "probe": float32 (n, num_classes), Keras' probabilities.
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


def open_converter(target: str) -> Child:
    """Returns a process for the jobs of a target; nothing is started yet."""
    return Child(TARGETS[target].converter)


def convert(
    job: dict[str, Any], folder: Path, child: Child, *, time_limit: float = TIME_LIMIT_SECONDS
) -> Path:
    """Makes a job's model file; returns its path.

    Args:
        job: A job with its lowering.
        folder: Gets the file.
        child: Of `open_converter` for the job's target.
        time_limit: Seconds until the child is ended.

    Raises:
        ExportError: The run cannot be exported, or the child failed, was killed by a signal, or
            took too long. The message names the op at fault where the converter's log does, and
            ends with the log's last lines.
    """
    output = output_path(job, folder)
    error = child.run({**job, "output": str(output)}, folder, time_limit)
    if error or not output.is_file():
        raise ExportError(describe_fault(job["scheme"], job["lowering"], error, folder))
    return output


def convert_each(
    job: dict[str, Any],
    work: Path,
    lowerings: Sequence[str],
    child: Child,
    *,
    time_limit: float = TIME_LIMIT_SECONDS,
) -> dict[str, Path | ExportError]:
    """Makes the files of several lowerings of one job, each in a folder of `work`.

    The child loads the model once for all of them. Where it ends early, the lowering that it was at
    is at fault, and it is started again for the rest.

    Args:
        job: A job of target cpu, without its lowering.
        work: Gets a folder for every lowering.
        lowerings: What to make, in this order.
        child: Of `open_converter` for the job's target.
        time_limit: Seconds for each lowering.

    Returns:
        For every lowering its file, or what `convert` would have raised.
    """
    outputs = {lowering: output_path(job, work / lowering) for lowering in lowerings}
    for output in outputs.values():
        output.parent.mkdir()
    found: dict[str, Path | ExportError] = {}
    while left := [lowering for lowering in lowerings if lowering not in found]:
        folder = work / left[0]
        paths = {lowering: str(outputs[lowering]) for lowering in left}
        error = child.run({**job, "outputs": paths}, folder, time_limit * len(left))
        for lowering in left:
            if not outputs[lowering].is_file():
                found[lowering] = ExportError(
                    describe_fault(job["scheme"], lowering, error, folder)
                )
                break
            found[lowering] = outputs[lowering]
    return found


def output_path(job: dict[str, Any], folder: Path) -> Path:
    """Returns where the child writes a model file, which is there once it is whole."""
    return folder / f"out-{TARGETS[job['target']].model_file}"


def run_job(
    module: str, job: dict[str, Any], folder: Path, *, what: str, time_limit: float
) -> Path:
    """Runs a module that reads a job file and writes the job's "output"; returns that path.

    Args:
        module: Its `main` takes the path of the job file.
        job: What it is told.
        folder: Where the job file and the log go.
        what: What is being done, for messages.
        time_limit: Seconds until the child is ended.

    Raises:
        ExportError: As for `convert`.
    """
    output = Path(job["output"])
    with Child(module) as child:
        error = child.run(job, folder, time_limit)
    if error or not output.is_file():
        raise ExportError(describe_end(what, error, folder))
    return output


def describe_fault(scheme: str, lowering: str, error: int | str, folder: Path) -> str:
    """Returns why the child whose log is in `folder` made no file of a lowering."""
    return describe_end(f"scheme={scheme} lowering={lowering}", error, folder)


def describe_end(what: str, error: int | str, folder: Path) -> str:
    """Returns why the child whose log is in `folder` did not do what it was to do."""
    if isinstance(error, str):
        return (
            f"{what}: the converter was {error} and was ended. Use a smaller data.sequence_length "
            "or --lowering loop."
        )
    if (folder / REFUSAL_FILE).is_file():
        return (folder / REFUSAL_FILE).read_text("utf-8")
    return f"{what}: {describe_death(error, read_log(folder / LOG_FILE))}"


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
