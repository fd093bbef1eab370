"""A run and the options of a compression → RUN/variants/NAME, whole or not at all."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from device_runner.encode import format_vocabulary
from device_runner.files import sha256_of_file, write_file_atomic, write_json_atomic
from tfpipe.compress.options import INT8, CompressOptions
from tfpipe.compress.record import describe_variant
from tfpipe.compress.source import Source, open_source
from tfpipe.compress.stages import measure, run_stages
from tfpipe.fit_progress import Progress
from tfpipe.resumable import only_one, os_errors_named
from tfpipe.run_folder import RunFolder
from tfpipe.staging import check_name, staging_folder
from tfpipe.variant import (
    BASE,
    RECORD_FILE,
    VOCABULARY_FILE,
    check_variant,
    load_model,
    read_labels,
    read_record,
    save_weights,
)

WORK_FOLDER = "compress"  # in RUN/train: what killed compressions go on from, a folder a variant


def compress(
    run: str | Path,
    name: str,
    options: CompressOptions,
    *,
    overwrite: bool = False,
    progress: Callable[[Progress | str], None] = lambda _: None,
) -> dict[str, Any]:
    """Trains a variant of a run with the methods asked for; returns its compress.json.

    A killed call goes on where it stood when it is made again with the same options, and so does
    one that the disk stopped. Several variants of a run may be made at the same time.

    Args:
        run: The run folder.
        name: The variant's name.
        options: Which methods, and how long.
        overwrite: Whether a variant of the same name is replaced.
        progress: As for `tfpipe.train`.

    Raises:
        FileExistsError: The name is taken and `overwrite` is False.
        OSError: Something could not be read or written.
        ValueError: An option means nothing, the source variant had the method already or its
            weights are not those that were trained, the run's table is gone, or another process
            makes the same variant. The run folder is left as it was.
    """
    options.check()
    folder = RunFolder(Path(run))
    content = folder.read()
    options.teaching.check(read_labels(folder), multi_label=content["multi_label"])
    check_variant(folder, options.source)
    destination = folder.weights(check_name(name)).parent
    if name == BASE:
        raise ValueError(f"name={BASE!r} is the trained model itself. Give another with --as.")
    if destination.exists() and not overwrite:
        raise FileExistsError(
            f"variant={str(destination)!r} exists. Give --overwrite to replace it, or another name "
            "with --as."
        )
    check_methods(folder, options)
    with work_folder(folder, name, options) as work:
        progress(f"reading the table of {folder.path}")
        source = open_source(folder, options, work / "tokens", progress)
        model = load_model(folder, options.source)
        with staging_folder(destination) as staging:
            folders = (work, staging)
            content = make_variant(source, model, options, folders=folders, progress=progress)
    return {"variant": str(destination), "name": name, **content}


def check_methods(folder: RunFolder, options: CompressOptions) -> None:
    """Refuses to do again what the source variant had done to it.

    Raises:
        ValueError: The source has one of the methods, or is quantization-aware, which comes last.
    """
    done = methods_of(folder, options.source)
    again = [method for method in options.methods() if method in done]
    if again or "qat" in done:
        raise ValueError(
            f"variant={options.source!r} has methods={done}, asked for are "
            f"{options.methods()}: "
            + (f"{again[0]} is there already" if again else "qat has to be the last")
            + ". Give another --from, for example base."
        )
    if options.low_rank and {"prune", "cluster"} & set(done):
        raise ValueError(
            f"variant={options.source!r} has methods={done}, and low_rank={options.low_rank!r} "
            "would mix its zeros and values. Give another --from, and --prune or --cluster in the "
            "same call: they come after it."
        )
    if "cluster" in done and options.block_size > 1:
        raise ValueError(
            f"variant={options.source!r} has methods={done}, and block_size={options.block_size} "
            "would take weights out of its clusters. Leave --block-size out, or give another "
            "--from."
        )
    if "cluster" in done and options.scheme != INT8:
        raise ValueError(
            f"variant={options.source!r} has methods={done}, and scheme={options.scheme!r} has a "
            "scale for each output, in which the clusters' values do not stay as few. Export it as "
            "it is, its values are those of a dynamic_int8 file; or use --scheme int8, or another "
            "--from."
        )


def methods_of(folder: RunFolder, variant: str) -> list[str]:
    """Returns the methods that made a variant, in order; none for the base."""
    return [] if variant == BASE else list(read_record(folder, variant)["methods"])


@contextlib.contextmanager
def work_folder(folder: RunFolder, name: str, options: CompressOptions) -> Iterator[Path]:
    """Gives the folder of a variant's unfinished compression, without what was begun with other
    options or weights. It goes away when the block ends well, or refuses something at the first
    call; what an interrupted one did stays there.

    Raises:
        ValueError: Another process works in it.
    """
    work = folder.checkpoint.parent / WORK_FOLDER / name
    work.mkdir(parents=True, exist_ok=True)
    held = work / "held"
    held.touch()
    what = f"variant={name!r} of run={str(folder.path)!r}"
    refusal = (
        f"{what} is being made by another process. Wait for it, or give another name with --as."
    )
    with only_one(held, refusal), os_errors_named(what, "make the same call again"):
        weights = sha256_of_file(folder.weights(options.source))
        identity = json.loads(json.dumps({**options.identity(), "weights_sha256": weights}))
        file = work / "options.json"
        is_new = not file.is_file() or json.loads(file.read_text("utf-8")) != identity
        if is_new:
            file.unlink(missing_ok=True)
            for path in [path for path in work.iterdir() if path.is_dir()]:
                shutil.rmtree(path)
            write_json_atomic(file, identity)
        try:
            yield work
        except ValueError:
            if is_new:
                remove_work(work)
            raise
        remove_work(work)


def remove_work(work: Path) -> None:
    """Removes a variant's work folder, and the folder around it if it was the last one there."""
    shutil.rmtree(work)
    with contextlib.suppress(OSError):
        work.parent.rmdir()


def make_variant(
    source: Source,
    model: Any,
    options: CompressOptions,
    *,
    folders: tuple[Path, Path],
    progress: Callable[[Progress | str], None],
) -> dict[str, Any]:
    """Runs the methods on `model`; writes weights.npz and compress.json.

    Args:
        source: The run's data.
        model: The source variant.
        options: The methods.
        folders: Where unfinished work lies, and where the result goes.
        progress: As for `compress`.
    """
    work, staging = folders
    before = measure(model, source, "validation")
    check_untouched(source, options.source, before["accuracy"])
    methods = methods_of(source.folder, options.source)
    result = run_stages(source, model, options, methods, work=work, progress=progress)
    save_weights(staging / "weights.npz", result.model)
    vocabulary = format_vocabulary(result.source.tokenizer.vocabulary).encode()
    if vocabulary != source.folder.vocabulary.read_bytes():
        write_file_atomic(staging / VOCABULARY_FILE, vocabulary)
    progress("measuring the variant on the test split")
    content = describe_variant(source, options, model, result)
    content["methods"] = methods + content["methods"]
    content["weights_sha256"] = sha256_of_file(staging / "weights.npz")
    write_json_atomic(staging / RECORD_FILE, content)
    return content


def check_untouched(source: Source, variant: str, accuracy: float) -> None:
    """Refuses weights that are not those that were trained.

    Raises:
        ValueError: The base's validation accuracy is not the one in run.json, or a variant's digest
            is not the one in its compress.json.
    """
    folder = source.folder
    advice = "Train the run again with --overwrite, or restore the file."
    if variant != BASE:
        if read_record(folder, variant)["weights_sha256"] != sha256_of_file(
            folder.weights(variant)
        ):
            raise ValueError(
                f"{folder.weights(variant)} was changed after it was made: its digest is not the "
                f"one in compress.json. {advice}"
            )
        return
    expected = source.content["metrics"]["validation"]["accuracy"]
    # Another machine adds up in another order: two texts at the very most may fall differently.
    if abs(accuracy - expected) > 2.5 / len(source.splits["validation"].lengths):
        raise ValueError(
            f"{folder.weights(variant)} was changed after it was trained: its validation accuracy "
            f"is {accuracy:.4f}, run.json has {expected:.4f}. {advice}"
        )
