"""A converted classifier → the file that MediaPipe's TextClassifier runs, or why it cannot.

MediaPipe tokenizes by the file's own metadata. What it then does was read in its source:
mediapipe/tasks/cc/text/tokenizers/regex_tokenizer.cc (splits, never lower-cases),
mediapipe/calculators/tensor/regex_preprocessor_calculator.cc (<START>, <UNKNOWN>, <PAD>, cut at the
end), mediapipe/tasks/cc/text/utils/vocab_utils.cc (lines of "token id") and
mediapipe/tasks/cc/components/processors/classification_postprocessing_graph.cc (one subgraph,
float outputs, labels by line), at https://github.com/google-ai-edge/mediapipe.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from device_runner.encode import Tokenizer
from tfpipe.check.context import Subject
from tfpipe.check.parse import read_model
from tfpipe.check.runtimes import parse_runtime
from tfpipe.check.targets import METADATA_KEY, find_mediapipe
from tfpipe.export.embed import add_metadata
from tfpipe.export.metadata import append_files, associated_files, classifier_metadata

_CURE = "train with tokenizer.kind=word and tokenizer.lowercase=false"
_IMPORTED_CURE = (
    "train your model on words in their own case, and import it with --tokenizer word --keep-case"
)
# What a line of "token id" cannot hold.
_NOT_IN_A_TOKEN = re.compile(r"[ \r\n]")


def write_for_mediapipe(
    path: Path, tokenizer: Tokenizer, labels: Sequence[str], target: str, *, imported: bool = False
) -> dict[str, Any]:
    """Adds metadata to a file in place, if with it MediaPipe does what `device_runner` does.

    Args:
        path: The model's file.
        tokenizer: What the model was trained with.
        labels: Names of the outputs.
        target: What the file was made for.
        imported: Whether the model is one of the user's own, which was not trained here.

    Returns:
        {"loads": whether MediaPipe takes the file, "reason": why not, or None}.
    """
    cure = _IMPORTED_CURE if imported else _CURE
    reason = why_not(path, tokenizer, labels, target=target, cure=cure)
    if reason is None:
        metadata = classifier_metadata(tokenizer.spec.delimiter_pattern)
        model = add_metadata(path.read_bytes(), METADATA_KEY, metadata)
        path.write_bytes(append_files(model, associated_files(tokenizer.vocabulary, labels)))
    return {"loads": reason is None, "reason": reason}


def why_not(
    path: Path, tokenizer: Tokenizer, labels: Sequence[str], *, target: str, cure: str
) -> str | None:
    """Returns why MediaPipe would not do the same with a file, with the cure for a tokenizer that
    it lacks; None if it would."""
    if target != "cpu":
        return f"MediaPipe runs text models on the CPU, and target is {target}: use --target cpu"
    spec = tokenizer.spec
    if spec.kind == "wordpiece":
        return (
            "MediaPipe gives wordpiece ids to models with three inputs (ids, mask, segment ids), "
            f"and this one has one: {cure}"
        )
    if spec.kind != "word":
        return f"MediaPipe has no tokenizer {spec.kind}: {cure}"
    if spec.lowercase:
        return f"MediaPipe does not lower-case texts: {cure}"
    if any(_NOT_IN_A_TOKEN.search(token) for token in tokenizer.vocabulary):
        return "a token holds a space or a line end, and MediaPipe splits its vocabulary there"
    if any("\r" in label for label in labels):
        return "a label holds a carriage return, and MediaPipe ends the label there"
    return why_not_graph(path)


def why_not_graph(path: Path) -> str | None:
    """Returns why MediaPipe would refuse a file's graph, or answer otherwise; None if neither."""
    model = read_model(path.read_bytes())
    if any(tensor.is_variable for graph in model.graphs for tensor in graph.tensors):
        return (
            "the file keeps state from one call to the next, which MediaPipe never clears: use "
            "--lowering unrolled"
        )
    for fault in find_mediapipe(Subject(model, "mediapipe", parse_runtime(None))):
        if fault.code != "metadata-missing":
            return f"{fault.message} {fault.fix}"
    return None
