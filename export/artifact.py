"""A trained variant, a target and a scheme → an artifact folder, whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from device_runner.encode import Tokenizer
from device_runner.files import sha256_of_file, write_json_atomic
from device_runner.manifest import (
    GOLDEN_FILE,
    LABELS_FILE,
    VOCABULARY_FILE,
    Manifest,
    classification_signature,
    write_manifest,
)
from tfpipe.check import inspect_tflite
from tfpipe.devices import Device, open_device
from tfpipe.devices.environment import NoEnvironmentError, parse_runtime
from tfpipe.export.calibration import calibration_ids, probe_ids
from tfpipe.export.candidates import convert_fastest
from tfpipe.export.converter import FACTS_FILE, convert
from tfpipe.export.edgetpu import finish_edgetpu
from tfpipe.export.golden import write_golden
from tfpipe.export.target import TARGETS, ExportError, possible_lowerings, require_package
from tfpipe.metrics import THRESHOLD
from tfpipe.run_folder import RunFolder
from tfpipe.staging import check_name, staging_folder
from tfpipe.variant import is_quantized, load_tokenizer
from tfpipe.versions import now, read_versions

# A float16 or int8 file holds a quarter to a half of the parameters' 4 bytes; less than this share
# of one byte a parameter means that weights are missing.
MIN_BYTES_PER_PARAMETER = 0.9


@dataclass(frozen=True)
class ExportOptions:
    """What to make of a variant.

    Attributes:
        target: A key of `tfpipe.export.target.TARGETS`.
        scheme: Types of weights and activations.
        lowering: How a recurrence is written; "auto" measures the candidates here and takes the
            fastest right one.
        variant: "base" or a compressed variant's name.
        runtime: NAME==VERSION of the TFLite runtime that the file must run on, or "oldest"; None
            for the host's own.
        name: The artifact's; None makes one of variant, target and scheme.
        num_segments: How many Edge TPUs share the model.
    """

    target: str = "cpu"
    scheme: str = "float32"
    lowering: str = "auto"
    variant: str = "base"
    runtime: str | None = None
    name: str | None = None
    num_segments: int = 1


def export_artifact(
    run: str | Path, options: ExportOptions | None = None, *, overwrite: bool = False
) -> dict[str, Any]:
    """Exports a variant of a run to RUN/exports/NAME.

    Args:
        run: The run folder.
        options: What to make; the default is a float32 file for CPUs.
        overwrite: Whether an artifact of the same name is replaced.

    Returns:
        {"artifact", "name", "target", "scheme", "lowering", "model_size_bytes", "zip_size_bytes",
        "min_runtime", "sha256"}; "artifact" is the folder's path.

    Raises:
        ExportError: The target does not take the model, or the converter failed.
        FileExistsError: The name is taken and `overwrite` is False.
        ValueError: Not a finished run, no such variant, or a bad name.
    """
    options = options or ExportOptions()
    folder = RunFolder(Path(run))
    content = folder.read()
    if is_quantized(folder, options.variant):
        options = check_quantized(options)
    length = content["recipe"]["data"]["sequence_length"]
    lowerings = possible_lowerings(
        content["model"],
        target=options.target,
        scheme=options.scheme,
        lowering=options.lowering,
        sequence_length=length,
    )
    require_package(options.target)
    name = check_name(options.name or default_name(options))
    destination = folder.export(name)
    if destination.exists() and not overwrite:
        raise FileExistsError(
            f"artifact={str(destination)!r} exists. Give --overwrite to replace it, or another "
            "name with --as."
        )
    device, found = open_runtime(options)
    with staging_folder(destination) as staging:
        facts = write_model(staging, folder, options, lowerings, device)
        facts["proof"] = found
        tokenizer = load_tokenizer(folder)
        model = staging / TARGETS[options.target].model_file
        write_golden(
            model, folder, tokenizer, scheme=options.scheme, target=options.target, device=device
        )
        shutil.rmtree(staging / "work")
        shutil.copyfile(folder.vocabulary, staging / VOCABULARY_FILE)
        shutil.copyfile(folder.labels, staging / LABELS_FILE)
        write_json_atomic(staging / "check.json", facts)
        manifest = make_manifest(staging, name, options, content, facts, tokenizer)
        write_manifest(staging, manifest)
    return {
        "artifact": str(destination),
        **{key: getattr(manifest, key) for key in ("name", "target", "scheme", "lowering")},
        **{key: facts[key] for key in ("model_size_bytes", "zip_size_bytes", "min_runtime")},
        "sha256": manifest.model_sha256,
    }


def write_model(
    staging: Path,
    folder: RunFolder,
    options: ExportOptions,
    lowerings: Sequence[str],
    device: Device,
) -> dict[str, Any]:
    """Converts the variant into `staging`, with a work folder beside it; returns check.json's
    content."""
    work = staging / "work"
    work.mkdir()
    content = folder.read()
    length = content["recipe"]["data"]["sequence_length"]
    tokenizer = load_tokenizer(folder)
    job = {
        "run": str(folder.path),
        "variant": options.variant,
        "target": options.target,
        "scheme": options.scheme,
        "runtime": parse_runtime(options.runtime).spec if options.runtime else None,
    }
    if options.scheme == "int8" and not is_quantized(folder, options.variant):
        job["calibration"] = str(work / "calibration.npy")
        np.save(job["calibration"], calibration_ids(folder, tokenizer, length))
    candidates: list[dict[str, Any]] = []
    lowering = lowerings[0]
    if len(lowerings) == 1:
        path = convert({**job, "lowering": lowering}, work)
    else:
        token_ids = probe_ids(folder, tokenizer, length)
        path, lowering, candidates = convert_fastest(
            job, work, lowerings, token_ids=token_ids, device=device
        )
    facts_file = path.with_name(FACTS_FILE)
    if facts_file.is_file():
        facts = json.loads(facts_file.read_text("utf-8"))
    else:
        facts = inspect_tflite(path)
    path.rename(staging / TARGETS[options.target].model_file)
    checked = {
        **check_model(facts, content["parameters"]),
        "lowering": lowering,
        "candidates": candidates,
    }
    if options.target == "edgetpu":
        checked.update(finish_edgetpu(staging, work, options.num_segments))
    return checked


def check_quantized(options: ExportOptions) -> ExportOptions:
    """Returns the options for a quantization-aware variant, whose rounding is that of one graph.

    Raises:
        ExportError: They ask for another graph.
    """
    asked = (options.target, options.scheme, options.lowering)
    if asked[:2] != ("cpu", "int8") or asked[2] not in ("auto", "unrolled"):
        raise ExportError(
            f"variant={options.variant!r} was trained with the rounding of scheme int8, and "
            f"target={asked[0]} scheme={asked[1]} lowering={asked[2]} would ship another function. "
            "Use --target cpu --scheme int8, or another --variant."
        )
    return replace(options, lowering="unrolled")


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
        return open_device("local"), {"wanted": wanted, "proven": False, "reason": reason}


def default_name(options: ExportOptions) -> str:
    """Returns for example "cpu-int8", with a compressed variant's name before it."""
    parts = [options.target, options.scheme]
    if options.variant != "base":
        parts.insert(0, options.variant)
    if options.runtime is not None:
        parts.append(parse_runtime(options.runtime).spec.replace("==", "-"))
    return "-".join(parts)


def check_model(facts: dict[str, Any], parameters: int) -> dict[str, Any]:
    """Returns what check.json holds of a converted file.

    Raises:
        ExportError: It would not load and run whole on a CPU, or it lacks weights.
    """
    errors = [entry for entry in facts.get("findings", []) if entry["severity"] == "error"]
    if errors:
        raise ExportError(
            "the converted file would not run: "
            + " ".join(f"{entry['code']}: {entry['message']}" for entry in errors)
            + " Report this."
        )
    stored = sum(facts["bytes_by_dtype"].values())
    if stored < MIN_BYTES_PER_PARAMETER * parameters:
        raise ExportError(
            f"the file holds {stored} bytes of constants for {parameters} parameters: weights are "
            f"missing. At least {MIN_BYTES_PER_PARAMETER} bytes each were expected. Report this."
        )
    return {"ok": True, "findings": [], **facts}


def make_manifest(
    staging: Path,
    name: str,
    options: ExportOptions,
    content: dict[str, Any],
    facts: dict[str, Any],
    tokenizer: Tokenizer,
) -> Manifest:
    """Returns the manifest of the files in `staging`."""
    length = content["recipe"]["data"]["sequence_length"]
    labels = (staging / LABELS_FILE).read_text("utf-8").split("\n")[:-1]
    model_file = TARGETS[options.target].model_file
    extra_files = facts.get("extra_files", ())
    files = {
        file: {"sha256": sha256_of_file(staging / file), "bytes": (staging / file).stat().st_size}
        for file in (model_file, VOCABULARY_FILE, LABELS_FILE, GOLDEN_FILE, *extra_files)
    }
    return Manifest(
        name=name,
        task=content["task"],
        multi_label=content["multi_label"],
        model=content["model"],
        variant=options.variant,
        target=options.target,
        scheme=options.scheme,
        lowering=facts["lowering"],
        min_runtime=facts["min_runtime"],
        sequence_length=length,
        num_classes=len(labels),
        signatures=[classification_signature(length, len(labels))],
        tokenizer=tokenizer.spec.to_json(),
        threshold=THRESHOLD if content["multi_label"] else None,
        files=files,
        model_file=model_file,
        recipe=content["recipe"],
        versions={**read_versions(), **opset_version(facts)},
        created=now(),
    )


def opset_version(facts: dict[str, Any]) -> dict[str, str]:
    """Returns the opset of an ONNX file as a version; a TFLite file has none."""
    return {"onnx-opset": str(facts["opset"])} if "opset" in facts else {}
