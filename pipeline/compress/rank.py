"""A model, a number of columns or "auto", validation texts → the model with a narrower table."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tf_keras as keras

from device_runner.files import write_json_atomic
from tfpipe.compress.low_rank import find_readers, reduce_rank
from tfpipe.compress.sensitivity import deciding_metric, make_scorer, standard_error
from tfpipe.compress.source import Source
from tfpipe.config import AUTO

# "auto" tries multiples of it. Of fewer columns a small validation split may bear four by chance:
# a Transformer of WordNet topics lost 0.4 points of 483 texts with them, and 2.8 of 1,172 others.
RANK_STEP = 8


class TableStays(ValueError):
    """The embedding's table cannot be made as narrow as was asked for."""


def check_rank(model: keras.Model, rank: int | str) -> None:
    """Refuses a number of columns that the model's table would not get narrower by.

    Raises:
        TableStays: The table has no more columns than that, or than "auto" leaves.
    """
    columns = find_readers(model).embedding.output_dim
    if rank == AUTO and columns <= RANK_STEP:
        raise TableStays(
            f"low_rank={AUTO!r} tries {RANK_STEP} columns and more, and the embedding's table has "
            f"{columns}. Give a smaller number, or leave it out."
        )
    if rank != AUTO and int(rank) >= columns:
        raise TableStays(
            f"low_rank={rank} is not below the {columns} columns of the embedding's table. Give "
            "fewer."
        )


def choose_rank(
    model: keras.Model,
    source: Source,
    rank: int | str,
    *,
    file: Path,
    progress: Callable[[str], None],
) -> tuple[keras.Model, Source, dict[str, Any]]:
    """Returns the model with a table of `rank` columns, see `reduce_rank`, and what that costs.

    With "auto" these are the fewest, in steps of eight, with which the model's score, untrained, on
    the validation split falls by at most one standard error, see `scan_sensitivity`.

    Args:
        model: A float model of `tfpipe.models`.
        source: The run's data.
        rank: Columns to keep, or "auto".
        file: Where the choice is kept for a call that goes on after this one was killed.
        progress: Told what was found.

    Returns:
        The model, the data with its recipe, and {"columns": {"before", "after"}, "metric",
        "num_examples", "score" of the model as it was, "limit": the largest drop that "auto" takes,
        "tried": [{"columns", "score", "drop"}], all untrained}.

    Raises:
        TableStays: The table has no more columns than that, or none can go.
        ValueError: Nothing needs the table's vectors.
    """
    check_rank(model, rank)
    if file.is_file():
        facts: dict[str, Any] = json.loads(file.read_text("utf-8"))
        return *reduce_rank(model, source, facts["columns"]["after"]), facts
    columns = find_readers(model).embedding.output_dim
    score, count = make_scorer(model, source)
    before = score()
    limit = standard_error(before, count)
    tried: list[dict[str, Any]] = []
    for wanted in range(RANK_STEP, columns, RANK_STEP) if rank == AUTO else [int(rank)]:
        smaller, reads = reduce_rank(model, source, wanted)
        found = make_scorer(smaller, reads)[0]()
        kept = find_readers(smaller).embedding.output_dim
        tried.append({"columns": kept, "score": found, "drop": round(before - found, 6)})
        if rank != AUTO or tried[-1]["drop"] <= limit:
            break
    else:
        raise TableStays(
            f"low_rank={AUTO!r}: of the {columns} columns of the embedding's table none can go. "
            f"With no smaller multiple of {RANK_STEP} does the validation score (n={count}), "
            f"untrained, stay within {100 * limit:.1f} points, one standard error. Give a number "
            "to train on with as many columns."
        )
    progress(
        f"low_rank: {kept} of {columns} columns; validation score {found:.4f} untrained, "
        f"{before:.4f} with all (n={count})"
    )
    facts = {
        "columns": {"before": columns, "after": kept},
        "metric": deciding_metric(source),
        "num_examples": count,
        "score": before,
        "limit": limit,
        "tried": tried,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json_atomic(file, facts)
    return smaller, reads, facts
