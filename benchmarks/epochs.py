"""Trained runs → seconds of a training epoch, plain and with each method, taken in turn.

    python benchmarks/epochs.py RUN RUN --rounds 5 --markdown docs/compression.md

Fine-tunings of one run stand side by side in one process and run an epoch each, one after the
other, in another order every round, so that what else the machine does meets all of them. The
first round, which traces graphs, is not counted. An epoch is all updates, what a method does before
them (quantization-aware training observes ranges) and the scores on the validation split.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from compression_tables import write_section

from device_runner.machine import read_fingerprint
from tfpipe.compress.fine_tune import FineTuner
from tfpipe.compress.options import CompressOptions
from tfpipe.compress.prune import compressible
from tfpipe.compress.source import open_source
from tfpipe.compress.stages import make_tuner
from tfpipe.run_folder import RunFolder
from tfpipe.variant import load_model

HEADING = "## Time of an epoch, measured\n"
ABOUT = """
Made by `python benchmarks/epochs.py RUN RUN --rounds {rounds} --markdown docs/compression.md`:
epochs of the same run with each method, in turn in one process, the first of each not counted.
*ratio* is that of an epoch to the plain one of the same round: the median over the rounds, and the
smallest and largest. Taken on: {machine}.
"""
PLAIN = "plain"
PRUNED = 0.8
# name → methods of one fine-tuning; the first holds nothing
METHODS = {
    PLAIN: CompressOptions(),
    "qat": CompressOptions(qat=True),
    "qat of weights": CompressOptions(qat=True, scheme="dynamic_int8"),
    "prune 0.8": CompressOptions(prune=PRUNED),
    "cluster 16": CompressOptions(cluster=16),
}


def make_tuners(folder: RunFolder, work: Path, rounds: int) -> dict[str, FineTuner]:
    """Returns one fine-tuning for each of METHODS, of the same weights and rows."""
    source = open_source(folder, METHODS[PLAIN], work, lambda _: None)
    model = load_model(folder, "base")
    made = {}
    for name, options in METHODS.items():
        every = dataclasses.replace(options, epochs=rounds + 1)
        names = every.methods() or ["distill"]
        sparsity = [PRUNED] * len(compressible(model)) if every.prune else []
        place = RunFolder(work / name.replace(" ", "-"))
        made[name] = make_tuner(source, model, every, names, place, sparsity)
        for method in made[name].methods:
            method.begin(made[name])
    return made


def measure(tuners: Mapping[str, FineTuner], rounds: int) -> dict[str, list[float]]:
    """Returns the seconds of each epoch but the first."""
    seconds: dict[str, list[float]] = {name: [] for name in tuners}
    rng = random.Random(1)
    for number in range(rounds + 1):
        for name in rng.sample(list(tuners), len(tuners)):
            started = time.perf_counter()
            tuners[name].run_epoch(lambda _: None)
            tuners[name].end_epoch()
            if number:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def rows_of(run: str, seconds: Mapping[str, Sequence[float]]) -> list[str]:
    """Returns the lines of a run."""
    lines = []
    for name, taken in seconds.items():
        ratios = np.array(taken) / np.array(seconds[PLAIN])
        ratio = f"{np.median(ratios):.2f} ({ratios.min():.2f}–{ratios.max():.2f})"
        lines.append(f"| {run} | {name} | {np.median(taken):.1f} | {len(taken)} | {ratio} |")
    return lines


def main() -> None:
    """Measures the runs and writes their table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--markdown", type=Path, required=True)
    options = parser.parse_args()
    lines = ["| run | method | s/epoch | n | ratio |", "|---|---|--:|--:|--:|"]
    for run in options.runs:
        with tempfile.TemporaryDirectory() as work:
            tuners = make_tuners(RunFolder(run), Path(work), options.rounds)
            seconds = measure(tuners, options.rounds)
        lines += rows_of(f"{run.parent.name} {run.name}", seconds)
    machine = f"{read_fingerprint()['cpu_model']}, {os.cpu_count()} cores"
    about = ABOUT.format(rounds=options.rounds, machine=machine)
    write_section(options.markdown, HEADING, about, lines)


if __name__ == "__main__":
    main()
