"""A full-int8 .tflite file → compiled files and the compiler's facts, or one clear error."""

from __future__ import annotations

import shlex
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

from tfpipe.export.edgetpu_log import parse_log
from tfpipe.export.target import ExportError

PROGRAM = "edgetpu_compiler"
# The compiler's own timer ends at 180 s from version 15 on; older ones have none.
TIME_LIMIT_SECONDS = 240
SHOWN_LINES = 6


def find_compiler() -> str | None:
    """Returns the path of edgetpu_compiler, None where it is not installed."""
    return shutil.which(PROGRAM)


def compiler_arguments(model: str, folder: str, num_segments: int) -> list[str]:
    """Returns the arguments: print the table of operations, write to `folder`, for so many TPUs."""
    segments = ["-n", str(num_segments)] if num_segments > 1 else []
    return ["-s", *segments, "--out_dir", folder, model]


def command_elsewhere(model: str, num_segments: int) -> str:
    """Returns the command that compiles a file where the compiler is installed."""
    return shlex.join([PROGRAM, *compiler_arguments(model, ".", num_segments)])


def compiled_names(stem: str, num_segments: int) -> list[str]:
    """Returns the names of the files that the compiler writes."""
    if num_segments == 1:
        return [f"{stem}_edgetpu.tflite"]
    return [f"{stem}_segment_{i}_of_{num_segments}_edgetpu.tflite" for i in range(num_segments)]


def compile_for_edgetpu(
    program: str,
    model: Path,
    folder: Path,
    *,
    num_segments: int = 1,
    time_limit: float = TIME_LIMIT_SECONDS,
) -> tuple[list[Path], dict[str, Any]]:
    """Runs the compiler.

    Args:
        program: Path of edgetpu_compiler.
        model: The uncompiled file.
        folder: Where the compiled files go.
        num_segments: How many Edge TPUs share the model.
        time_limit: After this many seconds the compiler is ended.

    Returns:
        The compiled files, and what `parse_log` found.

    Raises:
        ExportError: The compiler hangs, crashes, refuses the file, or writes nothing.
    """
    command = [program, *compiler_arguments(str(model), str(folder), num_segments)]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=time_limit,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ExportError(
            f"{PROGRAM} was not done after {time_limit:g} s and was ended. Use a smaller model or "
            "data.sequence_length."
        ) from error
    except OSError as error:
        raise ExportError(
            f"{program} cannot be run: {error}. It is a program for x86-64 Linux; compile "
            "elsewhere, with it off PATH here."
        ) from error
    text = done.stdout.decode("utf-8", "replace")
    facts = parse_log(text)
    tail = last_lines(text)
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise ExportError(f"{PROGRAM} was ended by {name}. Its last lines:\n{tail}")
    if done.returncode or not facts["succeeded"]:
        reason = facts["failure"] or f"exit code {done.returncode}"
        raise ExportError(
            f"{PROGRAM} {facts['version'] or 'of unknown version'} refused the model: {reason}. "
            f"Export it with --target cpu, or another model. Its last lines:\n{tail}"
        )
    files = [folder / name for name in compiled_names(model.stem, num_segments)]
    missing = [file.name for file in files if not file.is_file() or not file.stat().st_size]
    if missing:
        raise ExportError(
            f"{PROGRAM} says it succeeded and did not write {', '.join(missing)}. Look whether the "
            f"disk is full, or try another version. Its last lines:\n{tail}"
        )
    return files, facts


def last_lines(text: str) -> str:
    """Returns the end of what the compiler printed, for a message."""
    lines = [f"  {line[:300]}" for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-SHOWN_LINES:]) or "  (it printed nothing)"
