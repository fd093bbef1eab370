"""A job file → its file's values beside its model's, layer by layer; run as a process of its own,
because converter and runtime can abort."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from tfpipe.check.parse import read_model
from tfpipe.export.convert import build_model, convert_form, finish, save_refusal
from tfpipe.layers.comparison import Comparison
from tfpipe.layers.file import OpenFile
from tfpipe.layers.matching import OTHER_GRAPH, count_differences, match_tensors
from tfpipe.layers.reference import make_reference, skips_padding
from tfpipe.layers.tensors import NamedGraph


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
        data = convert_form(length, function, model, job, job_path.parent)
        remade = finish([data], {**job, "buckets": ()})
        matched, different = match_files(remade, shipped)
        traced = [operation.name for operation in function.graph.get_operations()]
        graph = NamedGraph(read_model(data).graphs[0], traced)
        own, missing = graph.find_all(reference.places)
        tensors = {name: [matched[index] for index in indices] for name, indices in own.items()}
        comparison = Comparison(
            reference, OpenFile(shipped), tensors, skips=skips_padding(model, job["lowering"])
        )
        for row in token_ids:
            comparison.add(row[None])
    found = {
        "other_constants": different,
        "ops": {name: graph.makers[indices[0]].code.name for name, indices in own.items()},
        "not_seen": [{"name": name, "reason": reason} for name, reason in missing.items()],
        **comparison.result(),
    }
    Path(job["output"]).write_text(json.dumps(found), "utf-8")


def match_files(data: bytes, shipped: Path) -> tuple[dict[int, int], int]:
    """Returns {tensor of the file that the converter made again: that of the artifact's file}, and
    how many of them have other numbers.

    Raises:
        ValueError: The artifact's file is another graph.
    """
    remade, theirs = read_model(data), read_model(shipped.read_bytes())
    matched = match_tensors(remade.graphs[0], theirs.graphs[0])
    if matched is None:
        raise ValueError(
            f"{shipped}: {OTHER_GRAPH} that the run's model is converted to here, so "
            "its tensors cannot be told apart: other versions or an older tfpipe made it, or the "
            "converter wrote another graph than last time. Export the artifact again."
        )
    return matched, count_differences(remade, theirs, matched)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
