"""A trained variant, a target and a scheme → an artifact folder, whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

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
from device_runner.signatures import bucket_name
from tfpipe.export.child import Child
from tfpipe.export.converter import open_converter
from tfpipe.export.golden import write_golden
from tfpipe.export.model_file import open_runtime, write_model
from tfpipe.export.options import ExportOptions as ExportOptions
from tfpipe.export.plan import Plan, plan_export
from tfpipe.export.target import TARGETS, ExportError
from tfpipe.metrics import THRESHOLD
from tfpipe.run_folder import RunFolder
from tfpipe.staging import staging_folder
from tfpipe.variant import load_tokenizer, vocabulary_path
from tfpipe.versions import now, read_versions

# What of check.json is told at once.
_SIZES = ("model_size_bytes", "zip_size_bytes", "zstd_size_bytes")
_SHOWN_FACTS = (*_SIZES, "min_runtime", "mediapipe")


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
        "zstd_size_bytes", "min_runtime", "mediapipe", "sha256"}; "artifact" is the folder's path,
        "mediapipe" says whether MediaPipe's TextClassifier takes the file: {"loads", "reason"}.

    Raises:
        ExportError: The target does not take the model, or the converter failed.
        FileExistsError: The name is taken and `overwrite` is False.
        ValueError: Not a finished run, no such variant, or a bad name.
    """
    plan = plan_export(RunFolder(Path(run)), options or ExportOptions(), overwrite=overwrite)
    with open_converter(plan.options.target) as child:
        return make_artifact(plan, child)


def export_schemes(
    run: str | Path, options: ExportOptions, schemes: Iterable[str], *, overwrite: bool = False
) -> dict[str, Any]:
    """Exports a variant of a run in several schemes, which takes less time than one by one: their
    files are made by one process.

    Nothing is made unless each of them can be asked for. One that cannot be converted, or that does
    not run, does not keep the others from being made.

    Args:
        run: The run folder.
        options: What to make; its scheme and its name count for nothing.
        schemes: Types of weights and activations; one that is there twice is made once.
        overwrite: Whether artifacts of the same names are replaced.

    Returns:
        {"artifacts": [what `export_artifact` returns], "failures": [{"scheme", "error"}]}.

    Raises:
        ExportError: The target does not take the model in one of the schemes.
        FileExistsError: One of the names is taken and `overwrite` is False.
        ValueError: Not a finished run, or no such variant.
    """
    folder = RunFolder(Path(run))
    plans = [
        plan_export(folder, replace(options, scheme=scheme, name=None), overwrite=overwrite)
        for scheme in dict.fromkeys(schemes)
    ]
    result: dict[str, Any] = {"artifacts": [], "failures": []}
    with open_converter(options.target) as child:
        for plan in plans:
            try:
                result["artifacts"].append(make_artifact(plan, child))
            except ExportError as error:
                failure = {"scheme": plan.options.scheme, "error": str(error)}
                result["failures"].append(failure)
    return result


def make_artifact(plan: Plan, child: Child) -> dict[str, Any]:
    """Makes an artifact; returns what `export_artifact` returns.

    Raises:
        ExportError: The converter failed.
    """
    folder, options = plan.folder, plan.options
    device, found = open_runtime(options)
    destination = folder.export(plan.name)
    with staging_folder(destination) as staging:
        facts = write_model(staging, folder, options, plan.lowerings, device, child)
        facts["proof"] = found
        tokenizer = load_tokenizer(folder, options.variant)
        model = staging / TARGETS[options.target].model_file
        write_golden(
            model, folder, tokenizer, scheme=options.scheme, target=options.target, device=device
        )
        shutil.rmtree(staging / "work")
        shutil.copyfile(vocabulary_path(folder, options.variant), staging / VOCABULARY_FILE)
        shutil.copyfile(folder.labels, staging / LABELS_FILE)
        write_json_atomic(staging / "check.json", facts)
        manifest = make_manifest(staging, plan, facts, tokenizer)
        write_manifest(staging, manifest)
    return describe_artifact(destination, manifest, facts)


def describe_artifact(path: Path, manifest: Manifest, facts: dict[str, Any]) -> dict[str, Any]:
    """Returns what `export_artifact` returns."""
    return {
        "artifact": str(path),
        **{key: getattr(manifest, key) for key in ("name", "target", "scheme", "lowering")},
        **{key: facts[key] for key in _SHOWN_FACTS},
        "sha256": manifest.model_sha256,
    }


def make_manifest(
    staging: Path, plan: Plan, facts: dict[str, Any], tokenizer: Tokenizer
) -> Manifest:
    """Returns the manifest of the files in `staging`."""
    options, content = plan.options, plan.content
    length = content["recipe"]["data"]["sequence_length"]
    labels = (staging / LABELS_FILE).read_text("utf-8").split("\n")[:-1]
    model_file = TARGETS[options.target].model_file
    extra_files = facts.get("extra_files", ())
    files = {
        file: {"sha256": sha256_of_file(staging / file), "bytes": (staging / file).stat().st_size}
        for file in (model_file, VOCABULARY_FILE, LABELS_FILE, GOLDEN_FILE, *extra_files)
    }
    return Manifest(
        name=plan.name,
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
        signatures=[
            classification_signature(length, len(labels)),
            *(
                classification_signature(shorter, len(labels), name=bucket_name(shorter))
                for shorter in facts["buckets"]
            ),
        ],
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
