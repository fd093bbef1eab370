"""Benchmark sets × models × seeds × compressions → accuracy, agreement, sizes: resumable tables.

    python benchmarks/compression.py --runs runs/benchmarks --sets topics --models lstm transformer

Works on the runs of benchmarks/accuracy.py (seed 1; those of other seeds it trains beside them, as
RUNS/SET/MODEL-SEED) and goes through the command line, as a user would. What is done is skipped: a
cell whose figures stand in docs/compression.json, and for others a finished training, a variant
that is there, an export of the same weights, its verification, a bench of the same files. Each
table replaces what stands under its heading in docs/compression.md, whichever cells were asked for;
a row without figures in the .json stays as it is. Two calls at once need a --page each; a last one
on the page itself brings together what they left in RUNS.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from compression_records import Record, Records
from compression_runs import KEY, MODELS, Benchmark, Cell, bench_together
from compression_tables import write_methods, write_smaller

# name → seeds
SETS = {"topics": (1, 2, 3), "snips": (1, 2, 3), "r8": (1, 2, 3), "20ng": (1,)}
PCQAT = ("--prune", "0.8", "--cluster", "16", "--qat")
LOW_RANK = ("--low-rank", "auto")
METHODS = {
    "float32": Cell((), "float32"),
    "post-training int8": Cell((), "int8"),
    "qat": Cell(("--qat",), "int8"),
    "prune 0.8": Cell(("--prune", "0.8"), "dynamic_int8"),
    "prune 0.9": Cell(("--prune", "0.9"), "dynamic_int8"),
    "cluster 16": Cell(("--cluster", "16"), "dynamic_int8"),
    "cluster 8": Cell(("--cluster", "8"), "dynamic_int8"),
    "prune 0.8, cluster 16, qat": Cell(PCQAT, "int8"),
    "low rank": Cell(LOW_RANK, "dynamic_int8"),
    "low rank, qat": Cell((*LOW_RANK, "--qat"), "int8"),
    "low rank, prune 0.8, cluster 16, qat": Cell((*LOW_RANK, *PCQAT), "int8"),
}
# An average's embedding shrinks otherwise than those of MODELS, see tfpipe.compress.low_rank.
SHRUNKEN_MODELS = ("average", *MODELS)
SMALLER = {
    "float32": Cell((), "float32"),
    "dynamic_int8": Cell((), "dynamic_int8"),
    "int8": Cell((), "int8"),
    "low rank": Cell(LOW_RANK, "dynamic_int8"),
    "shrink 0.5, low rank": Cell(("--shrink", "0.5", *LOW_RANK), "dynamic_int8"),
    "shrink 0.7, low rank": Cell(("--shrink", "0.7", *LOW_RANK), "dynamic_int8"),
    "shrink 0.5": Cell(("--shrink", "0.5"), "dynamic_int8"),
    "shrink 0.7": Cell(("--shrink", "0.7"), "dynamic_int8"),
    "shrink 0.8": Cell(("--shrink", "0.8"), "dynamic_int8"),
    "shrink 0.5, taught": Cell(("--shrink", "0.5", "TEACHERS"), "dynamic_int8"),
}


def open_records(page: Path) -> Records:
    """Returns the figures of all cells, by KEY."""
    return Records(page, "cells", KEY, ("set",))


def find(records: Records, benchmark: Benchmark, model: str, cell: Cell) -> Record:
    """Returns the figures of a cell if they are of today's table, else {}."""
    key = (benchmark.name, model, benchmark.seed, cell.variant, cell.scheme)
    return records.find(*key, data_sha256=benchmark.data_sha256())


def fill_methods(options: argparse.Namespace) -> None:
    """Makes the cells of METHODS and their table."""
    records = open_records(options.page)
    for name in options.sets:
        for seed in [seed for seed in SETS[name] if seed in options.seeds]:
            benchmark = Benchmark(options.runs, name, seed)
            for model in [model for model in MODELS if model in options.models]:
                for cell in [METHODS[method] for method in METHODS if method in options.cells]:
                    if not find(records, benchmark, model, cell):
                        benchmark.train(benchmark.run(model), model)
                        benchmark.make(model, cell)
                        records.add(filter(None, [benchmark.describe(model, cell)]))
                        show_methods(options.page, records)
    show_methods(options.page, records)


def show_methods(page: Path, records: Records) -> None:
    """Writes the table of METHODS."""
    found = {
        (name, model, method): records.select(
            set=name, model=model, variant=cell.variant, scheme=cell.scheme
        )
        for name in SETS
        for model in MODELS
        for method, cell in METHODS.items()
    }
    write_methods(page, found)


def fill_smaller(options: argparse.Namespace) -> None:
    """Makes the cells of SMALLER and their table. The files of a run are measured together: if one
    was not, all that have figures are made and measured anew."""
    records = open_records(options.page)
    for name in options.sets:
        for seed in [seed for seed in SETS[name] if seed in options.seeds]:
            benchmark = Benchmark(options.runs, name, seed)
            for model in [model for model in SHRUNKEN_MODELS if model in options.models]:
                known = {key: find(records, benchmark, model, SMALLER[key]) for key in SMALLER}
                wanted = [key for key in SMALLER if key in options.cells]
                if all(known[key].get("p50_ns") for key in wanted):
                    continue
                benchmark.train(benchmark.run(model), model)
                cells = [SMALLER[key] for key in SMALLER if key in wanted or known[key]]
                for cell in cells:
                    benchmark.make(model, cell)
                bench_together(benchmark.run(model), cells)
                records.add(filter(None, [benchmark.describe(model, cell) for cell in cells]))
                show_smaller(options.page, records)
    show_smaller(options.page, records)


def show_smaller(page: Path, records: Records) -> None:
    """Writes the table of SMALLER, with the runs whose files were measured."""
    found: dict[tuple[str, str, str], list[Record]] = {}
    for name in SETS:
        for model in SHRUNKEN_MODELS:
            of_model = records.select(set=name, model=model)
            measured = {record["seed"] for record in of_model if record["p50_ns"]}
            for method, cell in SMALLER.items():
                found[name, model, method] = [
                    record
                    for record in of_model
                    if record["seed"] in measured
                    and (record["variant"], record["scheme"]) == (cell.variant, cell.scheme)
                ]
    write_smaller(page, found)


TABLES = {"methods": fill_methods, "smaller": fill_smaller}


def main() -> None:
    """Fills the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--models", nargs="+", default=SHRUNKEN_MODELS, choices=SHRUNKEN_MODELS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    every = list({**METHODS, **SMALLER})
    parser.add_argument("--cells", nargs="+", default=every, choices=every, metavar="CELL")
    parser.add_argument("--tables", nargs="+", default=list(TABLES), choices=list(TABLES))
    parser.add_argument("--page", type=Path, default=Path("docs/compression.md"))
    options = parser.parse_args()
    for name in options.tables:
        TABLES[name](options)


if __name__ == "__main__":
    main()
