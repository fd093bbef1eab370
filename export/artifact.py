"""A trained variant, a target and a scheme → an artifact folder, whole or not at all."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
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
from tfpipe.check import BUILTIN_NAMES, inspect_tflite
from tfpipe.export.calibration import calibration_ids
from tfpipe.export.converter import FACTS_FILE, convert
from tfpipe.export.edgetpu import finish_edgetpu
from tfpipe.export.golden import write_golden
from tfpipe.export.staging import check_name, staging_folder
from tfpipe.export.target import TARGETS, ExportError, choose_lowering, require_package
from tfpipe.metrics import THRESHOLD
from tfpipe.run_folder import RunFolder
from tfpipe.variant import check_variant, load_tokenizer
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
        lowering: How a recurrence is written; "auto" chooses by the sequence length.
        variant: "base" or a compressed variant's name.
        name: The artifact's; None makes one of variant, target and scheme.
        num_segments: How many Edge TPUs share the model.
    """

    target: str = "cpu"
    scheme: str = "float32"
    lowering: str = "auto"
    variant: str = "base"
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
    check_variant(folder, options.variant)
    length = content["recipe"]["data"]["sequence_length"]
    lowering = choose_lowering(
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
    with staging_folder(destination) as staging:
        facts = write_model(staging, folder, options, lowering)
        tokenizer = load_tokenizer(folder)
        model = staging / TARGETS[options.target].model_file
        write_golden(model, folder, tokenizer, scheme=options.scheme, target=options.target)
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
    staging: Path, folder: RunFolder, options: ExportOptions, lowering: str
) -> dict[str, Any]:
    """Converts the variant into `staging`, with a work folder beside it; returns check.json's
    content."""
    work = staging / "work"
    work.mkdir()
    content = folder.read()
    job = {
        "run": str(folder.path),
        "variant": options.variant,
        "target": options.target,
        "scheme": options.scheme,
        "lowering": lowering,
    }
    if options.scheme == "int8":
        length = content["recipe"]["data"]["sequence_length"]
        job["calibration"] = str(work / "calibration.npy")
        np.save(job["calibration"], calibration_ids(folder, load_tokenizer(folder), length))
    model = staging / TARGETS[options.target].model_file
    convert(job, work).rename(model)
    if (work / FACTS_FILE).is_file():
        facts = json.loads((work / FACTS_FILE).read_text("utf-8"))
    else:
        facts = inspect_tflite(model)
    checked = {**check_model(facts, content["parameters"]), "lowering": lowering}
    if options.target == "edgetpu":
        checked.update(finish_edgetpu(staging, work, options.num_segments))
    return checked


def default_name(options: ExportOptions) -> str:
    """Returns for example "cpu-int8", with a compressed variant's name before it."""
    parts = [options.target, options.scheme]
    return "-".join(parts if options.variant == "base" else [options.variant, *parts])


def check_model(facts: dict[str, Any], parameters: int) -> dict[str, Any]:
    """Returns what check.json holds of a converted file.

    Raises:
        ExportError: It holds ops that need more than the builtin runtime, or lacks weights.
    """
    builtin = set(BUILTIN_NAMES.values()) - {"CUSTOM"}
    # An ONNX file says its opset, and its runtime has every op of it.
    foreign = [name for name in facts["ops"] if name not in builtin and "opset" not in facts]
    if foreign:
        raise ExportError(
            f"ops={foreign} are not builtin, so no small runtime has them. Report this."
        )
    stored = sum(facts["bytes_by_dtype"].values())
    if stored < MIN_BYTES_PER_PARAMETER * parameters:
        raise ExportError(
            f"the file holds {stored} bytes of constants for {parameters} parameters: weights are "
            f"missing. At least {MIN_BYTES_PER_PARAMETER} bytes each were expected. Report this."
        )
    return {"ok": True, **facts, "findings": []}


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
