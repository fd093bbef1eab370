"""A run and what is asked for → what is to be made, or why it cannot be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tfpipe.export.options import (
    ExportOptions,
    check_buckets,
    check_quantized,
    check_segments,
    check_weight_bits,
    default_name,
)
from tfpipe.export.target import possible_lowerings, require_package
from tfpipe.run_folder import RunFolder
from tfpipe.staging import check_name
from tfpipe.variant import is_quantized, read_recipe, weight_bits


@dataclass(frozen=True)
class Plan:
    """A request that a run can answer.

    Attributes:
        folder: The run.
        options: What to make.
        content: Of run.json, with the variant's recipe.
        lowerings: What the request may mean, the most promising first.
        name: The artifact's.
    """

    folder: RunFolder
    options: ExportOptions
    content: dict[str, Any]
    lowerings: tuple[str, ...]
    name: str


def plan_export(folder: RunFolder, options: ExportOptions, *, overwrite: bool) -> Plan:
    """Returns what is to be made.

    Raises:
        ExportError, FileExistsError, ValueError: As for `export_artifact`.
    """
    content = {**folder.read(), "recipe": read_recipe(folder, options.variant)}
    if is_quantized(folder, options.variant):
        check_quantized(options)
    check_weight_bits(options, weight_bits(folder, options.variant))
    lowerings = possible_lowerings(
        content["model"],
        target=options.target,
        scheme=options.scheme,
        lowering=options.lowering,
        sequence_length=content["recipe"]["data"]["sequence_length"],
    )
    check_buckets(options, content["model"])
    check_segments(options)
    require_package(options.target)
    name = check_name(options.name or default_name(options))
    destination = folder.export(name)
    if destination.exists() and not overwrite:
        raise FileExistsError(
            f"artifact={str(destination)!r} exists. Give --overwrite to replace it, or another "
            "name with --as."
        )
    return Plan(folder, options, content, lowerings, name)
