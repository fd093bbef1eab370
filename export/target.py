"""Where an exported file can run, and what each place takes, as data."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from device_runner.manifest import MODEL_FILE, ONNX_MODEL_FILE


class ExportError(ValueError):
    """A model could not be written for a target; the message has the op or limit, and the fix."""


@dataclass(frozen=True)
class Target:
    """What one kind of runtime takes.

    Attributes:
        runtime: The runtime that the host checks its files with.
        schemes: Types of weights and activations that it computes, the default first.
        lowerings: Recurrences that it runs whole, the most promising first.
        trained_schemes: Further ones, of variants alone that were trained with their rounding.
        branches: Whether it runs control flow, so that a model without recurrence can have a copy
            of its ops for shorter texts.
        model_file: Name of the model's file in an artifact.
        converter: Module of the child process that writes that file.
        package: Installed with tfpipe only through the extra of the same name as the target;
            None where no extra is needed.
    """

    runtime: str
    schemes: tuple[str, ...]
    lowerings: tuple[str, ...]
    trained_schemes: tuple[str, ...] = ()
    branches: bool = False
    model_file: str = MODEL_FILE
    converter: str = "tfpipe.export.convert"
    package: str | None = None


TARGETS = {
    "cpu": Target(
        runtime="ai-edge-litert",
        schemes=("float32", "float16", "dynamic_int8", "int8"),
        trained_schemes=("dynamic_int4",),
        lowerings=("loop", "unrolled", "fused"),
        branches=True,
    ),
    # Everything on the GPU or nothing: no control flow, lookups with one-dimensional ids.
    "gpu": Target(
        runtime="ai-edge-litert",
        schemes=("float16", "float32"),
        lowerings=("unrolled",),
    ),
    # The tail behind the embedding lookup, which stays on the host; int8 from end to end.
    "edgetpu": Target(
        runtime="ai-edge-litert",
        schemes=("int8",),
        lowerings=("unrolled",),
        converter="tfpipe.export.convert_edgetpu",
    ),
    # One file for WebAssembly and WebGPU: the GPU's form, in types that the CPU takes as well. No
    # fused recurrence, whose state is a variable that LiteRT's CompiledModel refuses.
    "web": Target(
        runtime="ai-edge-litert",
        schemes=("float16", "float32", "dynamic_int8", "int8"),
        lowerings=("unrolled", "loop"),
    ),
    "onnx": Target(
        runtime="onnxruntime",
        schemes=("float32", "int8"),
        # On ONNX Runtime 1.31 the one node is four times as fast as its steps written out.
        lowerings=("fused",),
        model_file=ONNX_MODEL_FILE,
        converter="tfpipe.export.convert_onnx",
        package="onnxruntime",
    ),
}

# Beyond this many steps an unrolled graph takes minutes to convert and megabytes to store: only
# `--lowering unrolled` makes it, up to the larger limit.
MAX_UNROLLED_STEPS = 128
MAX_ASKED_UNROLLED_STEPS = 1024
RECURRENT_MODELS = ("bilstm", "imported_rnn", "lstm")
# Models without recurrence whose time grows with the length of the graph enough to pay for a choice
# among several.
BRANCHED_MODELS = ("transformer",)
# tflite-runtime 2.11 and 2.14 lose the float16 weights of a branch when another one runs, without a
# word (tests/test_converter_traps.py): not worth it for a scheme that is slower than dynamic_int8
# and larger.
UNBRANCHED_SCHEMES = ("float16",)


def find_target(name: str) -> Target:
    """Returns the target of that name.

    Raises:
        ExportError: There is none.
    """
    if name not in TARGETS:
        raise ExportError(f"target={name!r} is unknown. Use one of {sorted(TARGETS)}.")
    return TARGETS[name]


def default_scheme(target: str) -> str:
    """Returns the scheme that a target is exported with unless another is asked for."""
    return find_target(target).schemes[0]


def possible_lowerings(
    model: str, *, target: str, scheme: str, lowering: str, sequence_length: int
) -> tuple[str, ...]:
    """Returns the lowerings that a request may mean, the most promising first: several for "auto",
    of which the fastest is taken by measuring. A model without recurrence is "static", or has
    "branches" for shorter texts.

    Raises:
        ExportError: The target does not take the scheme or the lowering.
    """
    limits = find_target(target)
    if scheme not in (*limits.schemes, *limits.trained_schemes):
        raise ExportError(
            f"scheme={scheme!r} does not run on target {target!r}. Use one of {limits.schemes}."
        )
    own = every_lowering(model, target=target, scheme=scheme)
    if lowering not in ("auto", *limits.lowerings, *own):
        raise ExportError(
            f"lowering={lowering!r} does not run on target {target!r} with model {model!r} and "
            f"scheme {scheme!r}. Use auto or one of {own}."
        )
    if model not in RECURRENT_MODELS:
        return tuple(name for name in own if lowering in ("auto", name)) or ("static",)
    if (model, scheme) == ("imported_rnn", "int8") and target != "onnx":
        return integer_lowerings(lowering, sequence_length)
    if lowering == "auto":
        # The fused op is slower than the loop, in int8 many times (docs/peers.md).
        promising = ("loop", "unrolled") if sequence_length <= MAX_UNROLLED_STEPS else ("loop",)
        possible = tuple(name for name in limits.lowerings if name in promising)
        # Only a CPU's file is measured where it will run: elsewhere the target's first is taken.
        possible = possible[: None if target == "cpu" else 1] or limits.lowerings
    else:
        possible = (lowering,)
    if possible == ("unrolled",) and sequence_length > MAX_ASKED_UNROLLED_STEPS:
        raise ExportError(
            f"lowering=unrolled with sequence_length={sequence_length}: over "
            f"{MAX_ASKED_UNROLLED_STEPS} steps the graph takes many minutes to convert. Use "
            + ("--lowering auto." if len(limits.lowerings) > 1 else "a shorter one.")
        )
    return possible


def every_lowering(model: str, *, target: str, scheme: str) -> tuple[str, ...]:
    """Returns the ways in which a model, as run.json names it, can be written for a target."""
    limits = find_target(target)
    if model in RECURRENT_MODELS:
        return limits.lowerings
    is_branched = limits.branches and model in BRANCHED_MODELS and scheme not in UNBRANCHED_SCHEMES
    return ("branches", "static") if is_branched else ("static",)


def integer_lowerings(lowering: str, sequence_length: int) -> tuple[str, ...]:
    """Returns the lowerings of an imported recurrence in int8, whose ranges the converter finds: it
    ends the process where it calibrates a loop (tests/test_converter_traps.py).

    Raises:
        ExportError: A loop is asked for, or the text is too long to be unrolled.
    """
    if lowering == "loop" or sequence_length > MAX_ASKED_UNROLLED_STEPS:
        raise ExportError(
            f"lowering={lowering} with scheme=int8 and sequence_length={sequence_length}: an "
            f"imported recurrence has int8 unrolled, up to {MAX_ASKED_UNROLLED_STEPS} steps. Use "
            "--scheme dynamic_int8, or --lowering auto and a shorter text."
        )
    return ("unrolled",) if lowering == "auto" else (lowering,)


def require_package(target: str) -> None:
    """Refuses a target whose runtime is not installed.

    Raises:
        ExportError: The message has the line that installs it.
    """
    package = TARGETS[target].package
    if package is not None and importlib.util.find_spec(package) is None:
        raise ExportError(
            f"target={target} needs {package}, which is not installed here. "
            f"Run: pip install 'tfpipe[{target}]'"
        )
