"""A trained variant, a target and a scheme → an artifact folder, whole or not at all."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from device_runner.encode import Tokenizer
from device_runner.files import sha256_of_file, write_json_atomic
from device_runner.manifest import (
    GOLDEN_FILE,
    LABELS_FILE,
    MODEL_FILE,
    VOCABULARY_FILE,
    Manifest,
    classification_signature,
    write_manifest,
)
from device_runner.texts import read_texts
from tfpipe.check import inspect_tflite
from tfpipe.export.converter import convert
from tfpipe.export.target import ExportError, choose_lowering
from tfpipe.metrics import THRESHOLD
from tfpipe.run_folder import RunFolder
from tfpipe.run_model import run_model
from tfpipe.variant import check_variant, load_tokenizer
from tfpipe.versions import now, read_versions

# Calibration inputs: TFLite's guide asks for 100 to 500 real ones.
CALIBRATION_INPUTS = 200
GOLDEN_TEXTS = 8
# Texts that every tokenizer must get right, beside real ones: nothing at all, characters of many
# scripts and classes, and one text longer than any sequence.
HOSTILE_TEXTS = ("", "Ａ İstanbul ΣΑΣ café naïve 北京 ไทย 한국어 \u200d\ufffd 😀!", "word " * 2000)
# How far a golden output may be off on another machine. Float kernels add up in another order;
# integer kernels round one quantum (1/256) otherwise, and a recurrence carries that on.
GOLDEN_TOLERANCES = {"float32": 1e-4, "float16": 5e-3, "dynamic_int8": 0.05, "int8": 0.05}
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
    """

    target: str = "cpu"
    scheme: str = "float32"
    lowering: str = "auto"
    variant: str = "base"
    name: str | None = None


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
        content["model"], target=options.target, scheme=options.scheme,
        lowering=options.lowering, sequence_length=length,
    )
    name = check_name(options.name or default_name(options))
    destination = folder.export(name)
    if destination.exists() and not overwrite:
        raise FileExistsError(
            f"artifact={str(destination)!r} exists. Give --overwrite to replace it, or another --as."
        )
    with staging_folder(destination) as staging:
        tokenizer = load_tokenizer(folder)
        job = {
            "run": str(folder.path), "variant": options.variant, "scheme": options.scheme,
            "lowering": lowering,
            "calibration": str(staging / "work" / "calibration.npy"),
        }
        (staging / "work").mkdir()
        np.save(job["calibration"], calibration_ids(folder, tokenizer, length))
        convert(job, staging / "work").rename(staging / MODEL_FILE)
        facts = check_model(staging / MODEL_FILE, content["parameters"])
        write_golden(staging, folder, tokenizer, length=length, scheme=options.scheme)
        shutil.rmtree(staging / "work")
        shutil.copyfile(folder.vocabulary, staging / VOCABULARY_FILE)
        shutil.copyfile(folder.labels, staging / LABELS_FILE)
        facts["lowering"] = lowering
        write_json_atomic(staging / "check.json", facts)
        manifest = make_manifest(staging, name, options, content, facts, tokenizer)
        write_manifest(staging, manifest)
    return {
        "artifact": str(destination), "name": name, "target": options.target,
        "scheme": options.scheme, "lowering": lowering,
        "model_size_bytes": facts["model_size_bytes"], "zip_size_bytes": facts["zip_size_bytes"],
        "min_runtime": facts["min_runtime"], "sha256": manifest.model_sha256,
    }


def default_name(options: ExportOptions) -> str:
    """Returns for example "cpu-int8", with a compressed variant's name before it."""
    parts = [options.target, options.scheme]
    return "-".join(parts if options.variant == "base" else [options.variant, *parts])


def check_name(name: str) -> str:
    """Returns a name that is safe as a folder's."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", name):
        raise ValueError(
            f"name={name!r} must be 1 to 100 of A-Z a-z 0-9 . _ - and not begin with . or -."
        )
    return name


@contextlib.contextmanager
def staging_folder(destination: Path) -> Iterator[Path]:
    """Gives a folder beside `destination` that takes its place when the block ends well, and goes
    away when it does not."""
    destination.parent.mkdir(exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{destination.name}-", dir=destination.parent))
    staging.chmod(0o755)
    try:
        yield staging
        if destination.exists():
            retired = destination.parent / f".{destination.name}-old-{uuid.uuid4().hex}"
            os.replace(destination, retired)
            os.replace(staging, destination)
            shutil.rmtree(retired)
        else:
            os.replace(staging, destination)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def calibration_ids(folder: RunFolder, tokenizer: Tokenizer, length: int) -> Any:
    """Returns ids of real training texts, int32 `(n, sequence_length)`: half of them one text each,
    half of them texts joined until no padding is left.

    An unrolled recurrence has ranges of its own at every step. At a step that is padding in all
    calibration texts the range is [0, 0]: longer texts saturate there, and XNNPACK refuses the
    scale.
    """
    texts = list(read_texts(folder.examples("calibration")))
    single = tokenizer.encode_batch(texts[: CALIBRATION_INPUTS // 2], length)
    tokens = list(itertools.chain.from_iterable(tokenizer.encode(text) for text in texts))
    if not tokens:
        raise ExportError(
            f"the {len(texts)} calibration texts hold no token, so no range can be measured. Train "
            "on texts, or use --scheme dynamic_int8, which needs none."
        )
    joined = np.fromiter(itertools.cycle(tokens), np.int32, CALIBRATION_INPUTS // 2 * length)
    return np.concatenate([single, joined.reshape(-1, length)])


def check_model(path: Path, parameters: int) -> dict[str, Any]:
    """Returns what check.json holds of a converted file.

    Raises:
        ExportError: It holds ops that need more than the builtin runtime, or lacks weights.
    """
    facts = inspect_tflite(path)
    foreign = [name for name in facts["ops"] if name.startswith("Flex") or name == "CUSTOM"]
    if foreign:
        raise ExportError(f"ops={foreign} are not builtin, so no small runtime has them. Report this.")
    stored = sum(facts["bytes_by_dtype"].values())
    if stored < MIN_BYTES_PER_PARAMETER * parameters:
        raise ExportError(
            f"the file holds {stored} bytes of constants for {parameters} parameters: weights are "
            f"missing. At least {MIN_BYTES_PER_PARAMETER} bytes each were expected. Report this."
        )
    return {"ok": True, **facts, "findings": []}


def write_golden(
    staging: Path, folder: RunFolder, tokenizer: Tokenizer, *, length: int, scheme: str
) -> None:
    """Writes golden.json: texts, their ids, and what this very file made of them on this host."""
    real = itertools.islice(read_texts(folder.examples("test")), GOLDEN_TEXTS)
    texts = [*real, *HOSTILE_TEXTS]
    token_ids = tokenizer.encode_batch(texts, length)
    outputs = run_model(staging / MODEL_FILE, staging / "work", token_ids=token_ids)["outputs"]
    examples = [
        {"text": text, "token_ids": ids, "outputs": scores}
        for text, ids, scores in zip(texts, token_ids.tolist(), outputs.tolist(), strict=True)
    ]
    golden = {"atol": GOLDEN_TOLERANCES[scheme], "examples": examples}
    (staging / GOLDEN_FILE).write_text(json.dumps(golden, ensure_ascii=False) + "\n", "utf-8")


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
    files = {
        file: {"sha256": sha256_of_file(staging / file), "bytes": (staging / file).stat().st_size}
        for file in (MODEL_FILE, VOCABULARY_FILE, LABELS_FILE, GOLDEN_FILE)
    }
    return Manifest(
        name=name, task=content["task"], multi_label=content["multi_label"],
        model=content["model"], variant=options.variant, target=options.target,
        scheme=options.scheme, lowering=facts["lowering"], min_runtime=facts["min_runtime"],
        sequence_length=length, num_classes=len(labels),
        signatures=[classification_signature(length, len(labels))],
        tokenizer=tokenizer.spec.to_json(),
        threshold=THRESHOLD if content["multi_label"] else None,
        files=files, recipe=content["recipe"], versions=read_versions(), created=now(),
    )
