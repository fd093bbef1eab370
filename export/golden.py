"""A converted file and texts → golden.json: what every device must make of them."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np

from device_runner.encode import Tokenizer
from device_runner.manifest import GOLDEN_FILE
from device_runner.texts import read_texts
from tfpipe.devices import Device
from tfpipe.export.target import ExportError
from tfpipe.run_folder import RunFolder
from tfpipe.run_model import run_model
from tfpipe.thresholds import MAX_GPU_ERROR

GOLDEN_TEXTS = 8
# Texts that every tokenizer must get right, beside real ones: nothing at all, characters of many
# scripts and classes, and one text longer than any sequence.
HOSTILE_TEXTS = ("", "Ａ İstanbul ΣΑΣ café naïve 北京 ไทย 한국어 \u200d\ufffd 😀!", "word " * 2000)
# How far a golden output may be off on another machine. Float kernels add up in another order;
# integer kernels round one quantum (1/256) otherwise, and a recurrence carries that on.
GOLDEN_TOLERANCES = {"float32": 1e-4, "float16": 5e-3, "dynamic_int8": 0.05, "int8": 0.05}
GOLDEN_TOLERANCES["dynamic_int4"] = GOLDEN_TOLERANCES["dynamic_int8"]
TARGET_TOLERANCES = {"gpu": MAX_GPU_ERROR}


def write_golden(
    model: Path,
    folder: RunFolder,
    tokenizer: Tokenizer,
    *,
    scheme: str,
    target: str,
    device: Device,
) -> None:
    """Writes golden.json beside `model`: texts, ids, and what this very file made of them there.

    Raises:
        ExportError: The file gives NaN or infinite outputs.
        ValueError: The device's runtime refuses the file, or crashes on it.
    """
    length = folder.read()["recipe"]["data"]["sequence_length"]
    real = itertools.islice(read_texts(folder.examples("test")), GOLDEN_TEXTS)
    texts = [*real, *HOSTILE_TEXTS]
    token_ids = tokenizer.encode_batch(texts, length)
    work = model.parent / "work"
    outputs = run_model(model, work, token_ids=token_ids, device=device).outputs
    if not np.isfinite(outputs).all():
        raise ExportError(
            f"scheme={scheme}: the file's outputs are not finite, so its weights are not, or they "
            "overflow. Train the run again, or use --scheme float32."
        )
    examples = [
        {"text": text, "token_ids": ids, "outputs": scores}
        for text, ids, scores in zip(texts, token_ids.tolist(), outputs.tolist(), strict=True)
    ]
    atol = TARGET_TOLERANCES.get(target, GOLDEN_TOLERANCES[scheme])
    golden = {"atol": atol, "examples": examples}
    (model.parent / GOLDEN_FILE).write_text(json.dumps(golden, ensure_ascii=False) + "\n", "utf-8")
