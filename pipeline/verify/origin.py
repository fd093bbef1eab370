"""An artifact and a run → whether the one came from the other."""

from __future__ import annotations

from pathlib import Path

from device_runner.artifact import Artifact
from device_runner.encode import Tokenizer
from device_runner.manifest import VOCABULARY_FILE
from tfpipe.run_folder import RunFolder
from tfpipe.thresholds import THRESHOLDS
from tfpipe.variant import check_variant, read_labels, read_recipe, vocabulary_path


def find_run(artifact: Path, run: str | Path | None) -> RunFolder:
    """Returns the run of an artifact: the one named, or the one it lies in."""
    if run is not None:
        return RunFolder(Path(run))
    folder = RunFolder(artifact.resolve().parent.parent)
    if not folder.run_json.is_file():
        raise ValueError(
            f"artifact={str(artifact)!r} does not lie in a run's exports folder, so the model it "
            "came from is unknown. Give --run RUN."
        )
    return folder


def check_origin(artifact: Artifact, folder: RunFolder) -> None:
    """Refuses an artifact that cannot be compared with the run's model at all.

    Raises:
        ValueError: Another number of classes, a variant that the run lacks, or a scheme that has no
            threshold.
    """
    manifest, content = artifact.manifest, folder.read()
    found = (manifest.num_classes, manifest.multi_label)
    expected = (len(read_labels(folder)), content["multi_label"])
    if found != expected:
        raise ValueError(
            f"{artifact.path} has (num_classes, multi_label)={found}, the run {folder.path} has "
            f"{expected}: it was not exported from there. Give its own run with --run."
        )
    check_variant(folder, manifest.variant)
    if manifest.scheme not in THRESHOLDS:
        raise ValueError(
            f"{artifact.path}: the manifest has scheme={manifest.scheme!r}, known are "
            f"{sorted(THRESHOLDS)}. Export the artifact again."
        )


def check_files(artifact: Artifact, folder: RunFolder, tokenizer: Tokenizer) -> list[str]:
    """Returns what of the artifact is not the run's."""
    content, manifest = folder.read(), artifact.manifest
    expected = {
        "model": content["model"],
        "recipe": read_recipe(folder, manifest.variant),
        "sequence_length": content["recipe"]["data"]["sequence_length"],
        "tokenizer": tokenizer.spec.to_json(),
    }
    failures = [
        f"manifest.json: {key} is not the run's"
        for key, value in expected.items()
        if getattr(manifest, key) != value
    ]
    if artifact.labels != read_labels(folder):
        failures.append("labels.txt is not the run's list of labels in the run's order")
    vocabulary = Path(artifact.path) / VOCABULARY_FILE
    if vocabulary.read_bytes() != vocabulary_path(folder, manifest.variant).read_bytes():
        failures.append("vocabulary.txt is not the run's list of tokens in the run's order")
    return failures
