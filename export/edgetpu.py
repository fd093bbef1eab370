"""A converted tail and its tables → the rest of an Edge TPU artifact: compiled, or predicted."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from device_runner.edgetpu import COMPILED_FILE
from device_runner.lookup import EMBEDDING_FILE, POOLING_FILE
from device_runner.manifest import MODEL_FILE
from tfpipe.export.edgetpu_compiler import (
    PROGRAM,
    command_elsewhere,
    compile_for_edgetpu,
    find_compiler,
)
from tfpipe.export.edgetpu_log import count_statuses
from tfpipe.export.edgetpu_rules import predict_mapping
from tfpipe.export.target import ExportError

MAX_SEGMENTS = 16


def finish_edgetpu(staging: Path, work: Path, num_segments: int) -> dict[str, Any]:
    """Moves the host's tables beside the tail and compiles it where the compiler is installed.

    Args:
        staging: The artifact to be, with the uncompiled tail as MODEL_FILE.
        work: Folder of the conversion, with the tables.
        num_segments: How many Edge TPUs share the model.

    Returns:
        What joins check.json: "edgetpu": {"compiled", "predicted", "operations", "mapped",
        "unmapped", "unknown", "command", …}, "extra_files": names of the further files, and
        "findings".

    Raises:
        ExportError: The compiler failed, or `num_segments` is out of range.
    """
    if not 1 <= num_segments <= MAX_SEGMENTS:
        raise ExportError(
            f"num_segments={num_segments} lies outside 1 to {MAX_SEGMENTS}. Give the number of "
            "Edge TPUs that share the model."
        )
    for name in (EMBEDDING_FILE, POOLING_FILE):
        (work / name).rename(staging / name)
    extra_files = [EMBEDDING_FILE, POOLING_FILE]
    command = command_elsewhere(MODEL_FILE, num_segments)
    program = find_compiler()
    if program is None:
        operations = predict_mapping(staging / MODEL_FILE)
        facts: dict[str, Any] = {"compiled": False, "predicted": True, "operations": operations}
    else:
        output = work / "compiled"
        output.mkdir()
        files, found = compile_for_edgetpu(
            program, staging / MODEL_FILE, output, num_segments=num_segments
        )
        for file in files:
            shutil.move(file, staging / file.name)
        extra_files += [file.name for file in files]
        facts = {"compiled": True, "predicted": False, **found}
    facts.update(count_statuses(facts["operations"]), command=command, num_segments=num_segments)
    return {"edgetpu": facts, "extra_files": extra_files, "findings": list(find_problems(facts))}


def find_problems(facts: dict[str, Any]) -> list[dict[str, str]]:
    """Returns findings as check.json has them: what the user should know before deploying."""
    findings = []
    if not facts["compiled"]:
        findings.append(
            finding(
                "edgetpu-not-compiled",
                f"{PROGRAM} is not on PATH: the file is not compiled, and what is said of its ops "
                "is a prediction from documented rules",
                f"on x86-64 Linux: {facts['command']}, then put {COMPILED_FILE} beside it",
            )
        )
    total = facts["mapped"] + facts["unmapped"] + facts["unknown"]
    if total and facts["mapped"] < total:
        verb = "would map" if facts["predicted"] else "are mapped"
        findings.append(
            finding(
                "edgetpu-partly-mapped",
                f"{facts['mapped']} of {total} ops {verb}; the rest runs on the CPU",
                "measure it against --target cpu --scheme int8, or use --model textcnn",
            )
        )
    return findings


def finding(code: str, message: str, fix: str) -> dict[str, str]:
    """Returns one warning."""
    return {"code": code, "severity": "warning", "message": message, "fix": fix}
