"""What compression.py found → the tables of docs/compression.md, each under its heading."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from compression_records import Record

from device_runner.files import write_file_atomic

Names = tuple[str, str, str]  # what tells one row of a table from another

METHODS_HEADING = "## Measured\n"
METHODS_ABOUT = """
Made by `python benchmarks/compression.py --runs RUNS --tables methods`, default recipes and
options; a trained float model for each of n seeds, each method on each of them (trained anew with
the same seed where a cell was made on another machine). *float* is the accuracy of that model,
*file* that of the exported file run by ai-edge-litert, both on the test split; *points* is file -
float, paired by seed: its mean and, in brackets, the lowest and the highest. *agreement* is the
share of the test texts that the file and the Keras model which it must equal (for qat the
quantization-aware form) predict alike, *clear* that among texts which Keras decides by more than
two quanta of 1/256; *median* the median over the texts of the largest difference of their outputs,
in quanta; of all three the worst seed. zip / float32 sets the zipped file against the zipped
float32 file. *right* counts the files that pass `tfpipe verify`. LSTM files with pruning, clusters
or `qat`, but for `prune 0.9` and `cluster 8`, were made before commit c847c9e, which takes up to
68 kB of zeros out of them.
"""
SMALLER_HEADING = "## Smaller models, measured\n"
SMALLER_ABOUT = """
Made by `python benchmarks/compression.py --runs RUNS --tables smaller`, default recipes and
options; of n seeds, each model of a seed from the same trained float one. *float*, *file*, *points*
and *agreement* as below. p50 is the mean over the seeds of that of one invoke, one thread, all
files of a run measured in turn by one `tfpipe bench`, which says whether the machine was *valid*
for it. *file ratio* and *p50 ratio* set file and p50 against those of the same seed's unshrunken
model in the same *scheme*: the mean and, in brackets, the smallest and the largest. *taught* has
both unshrunken runs of the set as teachers. Rows may be of several machines: compare ratios, which
are of one call, and not p50.
"""


def figure(value: Any, pattern: str) -> str:
    """Returns a number as text; "–" is unknown."""
    return "–" if value is None else format(value, pattern)


def spread(differences: Sequence[float]) -> str:
    """Returns the mean of differences of accuracies in points, with their range where there are
    several."""
    found = 100 * np.array(differences)
    mean = f"{found.mean():+.2f}"
    return mean if len(found) == 1 else f"{mean} ({found.min():+.2f} to {found.max():+.2f})"


def points(files: Sequence[Record]) -> str:
    """Returns the accuracies of files - those of their float models, as `spread` writes them; "–"
    where none is known."""
    checked = [record for record in files if record["file"] is not None]
    return spread([record["file"] - record["float"] for record in checked]) if checked else "–"


def average(files: Sequence[Record], key: str, pattern: str, *, unit: float = 1.0) -> str:
    """Returns the mean of a figure over several files, "–" where none has it."""
    values = [record[key] / unit for record in files if record[key] is not None]
    return figure(np.mean(values) if values else None, pattern)


def ratio(values: Sequence[float]) -> str:
    """Returns the mean of ratios, with their range where there are several that differ."""
    if not values:
        return "–"
    mean, low, high = (f"{value:.2f}" for value in (np.mean(values), min(values), max(values)))
    return mean if low == high else f"{mean} ({low} to {high})"


def worst(found: Sequence[Record], key: str, pattern: str, *, highest: bool = False) -> str:
    """Returns the worst figure of several files, "–" where none has it."""
    values = [record[key] for record in found if record[key] is not None]
    return figure((max if highest else min)(values) if values else None, pattern)


def write_methods(page: Path, found: Mapping[Names, Sequence[Record]]) -> None:
    """Writes the table of methods; `found` has the files of each set, model and method, one a
    seed."""
    header = (
        "| set | model | what | scheme | n | float | file | points | agreement | clear | median "
        "| kB | zip / float32 | right |\n|---|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    )
    rows = {}
    for (name, model, method), files in found.items():
        plain = found[name, model, "float32"]
        zipped = {record["seed"]: record["zip_size_bytes"] for record in plain}
        names = (name, model, method)
        rows[names] = method_row(names, files, zipped) if files else None
    write_table(page, METHODS_HEADING, METHODS_ABOUT, header, rows)


def method_row(names: Names, files: Sequence[Record], zipped: Mapping[int, int]) -> str:
    """Returns a line of the table of methods."""
    checked = [record for record in files if record["file"] is not None]
    ratios = [
        record["zip_size_bytes"] / zipped[record["seed"]]
        for record in files
        if record["seed"] in zipped
    ]
    quanta = [{"quanta": 256 * record["median_abs_error"]} for record in checked]
    cells = [
        *names,
        files[0]["scheme"],
        str(len(checked)),
        average(checked, "float", ".4f"),
        average(checked, "file", ".4f"),
        points(checked),
        worst(checked, "agreement", ".4f"),
        worst(checked, "clear_agreement", ".4f"),
        worst(quanta, "quanta", ".2f", highest=True),
        average(files, "model_size_bytes", ".0f", unit=1000),
        figure(np.mean(ratios) if ratios else None, ".3f"),
        f"{sum(bool(record['passed']) for record in files)} of {len(files)}",
    ]
    return f"| {' | '.join(cells)} |"


def write_smaller(page: Path, found: Mapping[Names, Sequence[Record]]) -> None:
    """Writes the table of smaller models; `found` has the files of each set, model and method, one
    a seed."""
    header = (
        "| set | model | what | scheme | n | parameters | float | file | points | agreement | kB "
        "| zip kB | p50 µs | valid | file ratio | p50 ratio |\n"
        "|---|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    )
    rows = {}
    for (name, model, method), files in found.items():
        scheme = files[0]["scheme"] if files else ""
        whole = {record["seed"]: record for record in found.get((name, model, scheme), [])}
        names = (name, model, method)
        rows[names] = smaller_row(names, files, whole) if files else None
    write_table(page, SMALLER_HEADING, SMALLER_ABOUT, header, rows)


def smaller_row(names: Names, files: Sequence[Record], whole: Mapping[int, Record]) -> str:
    """Returns a line of the table of smaller models.

    Args:
        names: Set, model and method.
        files: One a seed.
        whole: Seed → the unshrunken model's file in the same scheme.
    """
    pairs = [(record, whole[record["seed"]]) for record in files if record["seed"] in whole]
    sizes = [record["model_size_bytes"] / before["model_size_bytes"] for record, before in pairs]
    times = [
        record["p50_ns"] / before["p50_ns"]
        for record, before in pairs
        if record["p50_ns"] and record.get("bench") == before.get("bench")
    ]
    cells = [
        *names,
        files[0]["scheme"],
        str(len(files)),
        average(files, "parameters", ",.0f"),
        average(files, "float", ".4f"),
        average(files, "file", ".4f"),
        points(files),
        worst(files, "agreement", ".4f"),
        average(files, "model_size_bytes", ".0f", unit=1000),
        average(files, "zip_size_bytes", ".0f", unit=1000),
        average(files, "p50_ns", ".0f", unit=1000),
        f"{sum(record['validity'] == 'valid' for record in files)} of {len(files)}",
        ratio(sizes),
        ratio(times),
    ]
    return f"| {' | '.join(cells)} |"


def write_table(
    page: Path, heading: str, about: str, header: str, rows: Mapping[Names, str | None]
) -> None:
    """Writes a section's rows. One of which no figures are known, or those of fewer seeds than the
    page's own, stays as the page has it."""
    _, _, section = read_page(page).partition(heading)
    lines = section.partition("\n## ")[0].splitlines()
    old = {tuple(cells_of(line)[:3]): line for line in lines if line.startswith("| ")}
    made = [
        max(filter(None, (rows[names], old.get(names))), key=seeds_in(header), default=None)
        for names in rows
    ]
    write_section(page, heading, about, [header, *filter(None, made)])


def read_page(page: Path) -> str:
    """Returns what a page holds; nothing if it is not there yet."""
    return page.read_text("utf-8") if page.is_file() else ""


def cells_of(line: str) -> list[str]:
    """Returns the cells of a table's line."""
    return line.strip("| ").split(" | ")


def seeds_in(header: str) -> Callable[[str], int]:
    """Returns what reads from a line of how many seeds it is; 1 in a table that does not say so."""
    names = cells_of(header.splitlines()[0])
    return lambda line: int(cells_of(line)[names.index("n")]) if "n" in names else 1


def write_section(page: Path, heading: str, about: str, lines: list[str]) -> None:
    """Puts a table under its heading, up to the next heading or the end; a heading that the page
    does not have is added at its end."""
    before, _, rest = read_page(page).partition(heading)
    _, following, after = rest.partition("\n## ")
    separator = "" if not before or before.endswith("\n\n") else "\n"
    table = "\n".join(lines) + "\n"
    content = f"{before}{separator}{heading}{about}\n{table}{following}{after}"
    write_file_atomic(page, content.encode())
