"""What runtimes.py found → its page in Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

ABOUT = """# Runtimes

Made by `benchmarks/runtimes.py`, whose first lines say how. Command:

    python benchmarks/runtimes.py --runs runs/benchmarks/topics --models lstm transformer average \\
        bilstm --peers runs/peers/lstm-128 --markdown docs/runtimes.md \\
        --runtimes ai-edge-litert==2.3.0 tflite-runtime==2.14.0 tflite-runtime==2.11.0 \\
        --python tflite-runtime==2.11.0=PYTHON

PYTHON is a Python 3.7 that has that release; without the last two lines the first two runtimes are
taken, in environments that are made where they are missing.
The runs are those of `make bench` (packaged topics, default recipes) and of `benchmarks/peers.py`.
A cell says: agreement with Keras on the whole test split · p50 of one invoke in µs, batch 1, one
thread, real texts at their own lengths (n invokes, a model's right files in turn in one process
of that runtime). **Wrong** is what `tfpipe verify` would not let pass, and has no latency; **runs
not** is what the runtime refuses or dies of; a number in brackets is the reason, in its own words,
below.
"""
SHOWN_CHARS = 160


def shorten(text: str) -> str:
    """Returns an error as a line that fits a table: its first, or the last that names an error
    where the first introduces a log; without folders."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["no message"]
    errors = [line for line in lines[1:] if re.search(r"[Ee]rror\b", line)]
    line = errors[-1] if errors else lines[0]
    line = re.sub(r"(?<![\w.])/(?:[^\s/:'\"]+/)*([^\s/:'\"]*)", r"\1", line)
    line = line.replace("|", "\\|")
    return line if len(line) <= SHOWN_CHARS else line[: SHOWN_CHARS - 1] + "…"


def needs_measuring(cells: Sequence[dict[str, Any]]) -> bool:
    """Returns whether a right cell of one model and runtime has no latency yet."""
    return any(cell["right"] and "p50_ns" not in cell for cell in cells)


class Notes:
    """Reasons, numbered in the order in which they first come up."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def number(self, text: str) -> str:
        """Returns for example "[2]"."""
        if text not in self.texts:
            self.texts.append(text)
        return f"[{self.texts.index(text) + 1}]"

    def format(self) -> str:
        """Returns a line for each, nothing where there is none."""
        lines = [f"[{number}] {text}  " for number, text in enumerate(self.texts, 1)]
        return "\n".join([*lines, ""]) + "\n" if lines else ""


def format_cell(cell: dict[str, Any] | None, notes: Notes) -> str:
    """Returns what one file does in one runtime; "–" is not known yet."""
    if cell is None:
        return "–"
    if cell["right"]:
        p50_ns, num_runs = cell.get("p50_ns"), cell.get("num_runs")
        latency = f"{p50_ns / 1000:.0f} µs (n {num_runs})" if p50_ns else "–"
        return f"{cell['agreement']:.4f} · {latency}"
    if cell["runs"]:
        return f"**wrong**: {cell['agreement']:.4f} {notes.number(cell['error'])}"
    verdict = "runs not" if cell.get("size_bytes") else "not made"
    return f"**{verdict}** {notes.number(cell['error'])}"


def format_table(cells: Sequence[dict[str, Any]]) -> str:
    """Returns a line for each model, lowering and scheme, a column for each runtime."""
    runtimes = list(dict.fromkeys(cell["runtime"] for cell in cells))
    found = {
        (cell["model"], cell["lowering"], cell["scheme"], cell["runtime"]): cell for cell in cells
    }
    names = [runtime.replace("==", " ") for runtime in runtimes]
    lines = [
        f"| model | lowering | scheme | kB | {' | '.join(names)} |",
        f"|---|---|---|--:|{'---|' * len(names)}",
    ]
    notes = Notes()
    for key in sorted(dict.fromkeys(key[:3] for key in found), key=lambda key: key[:2]):
        row = [found.get((*key, runtime)) for runtime in runtimes]
        size = next((cell["size_bytes"] for cell in row if cell and cell["size_bytes"]), None)
        shown = [format_cell(cell, notes) for cell in row]
        kilobytes = f"{size / 1000:.0f}" if size else "–"
        lines.append(f"| {' | '.join([*key, kilobytes, *shown])} |")
    return "\n".join(lines) + "\n\n" + notes.format()


def format_fastest(cells: Sequence[dict[str, Any]]) -> str:
    """Returns which right file of a model is the fastest in each runtime."""
    timed = [cell for cell in cells if cell.get("p50_ns")]
    lines = []
    for model in dict.fromkeys(cell["model"] for cell in timed):
        for runtime in dict.fromkeys(cell["runtime"] for cell in timed):
            own = [cell for cell in timed if (cell["model"], cell["runtime"]) == (model, runtime)]
            if own:
                best = min(own, key=lambda cell: cell["p50_ns"])
                what = f"{best['scheme']} {best['lowering']}, {best['p50_ns'] / 1000:.0f} µs"
                lines.append(f"- {model} on {runtime.replace('==', ' ')}: {what}")
    return "\n".join(["The fastest right file:", "", *lines, ""]) + "\n" if lines else ""


def format_check(cells: Sequence[dict[str, Any]]) -> str:
    """Returns where `tfpipe check` said otherwise than the runtime did."""
    known = [cell for cell in cells if "check_ok" in cell]
    other = [cell for cell in known if cell["check_ok"] != cell["runs"]]
    names = [
        " ".join(cell[key] for key in ("model", "lowering", "scheme", "runtime")) for cell in other
    ]
    said = f"except for: {'; '.join(names)}" if names else "every time"
    return (
        f"`tfpipe check`, which reads the file alone, said of these {len(known)} whether they "
        f"run, rightly {said}.\n"
    )


def format_stock(found: dict[str, Any]) -> str:
    """Returns the comparison with the stock converter's files in one runtime."""
    if not found:
        return ""
    runtime = found["runtime"].replace("==", " ")
    lines = [
        f"\n## LSTM of 128 units against the stock converter, {runtime}\n",
        "Sequence length 64, real texts; all right files in turn in one process.\n",
        "| file | kB | agreement · p50 |",
        "|---|--:|---|",
    ]
    notes = Notes()
    for row in sorted(found["rows"], key=lambda row: row.get("p50_ns") or float("inf")):
        size = f"{row['size_bytes'] / 1000:.0f}" if row.get("size_bytes") else "–"
        lines.append(f"| {row['name']} | {size} | {format_cell(row, notes)} |")
    lines += ["", notes.format()]
    if found.get("ratio"):
        lines.append(
            f"`{found['tfpipe']}` takes **{found['ratio']:.3f}** (95 % interval "
            f"{found['low']:.3f} to {found['high']:.3f}) of the time of `{found['stock']}`, the "
            "fastest right one of the stock converter.\n"
        )
    return "\n".join(lines)


def format_machine(facts: dict[str, Any]) -> str:
    """Returns what the latencies were taken on."""
    if not facts:
        return ""
    load = facts["load_average"]
    text = (
        f"\nTaken on: {facts['cpu_model']}, {facts['num_cores']} cores, {facts['os']}; load "
        f"average at the start {'unknown' if load is None else f'{load:.1f}'}.\n"
    )
    # One core computes what is measured; the average also remembers what ended a minute before.
    if load is not None and load >= facts["num_cores"]:
        text += (
            "Other work ran beside: the figures are too high, those of long calls, which are "
            "interrupted, most of all. `--latency anew` on a quiet machine takes them again.\n"
        )
    return text


def format_page(content: dict[str, Any]) -> str:
    """Returns the whole page."""
    cells = content["cells"]
    parts = [ABOUT, format_machine(content["machine"]), "\n", format_table(cells)]
    parts += [format_fastest(cells), format_check(cells), format_stock(content["stock"])]
    return "".join(parts)
