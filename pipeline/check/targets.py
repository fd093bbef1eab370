"""A file → which of its ops run on each target, and what the target's runtime asks of the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tfpipe.check.context import Subject
from tfpipe.check.edgetpu import edgetpu_reason
from tfpipe.check.findings import Finding, finding
from tfpipe.check.gpu import gpu_reason
from tfpipe.check.model import Graph, Operator, Tensor

METADATA_KEY = "TFLITE_METADATA"
Reason = Callable[[Graph, Operator], str | None]


@dataclass(frozen=True)
class Coverage:
    """How a target's ops are judged.

    Attributes:
        reason: Why an op does not run there; None where every op that the runtime has runs.
        basis: Where the rule comes from: "runtime" (its wheels were asked), "source" (its published
            source), "prediction" (a vendor's documents; nothing was run).
    """

    reason: Reason | None
    basis: str


CHECK_TARGETS = {
    "cpu": Coverage(None, "runtime"),
    "gpu": Coverage(gpu_reason, "source"),
    "edgetpu": Coverage(edgetpu_reason, "prediction"),
    "mediapipe": Coverage(None, "runtime"),
    "web": Coverage(None, "runtime"),
}
FIXES = {
    "gpu": "Export for the GPU: tfpipe export … --target gpu (1-D lookups, no control flow).",
    "edgetpu": "Export for the Edge TPU: tfpipe export … --target edgetpu (int8 throughout, the "
    "lookup on the host).",
}
# @litertjs/core 2.5.3: "Element type INT8 is not supported."
WEB_TYPES = frozenset({"float32", "int32"})
MEDIAPIPE_OUTPUTS = frozenset({"bool", "float32", "uint8"})


def coverage(subject: Subject) -> dict[str, dict[str, Any]]:
    """Returns {target: {"runs", "refused": [{"op", "count", "reason"}], "basis"}} of all."""
    total = sum(1 for _ in subject.operators())
    result = {}
    for name, rule in CHECK_TARGETS.items():
        refused = refusals(subject, rule.reason or runtime_reason(subject))
        result[name] = {
            "runs": total - sum(refused.values()),
            "refused": [
                {"op": op, "count": count, "reason": reason}
                for (op, reason), count in refused.most_common()
            ],
            "basis": rule.basis,
        }
    return result


def refusals(subject: Subject, reason: Reason) -> Counter[tuple[str, str]]:
    """Returns how many ops have which reason not to run."""
    found: Counter[tuple[str, str]] = Counter()
    for graph, operator in subject.operators():
        text = reason(graph, operator)
        if text is not None:
            found[operator.name, text] += 1
    return found


def runtime_reason(subject: Subject) -> Reason:
    """Returns the rule of a target that runs whatever its runtime has."""

    def reason(_: Graph, operator: Operator) -> str | None:
        code = operator.code
        if code.is_custom:
            return None if subject.runtime.has_custom(code.name) else "not in the runtime"
        has = subject.runtime.has_op(code) or subject.runtime.is_newer_than_known
        return None if has else f"version {code.version} is not in {subject.runtime}"

    return reason


def find_target(subject: Subject) -> Iterator[Finding]:
    """Yields what the target asks beyond what its runtime loads."""
    rule = CHECK_TARGETS[subject.target]
    if rule.reason is not None:
        for (op, reason), count in refusals(subject, rule.reason).items():
            predicted = " (predicted)" if rule.basis == "prediction" else ""
            yield finding(
                "target-op",
                f"{op} (used {count} times) does not run on {subject.target}{predicted}: {reason}.",
                fix=FIXES[subject.target],
            )
    if subject.target == "web":
        yield from find_web(subject)
    if subject.target == "mediapipe":
        yield from find_mediapipe(subject)


def boundary(subject: Subject) -> tuple[list[Tensor], list[Tensor]]:
    """Returns the inputs and the outputs of the first graph."""
    graph = subject.model.graphs[0]
    sides = [[graph.tensor(index) for index in side] for side in (graph.inputs, graph.outputs)]
    inputs, outputs = ([tensor for tensor in side if tensor] for side in sides)
    return inputs, outputs


def find_web(subject: Subject) -> Iterator[Finding]:
    """Yields inputs and outputs that the browser's runtime does not take."""
    wrong = [t.label for side in boundary(subject) for t in side if t.dtype not in WEB_TYPES]
    if wrong:
        yield finding("target-io", f"{'; '.join(wrong[:4])}: the browser takes int32 and float32.")


def find_mediapipe(subject: Subject) -> Iterator[Finding]:
    """Yields what keeps MediaPipe's TextClassifier from loading the file with a regex tokenizer."""
    count = len(subject.model.graphs)
    if count > 1:
        yield finding("several-subgraphs", f"{count} subgraphs.")
    inputs, outputs = boundary(subject)
    if [(t.dtype, len(t.shape)) for t in inputs] != [("int32", 2)] or inputs[0].shape[0] != 1:
        given = "; ".join(tensor.label for tensor in inputs) or "none"
        yield finding("target-io", f"inputs: {given}; MediaPipe takes one int32 [1,N].")
    good = len(outputs) == 1 and outputs[0].dtype in MEDIAPIPE_OUTPUTS
    if not good or len(outputs[0].shape) != 2 or outputs[0].shape[0] != 1:
        given = "; ".join(tensor.label for tensor in outputs) or "none"
        yield finding("target-io", f"outputs: {given}; MediaPipe takes one float32 [1,C].")
    if METADATA_KEY not in subject.model.metadata:
        yield finding("metadata-missing", f"no {METADATA_KEY} entry.")
