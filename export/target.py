"""Where an exported file can run, and what each place takes, as data."""

from __future__ import annotations

from dataclasses import dataclass


class ExportError(ValueError):
    """A model could not be written for a target; the message has the op or limit, and the fix."""


@dataclass(frozen=True)
class Target:
    """What one kind of runtime takes.

    Attributes:
        runtime: The runtime that the host checks its files with.
        schemes: Types of weights and activations that it computes.
        lowerings: Recurrences that it runs whole, the most promising first.
    """

    runtime: str
    schemes: tuple[str, ...]
    lowerings: tuple[str, ...]


TARGETS = {
    "cpu": Target(
        runtime="ai-edge-litert",
        schemes=("float32", "float16", "dynamic_int8", "int8"),
        lowerings=("unrolled", "fused", "loop"),
    ),
}

# Beyond this many steps an unrolled graph, several times faster than the others, takes minutes to
# convert and megabytes to store: only `--lowering unrolled` makes it, up to the larger limit.
MAX_UNROLLED_STEPS = 256
MAX_ASKED_UNROLLED_STEPS = 1024
RECURRENT_MODELS = ("bilstm", "lstm")


def possible_lowerings(
    model: str, *, target: str, scheme: str, lowering: str, sequence_length: int
) -> tuple[str, ...]:
    """Returns the lowerings that a request may mean, the most promising first: several for "auto",
    of which the fastest is taken by measuring; "static" for a model without recurrence.

    Raises:
        ExportError: The target does not take the scheme or the lowering.
    """
    if target not in TARGETS:
        raise ExportError(f"target={target!r} is unknown. Use one of {sorted(TARGETS)}.")
    limits = TARGETS[target]
    if scheme not in limits.schemes:
        raise ExportError(
            f"scheme={scheme!r} does not run on target {target!r}. Use one of {limits.schemes}."
        )
    if lowering not in ("auto", *limits.lowerings):
        raise ExportError(
            f"lowering={lowering!r} does not run on target {target!r}. "
            f"Use auto or one of {limits.lowerings}."
        )
    if model not in RECURRENT_MODELS:
        return ("static",)
    if lowering == "auto":
        # A loop runs the same kernels as the unrolled steps and more: never faster where both fit.
        left_out = "loop" if sequence_length <= MAX_UNROLLED_STEPS else "unrolled"
        possible = tuple(name for name in limits.lowerings if name != left_out)
        return tuple(name for name in possible if (name, scheme) != ("loop", "int8"))
    if lowering == "loop" and scheme == "int8":
        # tests/test_converter_traps.py shows the crash and fails when it is gone.
        raise ExportError(
            f"scheme=int8 with lowering=loop (sequence_length={sequence_length}): the converter of "
            "TensorFlow 2.21 ends the process when it calibrates a loop. Use --scheme "
            "dynamic_int8, or --lowering auto."
        )
    if lowering == "unrolled" and sequence_length > MAX_ASKED_UNROLLED_STEPS:
        raise ExportError(
            f"lowering=unrolled with sequence_length={sequence_length}: over "
            f"{MAX_ASKED_UNROLLED_STEPS} steps the graph takes many minutes to convert. "
            "Use --lowering auto."
        )
    return (lowering,)
