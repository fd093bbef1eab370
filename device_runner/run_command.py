"""The command `python -m device_runner run`: texts or token ids → a file of their outputs."""

from __future__ import annotations

import argparse
import io
from typing import Any, Callable, Dict, Tuple


def add_run_command(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Adds the command to the runner's, through the function that adds one."""
    run = add(
        "run",
        _run,
        "Writes token ids and outputs of many texts.",
        "run exports/lstm --input test.jsonl --output outputs.npz",
    )
    run.add_argument("artifact", help="artifact folder or .tflite file")
    source = run.add_mutually_exclusive_group(required=True)
    source.add_argument("--input", help="file of texts, .jsonl or plain lines")
    source.add_argument("--token-ids", help=".npy file, whole numbers (n, sequence_length)")
    run.add_argument("--output", required=True, help=".npz file to write")
    run.add_argument(
        "--every-bucket",
        action="store_true",
        help="also run each text in every graph that it fits, where the file has several",
    )


def _run(options: argparse.Namespace) -> Tuple[Any, int]:
    import numpy as np

    from device_runner.buckets import BucketedModel
    from device_runner.files import write_file_atomic
    from device_runner.runnable import open_runnable
    from device_runner.texts import read_texts, read_token_ids

    runnable = open_runnable(options.artifact, options.num_threads, delegate=options.delegate)
    model = runnable.model
    if options.token_ids:
        token_ids = read_token_ids(options.token_ids)
    else:
        rows = [runnable.encode(text) for text in read_texts(options.input)]
        token_ids = np.concatenate(rows + [np.zeros((0, model.sequence_length), np.int32)])
    runnable.check_token_ids(token_ids)
    outputs = np.empty((len(token_ids), model.num_classes), np.float32)
    for index in range(len(token_ids)):
        outputs[index] = model.run(token_ids[index : index + 1])
    arrays: Dict[str, Any] = {"token_ids": token_ids, "outputs": outputs}
    if options.every_bucket and isinstance(model, BucketedModel):
        arrays["bucket_lengths"] = np.array(model.bucket_lengths)
        arrays["bucket_outputs"] = model.run_in_all(token_ids)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_file_atomic(options.output, buffer.getvalue())
    return {
        "artifact": options.artifact,
        "output": options.output,
        "num_examples": len(token_ids),
        "model_sha256": runnable.model_sha256,
        "runtime": model.runtime,
        "runtime_version": model.runtime_version,
        "delegate": model.delegate,
        "adapter": model.adapter,
    }, 0
