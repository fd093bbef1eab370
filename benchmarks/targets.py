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

from device_runner.files import write_json_atomic
from tfpipe.config import MODEL_NAMES, load_recipe
from tfpipe.devices import open_device
from tfpipe.export.artifact import ExportOptions, export_artifact
from tfpipe.export.options import default_name
from tfpipe.export.target import RECURRENT_MODELS, TARGETS
from tfpipe.verify import verify
from tfpipe.web.package import find_packages

BEGIN, END = "<!-- table: made by benchmarks/targets.py -->", "<!-- end of table -->"
# Which ops a target takes does not depend on sizes: small ones make the table in minutes.
SMALL = ("data.sequence_length=16", "model.embedding_dim=16", "train.epochs=6")
SMALL_FOR = {
    "lstm": ("model.units=16",),
    "bilstm": ("model.units=16",),
    "textcnn": ("model.filters=16",),
}
COLUMNS = ("target", "model", "scheme", "runs", "known", "why")
BROWSERS = {"browser:wasm": "WebAssembly", "browser:webgpu": "WebGPU"}
BROWSER_FILE = "browsers.json"
# Compiling hundreds of steps for a software GPU takes minutes.
BROWSER_LIMIT_S = 900.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--data", default="topics", help="what the models are trained on")
    parser.add_argument("--markdown", type=Path, required=True, help="file with the table's place")
    parser.add_argument("--models", nargs="+", choices=MODEL_NAMES, default=list(MODEL_NAMES))
    parser.add_argument("--targets", nargs="+", choices=list(TARGETS), default=list(TARGETS))
    options = parser.parse_args()
    if "web" in options.targets:
        find_packages()  # without them the table would say that nothing runs in a browser
    rows = []
    for model in options.models:
        run = options.runs / model
        if not (run / "run.json").is_file():
            make_run(options.data, run, model)
        for cell in cells(model, options.targets):
            row = try_cell(run, model, cell)
            print(json.dumps(row), file=sys.stderr)
            rows.append(row)
            write_table(options.markdown, rows)


def cells(model: str, targets: list[str]) -> list[ExportOptions]:
    """Returns what is exported of a model: every scheme of every target, and in a browser the loop
    of a recurrence as well, which `--lowering auto` takes for longer texts alone."""
    found = [
        ExportOptions(target=target, scheme=scheme)
        for target in targets
        for scheme in TARGETS[target].schemes
    ]
    if model in RECURRENT_MODELS and "web" in targets:
        loop = {"scheme": "float16", "lowering": "loop", "name": "web-float16-loop"}
        found.append(ExportOptions(target="web", **loop))
    return found


def make_run(data: str, run: Path, model: str) -> None:
    """Trains a small model of one kind."""
    import tfpipe

    run.parent.mkdir(parents=True, exist_ok=True)
    recipe = load_recipe(model, overrides=[*SMALL, *SMALL_FOR.get(model, ())])
    tfpipe.train(data, run, recipe=recipe)


def try_cell(run: Path, model: str, options: ExportOptions) -> dict[str, Any]:
    """Exports and verifies one cell; returns what the table says of it."""
    scheme = options.scheme + (", loop" if options.lowering == "loop" else "")
    row = {"target": options.target, "model": model, "scheme": scheme}
    artifact = run / "exports" / (options.name or default_name(options))
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
    agreement = f"agreement {verified['agreement']:.4f}"
    facts = json.loads((artifact / "check.json").read_text("utf-8")).get("edgetpu")
    if facts is not None:
        return {**row, **edgetpu_cell(facts, agreement)}
    why = f"{agreement} in {verified['runtime']} {verified['runtime_version']}"
    if options.target == "web":
        return {**row, **browser_cell(artifact, verified["model_sha256"], why)}
    if gpu := verified.get("gpu"):
        why += f"; {gpu['adapter']}: outputs within {gpu['max_abs_error']:.1g} of the CPU's"
    return {**row, "runs": "whole", "known": "proven", "why": why}


def edgetpu_cell(facts: dict[str, Any], agreement: str) -> dict[str, str]:
    """Returns what the compiler took, or is predicted to take."""
    total = facts["mapped"] + facts["unmapped"] + facts["unknown"]
    return {
        "runs": "whole" if facts["mapped"] == total else "partly" if facts["mapped"] else "not",
        "known": "predicted" if facts["predicted"] else "compiled",
        "why": f"{facts['mapped']} of {total} ops map; the tail on the CPU: {agreement}",
    }


def browser_cell(artifact: Path, model_sha256: str, why: str) -> dict[str, str]:
    """Returns what a headless Chromium makes of an artifact: with WebAssembly over the whole test
    split, with WebGPU, which is software here, over the goldens."""
    path = artifact / BROWSER_FILE
    found = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    if found.get("model_sha256") != model_sha256:
        found = {"model_sha256": model_sha256}
    for device in BROWSERS:
        if device not in found:
            found[device] = try_browser(artifact, device)
            write_json_atomic(path, found)
    told = "; ".join(f"{name}: {found[device]['said']}" for device, name in BROWSERS.items())
    ran = found["browser:wasm"]["passed"]
    return {"runs": "whole" if ran else "not", "known": "proven", "why": f"{told}; {why}"}


def try_browser(artifact: Path, device: str) -> dict[str, Any]:
    """Returns whether the artifact runs there, and in words how."""
    try:
        if device == "browser:wasm":
            return {
                "passed": True,
                "said": f"agreement {verify(artifact, device=device)['agreement']:.4f}",
            }
        done = open_device(device).run(
            ["verify", "--", str(artifact)], time_limit_s=BROWSER_LIMIT_S
        )
        return {"passed": True, "said": f"{done['num_examples']} goldens met"}
    except (ValueError, OSError) as error:
        said = str(error).split("\n")[0].replace(f"{device}: ", "")
        return {"passed": False, "said": f"not: {said[:160]}"}


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    """Puts rows in their place in a Markdown file's table; rows of other cells stay."""
    head, rest = path.read_text("utf-8").split(BEGIN)
    old, tail = rest.split(END)
    cells = [line.strip("| ").split(" | ") for line in old.strip().split("\n")[2:]]
    table = {tuple(cell[:3]): cell for cell in cells if len(cell) == len(COLUMNS)}
    for row in rows:
        told = [row[key].replace("|", "/") for key in COLUMNS]
        table[tuple(told[:3])] = told
    order = sorted(table, key=lambda key: (list(TARGETS).index(key[0]), key[1]))
    lines = [" | ".join(table[key]) for key in order]
    heading = " | ".join([*COLUMNS[:-1], "seen"])
    text = "\n".join(f"| {line} |" for line in [heading, *lines])
    text = text.replace("\n", "\n" + "|---" * len(COLUMNS) + "|\n", 1)
    path.write_text(f"{head}{BEGIN}\n\n{text}\n\n{END}{tail}", "utf-8")


if __name__ == "__main__":
    main()
