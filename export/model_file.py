"""A trained variant and a request → its model file, and the facts of check.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from device_runner.encode import Tokenizer
from device_runner.texts import read_texts
from tfpipe.check import check
from tfpipe.devices import Device, open_device
from tfpipe.devices.environment import NoEnvironmentError, parse_runtime
from tfpipe.export.buckets import choose_buckets
from tfpipe.export.calibration import calibration_ids, probe_ids
from tfpipe.export.candidates import convert_fastest
from tfpipe.export.child import Child
from tfpipe.export.converter import FACTS_FILE, convert
from tfpipe.export.edgetpu import finish_edgetpu
from tfpipe.export.mediapipe import write_for_mediapipe
from tfpipe.export.options import ExportOptions
from tfpipe.export.target import TARGETS, ExportError
from tfpipe.run_folder import RunFolder
from tfpipe.variant import (
    IMPORTED_MODELS,
    count_parameters,
    is_quantized,
    load_tokenizer,
    read_labels,
)

# A float16 or int8 file holds a quarter to a half of the parameters' 4 bytes; less than this share
# of one byte a parameter, or of half of one in 4 bits, means that weights are missing.
MIN_BYTES_PER_PARAMETER = 0.9
MIN_BYTES_OF_HALVES = 0.45


def write_model(
    staging: Path,
    folder: RunFolder,
    options: ExportOptions,
    lowerings: Sequence[str],
    device: Device,
    child: Child,
) -> dict[str, Any]:
    """Converts the variant into `staging`, with a work folder beside it; returns check.json's
    content."""
    work = staging / "work"
    work.mkdir()
    length = folder.read()["recipe"]["data"]["sequence_length"]
    tokenizer = load_tokenizer(folder, options.variant)
    job = make_job(work, folder, options, tokenizer)
    lowerings = able_lowerings(lowerings, job)
    candidates: list[dict[str, Any]] = []
    lowering = lowerings[0]
    if len(lowerings) == 1:
        path = convert({**job, "lowering": lowering}, work, child)
    else:
        token_ids = probe_ids(folder, tokenizer, length)
        path, lowering, candidates = convert_fastest(
            job, work, lowerings, token_ids=token_ids, device=device, child=child
        )
    imported = folder.read()["model"] in IMPORTED_MODELS
    mediapipe = write_for_mediapipe(
        path, tokenizer, read_labels(folder), options.target, imported=imported
    )
    facts = read_facts(path, job)
    path.rename(staging / TARGETS[options.target].model_file)
    checked = {
        **check_model(facts, count_parameters(folder, options.variant), options.scheme),
        "lowering": lowering,
        "candidates": candidates,
        "buckets": job["buckets"],
        "branch_lengths": job["branch_lengths"] if lowering == "branches" else [],
        "mediapipe": mediapipe,
    }
    if options.target == "edgetpu":
        checked.update(finish_edgetpu(staging, work, options.num_segments))
    return checked


def make_job(
    work: Path, folder: RunFolder, options: ExportOptions, tokenizer: Tokenizer
) -> dict[str, Any]:
    """Returns what the converter's process is told, without the lowering; calibration inputs are
    written into `work`."""
    length = folder.read()["recipe"]["data"]["sequence_length"]
    chosen = {"buckets": options.buckets, "branch_lengths": None if options.buckets else "auto"}
    job: dict[str, Any] = {
        "run": str(folder.path),
        "variant": options.variant,
        "target": options.target,
        "scheme": options.scheme,
        "runtime": parse_runtime(options.runtime).spec if options.runtime else None,
        **{
            name: shorter_lengths(asked, folder, tokenizer, length)
            for name, asked in chosen.items()
        },
    }
    if options.scheme == "int8" and not is_quantized(folder, options.variant):
        calibration = work / "calibration.npy"
        np.save(calibration, calibration_ids(folder, tokenizer, length))
        job["calibration"] = str(calibration)
    return job


def read_facts(path: Path, job: dict[str, Any]) -> dict[str, Any]:
    """Returns what the child wrote of a file that only it can look into, else what `check` says."""
    facts_file = path.with_name(FACTS_FILE)
    if facts_file.is_file():
        facts: dict[str, Any] = json.loads(facts_file.read_text("utf-8"))
        return facts
    rules = "web" if job["target"] == "web" else "cpu"
    return check(path, target=rules, runtime=job["runtime"])


def shorter_lengths(
    asked: str | None, folder: RunFolder, tokenizer: Tokenizer, sequence_length: int
) -> list[int]:
    """Returns the lengths that have ops of their own beside the full one, chosen from the training
    texts that the run keeps; see `choose_buckets`. None are there unless asked for."""
    if asked is None:
        return []
    texts = read_texts(folder.examples("calibration"))
    lengths = [len(tokenizer.encode(text, sequence_length)) for text in texts]
    return list(choose_buckets(asked, np.array(lengths, np.int64), sequence_length))


def able_lowerings(lowerings: Sequence[str], job: dict[str, Any]) -> list[str]:
    """Returns the lowerings but for "branches" where a job has no shorter lengths to branch to.

    Raises:
        ExportError: None is left.
    """
    able = [name for name in lowerings if name != "branches" or job["branch_lengths"]]
    if not able:
        raise ExportError(
            f"lowering='branches' with buckets={job['buckets']}: branches are for texts that are "
            "shorter than the full length and have no graph of their own. Use --lowering static."
        )
    return able


def open_runtime(options: ExportOptions) -> tuple[Device, dict[str, Any]]:
    """Returns where the file is run, and {"wanted", "proven", "reason"}: where this machine cannot
    have the runtime, the host's own stands in and `proven` is False.

    Raises:
        ExportError: A TFLite runtime for another kind of file.
    """
    wanted = options.runtime
    if wanted is None:
        return open_device("local"), {"wanted": None, "proven": True, "reason": None}
    if options.target != "cpu":
        raise ExportError(
            f"runtime={wanted!r} with target={options.target!r}: only files for target cpu are "
            "made for a TFLite runtime. Leave --runtime out."
        )
    try:
        device = open_device(f"local?runtime={wanted}")
        return device, {"wanted": parse_runtime(wanted).spec, "proven": True, "reason": None}
    except NoEnvironmentError as error:
        reason = f"not verified on this Python: {error}"
        return open_device("local"), {
            "wanted": parse_runtime(wanted).spec,
            "proven": False,
            "reason": reason,
        }


def check_model(facts: dict[str, Any], parameters: int, scheme: str = "float32") -> dict[str, Any]:
    """Returns what check.json holds of a converted file.

    Raises:
        ExportError: It would not load and run whole on a CPU, or it lacks weights.
    """
    errors = [entry for entry in facts.get("findings", []) if entry["severity"] == "error"]
    if errors:
        raise ExportError(
            "the converted file would not run: "
            + " ".join(f"{entry['code']}: {entry['message']}" for entry in errors)
            + " Use another --scheme or --runtime."
        )
    stored = sum(facts["bytes_by_dtype"].values())
    least = MIN_BYTES_OF_HALVES if scheme == "dynamic_int4" else MIN_BYTES_PER_PARAMETER
    if stored < least * parameters:
        raise ExportError(
            f"the file holds {stored} bytes of constants for {parameters} parameters: weights are "
            f"missing. At least {least} bytes each were expected. Report this."
        )
    return {"ok": True, "findings": [], **facts}
