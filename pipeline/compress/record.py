"""A compressed model → what compress.json says about it."""

from __future__ import annotations

from typing import Any

import tf_keras as keras

from tfpipe.compress.layer_rounding import describe_rounding
from tfpipe.compress.options import CompressOptions
from tfpipe.compress.source import Source
from tfpipe.compress.stages import Stages, measure
from tfpipe.compress.tensors import (
    compare_sizes,
    describe_values,
    describe_weights,
    float_part,
)
from tfpipe.versions import now, read_versions

SCHEMA_VERSION = 1


def describe_variant(
    source: Source, options: CompressOptions, before: keras.Model, result: Stages
) -> dict[str, Any]:
    """Returns compress.json's content; the test split is read here for the first time.

    Args:
        source: The run's data as `before` reads them.
        options: What was asked for.
        before: The model that the methods began with.
        result: What they made of it.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "created": now(),
        "from": options.source,
        "methods": [entry["method"] for entry in result.trained],
        "options": options.identity(),
        "teaching": options.teaching.describe(source.folder.path),
        "versions": read_versions(),
        "recipe": result.source.recipe,
        "parameters": int(float_part(result.model).count_params()),
        "training": result.trained,
        "sizes": compare_sizes(before, result.model),
        "tensors": describe_weights(result.model),
        "values": describe_values(result.model, result.source.splits["validation"]),
        "rounding": describe_rounding(result.model, result.source),
        "metrics": {
            "validation": measure(result.model, result.source, "validation"),
            "test": {
                **measure(result.model, result.source, "test"),
                "num_examples": len(source.splits["test"].lengths),
            },
            "from_test": measure(before, source, "test"),
        },
    }
