"""Runs → what a short text costs in each form that a file can have: the table in docs/buckets.md.

    python benchmarks/short_texts.py RUN RUN … --markdown docs/buckets.md

Every file is exported and verified through the command line; what is there is kept. Then the files
of a run are measured in turn, twice: on texts of its test split as they are, and on those joined
until each fills the sequence.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from accuracy import read, tfpipe
from compression_tables import write_section

from device_runner.texts import read_texts
from tfpipe.run_folder import RunFolder

HEADING = "## Measured\n"
ABOUT = """
Made by `python benchmarks/short_texts.py` on runs of the default recipes, and on the Transformer of
[peers.md](peers.md) (2 layers of 128; "peers"): {scheme}, ai-edge-litert 2.3.0, one thread, x86-64
with 2 MiB of L2. *tokens* is the mean over the test texts, of those that the sequence holds. A
call's mean time is that over all texts, as they are and joined until nothing is padding; all files
of a run were measured in turn. *of full* is the one over the other, and *of one graph* the mean
over texts as they are against that of the file that has the full length alone (`unrolled` or
`static`).
"""
SCHEME = "dynamic_int8"
# Name → options of `tfpipe export`; the first has one graph of the full length.
FORMS = {
    "lstm": {
        "unrolled": ["--lowering", "unrolled"],
        "loop": ["--lowering", "loop"],
        "unrolled, buckets": ["--lowering", "unrolled", "--buckets", "auto"],
    },
    "transformer": {
        "static": ["--lowering", "static"],
        "branches": ["--lowering", "branches"],
        "static, buckets": ["--lowering", "static", "--buckets", "auto"],
    },
}
FORMS["bilstm"] = FORMS["lstm"]
NUM_TEXTS = 600


def make_artifact(run: Path, form: str, options: list[str]) -> Path | None:
    """Returns a verified artifact of the run; None if it fails."""
    artifact = run / "exports" / f"short-{form.replace(', ', '-')}"
    if not (artifact / "manifest.json").is_file():
        tfpipe("export", run, "--scheme", SCHEME, *options, "--as", artifact.name)
    if artifact.is_dir() and not (artifact / "verify.json").is_file():
        tfpipe("verify", artifact)
    return artifact if read(artifact / "verify.json").get("passed") else None


def write_texts(run: Path, folder: Path) -> tuple[Path, Path]:
    """Writes test texts as they are, and each followed by the others, one a line."""
    lines = [" ".join(text.split()) for text in read_texts(RunFolder(run).examples("test"))]
    lines = [line for line in lines if line][:NUM_TEXTS]
    length = read(run / "run.json")["recipe"]["data"]["sequence_length"]
    joined = [" ".join((lines[at:] + lines[:at])[:length]) for at in range(len(lines))]
    paths = folder / "real.txt", folder / "full.txt"
    for path, content in zip(paths, (lines, joined), strict=True):
        path.write_text("\n".join(content) + "\n", "utf-8")
    return paths


def measure(artifacts: list[Path], texts: Path, output: Path) -> list[dict[str, Any]]:
    """Measures artifacts in turn on the same texts."""
    fault = tfpipe("bench", *artifacts, "--texts", texts, "--output", output)
    if fault:
        raise SystemExit(fault)
    results: list[dict[str, Any]] = read(output)["results"]
    return results


def rows_of(run: Path) -> list[str]:
    """Returns the table's lines for one run."""
    content = read(run / "run.json")
    forms = FORMS[content["model"]]
    made = {form: make_artifact(run, form, options) for form, options in forms.items()}
    artifacts = {form: path for form, path in made.items() if path}
    with tempfile.TemporaryDirectory() as folder:
        real, full = (
            measure(list(artifacts.values()), texts, Path(folder) / f"{texts.stem}.json")
            for texts in write_texts(run, Path(folder))
        )
    lines = []
    for form, short, long in zip(artifacts, real, full, strict=True):
        cells = [
            run.parent.name,
            content["model"],
            form,
            f"{short['mean_tokens']:.1f} of {short['sequence_length']}",
            f"{short['model_size_bytes'] / 1000:.0f}",
            f"{short['peak_memory_bytes'] / 2**20:.1f}",
            f"{short['mean_ns'] / 1000:.0f}",
            f"{long['mean_ns'] / 1000:.0f}",
            f"{short['mean_ns'] / long['mean_ns']:.2f}",
            f"{short['mean_ns'] / real[0]['mean_ns']:.2f}",
            str(short["num_runs"]),
            "degraded" if "degraded" in (short["validity"], long["validity"]) else "valid",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Fills the table run by run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--markdown", type=Path, default=Path("docs/buckets.md"))
    options = parser.parse_args()
    lines = [
        "| set | model | form | tokens | kB | peak MiB | mean µs | mean µs, full | of full "
        "| of one graph | n | bench |",
        "|---|---|---|---|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for run in options.runs:
        found = rows_of(run)
        lines += found
        print("\n".join(found), flush=True)
        write_section(options.markdown, HEADING, ABOUT.format(scheme=SCHEME), lines)


if __name__ == "__main__":
    main()
