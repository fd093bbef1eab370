"""A job file → its file's values beside its model's, layer by layer; run as a process of its own,
because converter and runtime can abort."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tfpipe.check.model import Model
from tfpipe.check.parse import read_model
from tfpipe.export.convert import build_model, convert_form, finish, save_refusal
from tfpipe.layers.comparison import Comparison
from tfpipe.layers.file import OpenFile
from tfpipe.layers.matching import count_differences, makers_of, match_tensors
from tfpipe.layers.reference import make_reference, skips_padding
from tfpipe.layers.tensors import NamedGraph

# A graph that the converter writes every other time is missed once in 4,096 calls.
MOST_CONVERSIONS = 12


def main(job_path: Path) -> None:
    """Reads a job and writes the "output": what `Comparison.result` returns, "ops" of the layers,
    "not_seen" and "other_constants".

    The job is one of `tfpipe.export.convert` with "model", the artifact's file, and "token_ids", a
    .npy file of int32 `(n, sequence_length)` texts.
    """
    job = json.loads(job_path.read_text("utf-8"))
    shipped = Path(job["model"])
    with save_refusal(job_path):
        model = build_model(job)
        reference = make_reference(model)
        token_ids = np.load(job["token_ids"], allow_pickle=False)
        length = token_ids.shape[1]
        function = reference.trace(job, length)
        convert = functools.partial(convert_form, length, function, model, job, job_path.parent)
        theirs = read_model(shipped.read_bytes())
        data, matched, different = convert_until_same(convert, job, theirs)
        traced = [operation.name for operation in function.graph.get_operations()]
        graph = NamedGraph(read_model(data).graphs[0], traced)
        own, missing = graph.find_all(reference.places)
        tensors = {name: [matched[index] for index in indices] for name, indices in own.items()}
        makers = makers_of(theirs.graphs[0])
        comparison = Comparison(
            reference, OpenFile(shipped), tensors, skips=skips_padding(model, job["lowering"])
        )
        for row in token_ids:
            comparison.add(row[None])
    found = {
        "other_constants": different,
        "ops": {name: makers[indices[0]].code.name for name, indices in tensors.items()},
        "not_seen": [{"name": name, "reason": reason} for name, reason in missing.items()],
        **comparison.result(),
    }
    Path(job["output"]).write_text(json.dumps(found), "utf-8")


def convert_until_same(
    convert: Callable[[], bytes], job: dict[str, Any], theirs: Model
) -> tuple[bytes, dict[int, int], int]:
    """Returns the converter's file, {tensor of it: that of the artifact's file}, and how many of
    them have other numbers.

    Of one model the converter of TensorFlow 2.21 writes this graph or that: of an unrolled int8
    recurrence it leaves out some QUANTIZE ops or does not. So it is asked again.

    Raises:
        ValueError: The artifact's file is another graph than any that it wrote.
    """
    for _ in range(MOST_CONVERSIONS):
        data = convert()
        remade = read_model(finish([data], {**job, "buckets": ()}))
        matched = match_tensors(remade.graphs[0], theirs.graphs[0])
        if matched is not None:
            return data, matched, count_differences(remade, theirs, matched)
    raise ValueError(
        f"{job['model']}: its graph is not the one that the run's model is converted to here, so "
        f"its tensors cannot be told apart ({MOST_CONVERSIONS} conversions): other versions or an "
        "older tfpipe made it. Export the artifact again."
    )
