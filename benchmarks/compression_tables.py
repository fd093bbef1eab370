"""What compression.py found → the tables of docs/compression.md, each under its heading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from device_runner.files import write_file_atomic

Facts = Mapping[str, Any]

METHODS_HEADING = "## Measured\n"
METHODS_ABOUT = """
Made by `python benchmarks/compression.py --runs RUNS --tables methods`, default recipes and
options; one trained float model for each of n seeds, each method on each of them. *float* is the
accuracy of that model, *file* that of the exported file run by ai-edge-litert, both on the test
split; *points* is file - float, paired by seed: its mean and, in brackets, the lowest and the
highest. *agreement* is the share of the test texts that the file and the Keras model which it must
equal (for qat the quantization-aware form) predict alike, *clear* that among texts which Keras
decides by more than two quanta of 1/256; *median* the median over the texts of the largest
difference of their outputs, in quanta; of all three the worst seed. zip / float32 sets the zipped
file against the zipped float32 file. *right* counts the files that pass `tfpipe verify`.
"""
SMALLER_HEADING = "## Smaller models, measured\n"
SMALLER_ABOUT = """
Made by `python benchmarks/compression.py --runs RUNS --tables smaller`, default recipes and
options, one seed, one run each, each model from the same trained float one. *float*, *file* and
*agreement* as below. p50 is of one invoke, one thread, all files of a model measured in turn by one
`tfpipe bench`, which says whether the machine was *valid* for it; the last two columns set file and
p50 against those of the unshrunken model in the same scheme. *taught* has both unshrunken runs of
the set as teachers, at a temperature of 2, the default when those runs were trained.
"""


def figure(value: Any, pattern: str) -> str:
    """Returns a number as text; "–" is unknown."""
    return "–" if value is None else format(value, pattern)


def spread(differences: Sequence[float]) -> str:
    """Returns the mean of differences of accuracies in points, with their range where there are
    several."""
    points = 100 * np.array(differences)
    mean = f"{points.mean():+.2f}"
    return mean if len(points) == 1 else f"{mean} ({points.min():+.2f} to {points.max():+.2f})"


def worst(found: Sequence[Facts], key: str, pattern: str, *, highest: bool = False) -> str:
    """Returns the worst figure of several files, "–" where none has it."""
    values = [facts[key] for facts in found if facts.get(key) is not None]
    return figure((max if highest else min)(values) if values else None, pattern)


def write_methods(page: Path, found: Mapping[tuple[str, str, str], Sequence[Facts]]) -> None:
    """Writes the table of methods; `found` has the files of each set, model and method, one a
    seed."""
    lines = [
        "| set | model | what | scheme | n | float | file | points | agreement | clear | median "
        "| kB | zip / float32 | right |",
        "|---|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for (name, model, method), files in found.items():
        if files:
            zipped = {
                facts["run"]["seed"]: facts["zip_size_bytes"]
                for facts in found[name, model, "float32"]
            }
            lines.append(method_row([name, model, method], files, zipped))
    write_section(page, METHODS_HEADING, METHODS_ABOUT, lines)


def method_row(names: list[str], files: Sequence[Facts], zipped: Mapping[int, int]) -> str:
    """Returns a line of the table of methods."""
    checked = [facts for facts in files if "artifact" in facts]
    before = [facts["run"]["metrics"]["test"]["accuracy"] for facts in checked]
    after = [facts["artifact"] for facts in checked]
    ratios = [
        facts["zip_size_bytes"] / zipped[seed]
        for facts in files
        if (seed := facts["run"]["seed"]) in zipped
    ]
    quanta = [{"quanta": 256 * facts["median_abs_error"]} for facts in checked]
    cells = [
        *names,
        files[0]["scheme"],
        str(len(checked)),
        figure(np.mean(before) if before else None, ".4f"),
        figure(np.mean(after) if after else None, ".4f"),
        spread(np.subtract(after, before).tolist()) if after else "–",
        worst(checked, "agreement", ".4f"),
        worst(checked, "clear_agreement", ".4f"),
        worst(quanta, "quanta", ".2f", highest=True),
        figure(np.mean([facts["model_size_bytes"] for facts in files]) / 1000, ".0f"),
        figure(np.mean(ratios) if ratios else None, ".3f"),
        f"{sum(bool(facts.get('passed')) for facts in files)} of {len(files)}",
    ]
    return f"| {' | '.join(cells)} |"


def write_smaller(page: Path, found: Mapping[tuple[str, str, str], Facts]) -> None:
    """Writes the table of smaller models; `found` has the file of each set, model and method."""
    lines = [
        "| set | model | what | parameters | float | file | agreement | kB | zip kB | p50 µs "
        "| bench | beside | file ratio | p50 ratio |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|--:|---|---|--:|--:|",
    ]
    for (name, model, method), facts in found.items():
        before = found.get((name, model, facts["scheme"]), {})
        p50, p50_before = facts["p50_ns"], before.get("p50_ns")
        size = facts["model_size_bytes"]
        cells = [
            name,
            model,
            method,
            f"{facts['compressed'].get('parameters', facts['run']['parameters']):,d}",
            figure(facts["run"]["metrics"]["test"]["accuracy"], ".4f"),
            figure(facts.get("artifact"), ".4f"),
            figure(facts.get("agreement"), ".4f"),
            figure(size / 1000, ".0f"),
            figure(facts["zip_size_bytes"] / 1000, ".0f"),
            figure(p50 and p50 / 1000, ".0f"),
            facts["validity"] or "–",
            facts["scheme"],
            figure(before and size / before["model_size_bytes"], ".2f"),
            figure(p50 / p50_before if p50 and p50_before else None, ".2f"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    write_section(page, SMALLER_HEADING, SMALLER_ABOUT, lines)


def write_section(page: Path, heading: str, about: str, lines: list[str]) -> None:
    """Puts a table under its heading, up to the next heading or the end; a heading that the page
    does not have is added at its end."""
    before, _, rest = page.read_text("utf-8").partition(heading)
    _, following, after = rest.partition("\n## ")
    separator = "" if before.endswith("\n\n") else "\n"
    table = "\n".join(lines) + "\n"
    content = f"{before}{separator}{heading}{about}\n{table}{following}{after}"
    write_file_atomic(page, content.encode())
