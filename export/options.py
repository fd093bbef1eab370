"""What to make of a trained variant: the request that an export answers."""

from __future__ import annotations

from dataclasses import dataclass

from tfpipe.devices.environment import parse_runtime
from tfpipe.export.buckets import parse_buckets
from tfpipe.export.target import ExportError
from tfpipe.variant import IMPORTED_MODELS


@dataclass(frozen=True)
class ExportOptions:
    """What to make of a variant.

    Attributes:
        target: A key of `tfpipe.export.target.TARGETS`.
        scheme: Types of weights and activations.
        lowering: How a recurrence is written; "auto" measures the candidates for target cpu
            here and takes the fastest right one, and the first that any other target runs.
        variant: "base" or a compressed variant's name.
        runtime: NAME==VERSION of the TFLite runtime that the file must run on, or "oldest"; None
            for the host's own.
        name: The artifact's; None makes one of variant, target and scheme.
        num_segments: How many Edge TPUs share the model.
        buckets: Further graphs for shorter texts, see `tfpipe.export.buckets.parse_buckets`; None
            for the full length alone.
    """

    target: str = "cpu"
    scheme: str = "float32"
    lowering: str = "auto"
    variant: str = "base"
    runtime: str | None = None
    name: str | None = None
    num_segments: int = 1
    buckets: str | None = None


def default_name(options: ExportOptions) -> str:
    """Returns for example "cpu-int8", with a compressed variant's name before it."""
    parts = [options.target, options.scheme]
    if options.variant != "base":
        parts.insert(0, options.variant)
    if options.buckets is not None:
        parts.append("buckets")
    if options.runtime is not None:
        parts.append(parse_runtime(options.runtime).spec.replace("==", "-"))
    return "-".join(parts)


def check_buckets(options: ExportOptions, model: str) -> None:
    """Refuses `buckets` that no file of the target or of the model, as run.json names it, can have.

    Raises:
        ExportError: What is asked for cannot be read, the target takes one graph only, or padding
            may mean something to the model.
    """
    if options.buckets is None:
        return
    parse_buckets(options.buckets)
    if options.target != "cpu":
        raise ExportError(
            f"buckets={options.buckets!r} with target={options.target!r}: only files for target "
            "cpu hold several graphs. Leave --buckets out."
        )
    if model in IMPORTED_MODELS:
        raise ExportError(
            f"buckets={options.buckets!r} with an imported model: whether padding changes its "
            "results is not known, and shorter graphs leave padding out. Leave --buckets out."
        )


def check_segments(options: ExportOptions) -> None:
    """Refuses `num_segments` for anything but Edge TPUs.

    Raises:
        ExportError: Several segments of another target's file.
    """
    if options.num_segments != 1 and options.target != "edgetpu":
        raise ExportError(
            f"num_segments={options.num_segments} with target={options.target!r}: only the Edge "
            "TPU's compiler cuts a model. Use --target edgetpu, or leave --num-segments out."
        )


def check_quantized(options: ExportOptions) -> None:
    """Refuses options for a quantization-aware variant that would make something else of it.

    Raises:
        ExportError: They ask for another function.
    """
    asked = (options.target, options.scheme, options.lowering)
    if asked[:2] not in (("cpu", "int8"), ("web", "int8")) or asked[2] == "fused":
        raise ExportError(
            f"variant={options.variant!r} was trained with the rounding of scheme int8, and "
            f"target={asked[0]} scheme={asked[1]} lowering={asked[2]} would ship another function. "
            "Use --target cpu or web --scheme int8, or another --variant."
        )
