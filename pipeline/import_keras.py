"""A Keras file, its vocabulary, labels and texts → a run folder, as of a model trained here."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from device_runner.encode import format_vocabulary
from device_runner.files import sha256_of_file, write_json_atomic
from tfpipe.data.text_file import sha256_of
from tfpipe.keras_file.belongings import Belongings, read_belongings
from tfpipe.keras_file.belongings import ImportOptions as ImportOptions
from tfpipe.keras_file.process import DESCRIPTION_FILE, SCORES_FILE, WEIGHTS_FILE, read_model
from tfpipe.keras_file.record import describe_data, describe_import, find_warnings, measure
from tfpipe.run_folder import RunFolder
from tfpipe.staging import staging_folder
from tfpipe.variant import BASE, IMPORTED_MODELS
from tfpipe.verb import make_callable


def import_keras(
    model: str | Path,
    run: str | Path,
    options: ImportOptions,
    *,
    overwrite: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Makes a run folder of somebody's Keras model; returns what it wrote to run.json.

    Nothing that the file brings is run: its layers are built anew from stock ones, with its
    weights, and must give what the model itself gives. An import that is there already, of the
    same files and options, is left as it is.

    Args:
        model: A .keras or .h5 file, or the folder of a SavedModel, of Keras 2 or 3.
        run: The run folder to make.
        options: What belongs to the model.
        overwrite: Whether another import in the folder is replaced.
        progress: Called with a sentence when a stage begins.

    Raises:
        FileExistsError: The folder holds something else.
        ValueError: The model, or what belongs to it, is refused; the message says why.
    """
    path, folder = Path(model), RunFolder(Path(run))
    identity = identity_of(path, options)
    if is_same_import(folder, identity, overwrite=overwrite):
        return folder.read()
    brought = read_belongings(options)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        progress(f"reading {path} and comparing it with its translation")
        found = read_model(make_job(path, options, brought, work), work)
        content = {
            **describe_import(path, found, brought),
            **measure(np.load(work / SCORES_FILE), brought),
            "multi_label": options.multi_label,
            "data": describe_data(options, folder, brought),
            "import": {"identity": identity, **found},
        }
        content["data"]["warnings"] += find_warnings(content, brought.tokenizer)
        write_run(folder, content, brought, work)
    return content


def make_job(
    model: Path, options: ImportOptions, brought: Belongings, work: Path
) -> dict[str, Any]:
    """Returns a job of `tfpipe.keras_file.process.read_model`, its texts in `work`."""
    texts = work / "texts.jsonl"
    texts.write_text(brought.test.lines(), "utf-8")
    return {
        "model": str(model),
        "vocabulary": str(options.vocabulary),
        "texts": str(texts),
        "tokenizer": brought.tokenizer.spec.to_json(),
        "num_labels": len(brought.labels),
        "multi_label": options.multi_label,
        "sequence_length": options.sequence_length,
    }


def write_run(folder: RunFolder, content: dict[str, Any], brought: Belongings, work: Path) -> None:
    """Makes the run folder, whole or not at all, of what the child left in `work`."""
    folder.path.parent.mkdir(parents=True, exist_ok=True)
    with staging_folder(folder.path) as staging:
        made = RunFolder(staging)
        for file in (made.description, made.examples("test")):
            file.parent.mkdir(parents=True)
        shutil.copyfile(work / WEIGHTS_FILE, made.weights(BASE))
        shutil.copyfile(work / DESCRIPTION_FILE, made.description)
        made.vocabulary.write_bytes(format_vocabulary(brought.tokenizer.vocabulary).encode())
        made.labels.write_bytes("".join(f"{label}\n" for label in brought.labels).encode())
        made.examples("calibration").write_bytes(brought.calibration.lines().encode())
        made.examples("test").write_bytes(brought.test.lines().encode())
        write_json_atomic(made.run_json, content)


def identity_of(model: Path, options: ImportOptions) -> dict[str, Any]:
    """Returns what must be the same for an import to be the same.

    Raises:
        ValueError: A file is not there.
    """
    paths = {"model": model, **{key: getattr(options, key) for key in FILES}}
    for key, path in paths.items():
        if not path.exists() or (key != "model" and not path.is_file()):
            raise ValueError(f"{key}={str(path)!r} is not there. Give the path of a file.")
    files = [model] if model.is_file() else sorted(p for p in model.rglob("*") if p.is_file())
    digests = {f"{key}_sha256": sha256_of_file(paths[key]) for key in FILES}
    settings = {key: value for key, value in asdict(options).items() if key not in FILES}
    return {"model": model.name, "model_sha256": sha256_of(*files), **digests, **settings}


FILES = ("vocabulary", "labels", "data")


def is_same_import(folder: RunFolder, identity: dict[str, Any], *, overwrite: bool) -> bool:
    """Returns whether the folder holds this very import already.

    Raises:
        FileExistsError: It holds something else that is not to be replaced.
    """
    if folder.run_json.is_file():
        content = folder.read()
        if content.get("import", {}).get("identity") == identity:
            return True
        if content["model"] not in IMPORTED_MODELS:
            raise FileExistsError(
                f"run={str(folder.path)!r} exists and holds a model that was trained here. Give "
                "another RUN for the Keras file."
            )
        if not overwrite:
            raise FileExistsError(
                f"run={str(folder.path)!r} exists and was made of other files or options. Give "
                "--overwrite to replace it and its exports, or another RUN."
            )
    folder.check("overwrite" if overwrite else "refuse")
    return False


def format_import(content: dict[str, Any]) -> str:
    """Returns what was read, in one sentence for the terminal."""
    found, metrics = content["import"], content["metrics"]
    return (
        f"{found['identity']['model']} (Keras {found['keras_version']}, {content['parameters']:,} "
        f"parameters, {found['sequence_length']} tokens) has accuracy "
        f"{metrics['test']['accuracy']:.4f} on {metrics['test']['num_examples']:,} texts, the most "
        f"frequent label {metrics['baseline']['majority']['accuracy']:.4f}; translated with a "
        f"largest difference of {found['max_abs_error']:.1g}"
    )


make_callable(__name__, import_keras)
