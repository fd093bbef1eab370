"""An artifact and texts → where its file and the trained model's form differ, layer by layer."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from device_runner.artifact import Artifact, read_artifact
from device_runner.files import write_json_atomic
from tfpipe.export.converter import run_job
from tfpipe.export.model_file import make_job
from tfpipe.export.options import ExportOptions
from tfpipe.run_folder import RunFolder
from tfpipe.variant import load_tokenizer
from tfpipe.verify import read_examples
from tfpipe.verify.origin import check_origin, find_run
from tfpipe.versions import now

LAYERS_FILE = "layers.json"
NUM_TEXTS = 32
TARGETS = ("cpu",)
PROCESS = "tfpipe.layers.process"
TIME_LIMIT_SECONDS = 1800
# Said with every result.
LIMITS = (
    "Every op was run by the runtime's own kernels, which can be looked into; XNNPACK, which "
    'runs the file on a device, keeps what lies between its ops to itself. "delegate" says how '
    "far its outputs are from theirs on the same texts.",
    '"own" is the difference of a value that the form computes from the file\'s own values before '
    "it: what arises at that point. The others have come down from earlier points as well.",
)


def compare_layers(
    artifact: str | Path, *, data: str | Path | None = None, run: str | Path | None = None
) -> dict[str, Any]:
    """Compares what the layers of a model and those of its file make of the same texts.

    The file is converted once more, in a process of its own, for the names that an artifact's file
    has no more; the file that is run is the artifact's.

    Args:
        artifact: A folder in RUN/exports, of target cpu.
        data: A file of labelled texts; None takes the run's test split. The first `NUM_TEXTS`
            count.
        run: The run, if the artifact no longer lies in it.

    Returns:
        The content of layers.json, which is written into the artifact when `data` is None:
        "reference", "layers" in the order of the graph, "worst": the layer with the lowest
        signal-to-noise ratio, "origin": the one at which most arises, "not_seen", "delegate",
        "limits".

    Raises:
        ValueError: The artifact is damaged, is for another target, or is not the graph that its run
            is converted to here.
        ExportError: The process failed.
    """
    opened = read_artifact(artifact)
    manifest = opened.manifest
    if manifest.target not in TARGETS:
        raise ValueError(
            f"{opened.path} is for target={manifest.target!r}; layers are compared of files for "
            f"target {TARGETS[0]}. Export one: tfpipe export RUN --target {TARGETS[0]} "
            f"--scheme {manifest.scheme}"
        )
    if manifest.lowering == "branches":
        raise ValueError(
            f"{opened.path} has lowering='branches', a copy of all layers for each length behind "
            "an IF, of which a runtime shows the result alone. Export it with --lowering static."
        )
    folder = find_run(Path(artifact), run)
    check_origin(opened, folder)
    texts = read_examples(folder, data)[0][:NUM_TEXTS]
    with tempfile.TemporaryDirectory() as work:
        job = describe_job(opened, folder, Path(work))
        token_ids = opened.tokenizer.encode_batch(texts, manifest.sequence_length)
        np.save(job["token_ids"], token_ids)
        what = f"comparing the layers of {opened.path}"
        output = run_job(PROCESS, job, Path(work), what=what, time_limit=TIME_LIMIT_SECONDS)
        found = json.loads(output.read_text("utf-8"))
    result = summarize(opened, found, len(texts))
    if data is None:
        write_json_atomic(Path(artifact) / LAYERS_FILE, result)
    return result


def describe_job(artifact: Artifact, folder: RunFolder, work: Path) -> dict[str, Any]:
    """Returns what the process is told; calibration inputs are written into `work`."""
    manifest = artifact.manifest
    options = ExportOptions(
        target=manifest.target,
        scheme=manifest.scheme,
        variant=manifest.variant,
        runtime=wanted_runtime(Path(artifact.path)),
    )
    return {
        **make_job(work, folder, options, load_tokenizer(folder, manifest.variant)),
        "lowering": manifest.lowering,
        "model": artifact.model_path,
        "token_ids": str(work / "token_ids.npy"),
        "output": str(work / LAYERS_FILE),
    }


def wanted_runtime(artifact: Path) -> str | None:
    """Returns the runtime that an artifact was exported for; None for the host's own."""
    try:
        facts = json.loads((artifact / "check.json").read_text("utf-8"))
        wanted: str | None = facts["proof"]["wanted"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{artifact / 'check.json'} is missing or damaged ({error}), so how the file was made "
            "is unknown. Export the artifact again."
        ) from error
    return wanted


def summarize(artifact: Artifact, found: dict[str, Any], num_texts: int) -> dict[str, Any]:
    """Returns layers.json's content."""
    layers = [{"op": found["ops"][layer["name"]], **layer} for layer in found["layers"]]
    noisy = [layer for layer in layers if layer["signal_to_noise_db"] is not None]
    worst = min(noisy, key=lambda layer: layer["signal_to_noise_db"], default=None)
    arising = [layer for layer in layers if (layer["own"] or {}).get("mean_error")]
    origin = max(arising, key=lambda layer: layer["own"]["mean_quanta"] or 0.0, default=None)
    manifest = artifact.manifest
    return {
        "artifact": manifest.name,
        "model_sha256": manifest.model_sha256,
        "scheme": manifest.scheme,
        "lowering": manifest.lowering,
        "num_texts": num_texts,
        **{key: found[key] for key in ("reference", "runtime", "runtime_version", "delegate")},
        "other_constants": found["other_constants"],
        "worst": worst and worst["name"],
        "origin": origin and origin["name"],
        "layers": layers,
        "not_seen": found["not_seen"],
        "limits": list(LIMITS),
        "created": now(),
    }
