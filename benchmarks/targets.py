"""Every model → every target and scheme, exported and verified → the table in docs/targets.md.

Run it as `python benchmarks/targets.py --runs runs/targets --markdown docs/targets.md`; what is
there already is kept, so that a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tfpipe.config import MODEL_NAMES, load_recipe
from tfpipe.export.artifact import ExportOptions, default_name, export_artifact
from tfpipe.export.target import TARGETS
from tfpipe.verify import verify

BEGIN, END = "<!-- table: made by benchmarks/targets.py -->", "<!-- end of table -->"
# Which ops a target takes does not depend on sizes: small ones make the table in minutes.
SMALL = ("data.sequence_length=16", "model.embedding_dim=16", "train.epochs=6")
SMALL_FOR = {
    "lstm": ("model.units=16",),
    "bilstm": ("model.units=16",),
    "textcnn": ("model.filters=16",),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--data", default="topics", help="what the models are trained on")
    parser.add_argument("--markdown", type=Path, required=True, help="file with the table's place")
    parser.add_argument("--models", nargs="+", choices=MODEL_NAMES, default=list(MODEL_NAMES))
    options = parser.parse_args()
    rows = []
    for model in options.models:
        run = options.runs / model
        if not (run / "run.json").is_file():
            make_run(options.data, run, model)
        for target, limits in TARGETS.items():
            for scheme in limits.schemes:
                row = try_cell(run, model, target, scheme)
                print(json.dumps(row), file=sys.stderr)
                rows.append(row)
                write_table(options.markdown, rows)


def make_run(data: str, run: Path, model: str) -> None:
    """Trains a small model of one kind."""
    import tfpipe

    run.parent.mkdir(parents=True, exist_ok=True)
    recipe = load_recipe(model, overrides=[*SMALL, *SMALL_FOR.get(model, ())])
    tfpipe.train(data, run, recipe=recipe)


def try_cell(run: Path, model: str, target: str, scheme: str) -> dict[str, Any]:
    """Exports and verifies one cell; returns what the table says of it."""
    options = ExportOptions(target=target, scheme=scheme)
    row = {"target": target, "model": model, "scheme": scheme}
    artifact = run / "exports" / default_name(options)
    try:
        if not (artifact / "verify.json").is_file():
            export_artifact(run, options, overwrite=True)
            verify(artifact)
    except ValueError as error:
        if not (artifact / "verify.json").is_file():
            return {**row, "runs": "not", "known": "proven", "why": str(error).split("\n")[0][:200]}
    verified = json.loads((artifact / "verify.json").read_text("utf-8"))
    if not verified["passed"]:
        why = f"fails verification: {'; '.join(verified['failures'])}"
        return {**row, "runs": "whole", "known": "proven", "why": why}
    facts = json.loads((artifact / "check.json").read_text("utf-8")).get("edgetpu")
    agreement = f"agreement {verified['agreement']:.4f}"
    if facts is None:
        why = f"{agreement} in {verified['runtime']} {verified['runtime_version']}"
        if gpu := verified.get("gpu"):
            why += f"; {gpu['adapter']}: outputs within {gpu['max_abs_error']:.1g} of the CPU's"
        return {**row, "runs": "whole", "known": "proven", "why": why}
    total = facts["mapped"] + facts["unmapped"] + facts["unknown"]
    runs = "whole" if facts["mapped"] == total else "partly" if facts["mapped"] else "not"
    known = "predicted" if facts["predicted"] else "compiled"
    why = f"{facts['mapped']} of {total} ops map; the tail on the CPU: {agreement}"
    return {**row, "runs": runs, "known": known, "why": why}


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    """Puts the table in its place in a Markdown file."""
    lines = ["| target | model | scheme | runs | known | seen |", "|---|---|---|---|---|---|"]
    for row in sorted(rows, key=lambda row: (list(TARGETS).index(row["target"]), row["model"])):
        cells = (row[key] for key in ("target", "model", "scheme", "runs", "known", "why"))
        lines.append("| " + " | ".join(cells) + " |")
    head, rest = path.read_text("utf-8").split(BEGIN)
    _, tail = rest.split(END)
    path.write_text(f"{head}{BEGIN}\n\n" + "\n".join(lines) + f"\n\n{END}{tail}", "utf-8")


if __name__ == "__main__":
    main()
