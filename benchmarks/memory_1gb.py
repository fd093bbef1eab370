"""A synthetic CSV of 2 million rows and 1 GB → the peak resident memory of training on it.

    python benchmarks/memory_1gb.py                          # trains; about 40 minutes on 2 cores
    python benchmarks/memory_1gb.py --only data              # reads and splits, no training
    python benchmarks/memory_1gb.py --only baselines         # reads, splits and fits the baselines
    python benchmarks/memory_1gb.py --rows 20000 -- --set train.epochs=2

The file is made in a temporary folder and deleted. What stands after `--` goes to `tfpipe train`.
Prints one JSON object; exit 1 if the peak is above the limit of 2.5 GB or the child failed.
The peak is the resident memory of the child and of all its children together, looked at
every 0.1 s (a page that two of them share counts twice), and never less than the largest
resident memory of one process as the kernel reports it.
"""

import argparse
import csv
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

LIMIT_BYTES = 2_500_000_000
NUM_ROWS = 2_000_000
WORDS_PER_PHRASE = 10
PHRASES_PER_ROW = 8  # of about 6 characters a word: 500 characters a row
NUM_PHRASES = 20_000
NUM_WORDS = 50_000
NUM_RARE_WORDS = 1_000_000  # as many different words as 150 million words of a language have
LABELS = ("business", "culture", "science", "sport")
SAMPLE_SECONDS = 0.1

READ = """
import sys
from tfpipe.data import open_dataset
dataset = open_dataset(sys.argv[1])
for split in dataset.splits.values():
    num_texts = sum(1 for _ in split.texts())
    if num_texts != split.num_examples:
        raise SystemExit(f"read {num_texts} texts of {split.num_examples}")
"""
BASELINES = """
import sys
from tfpipe.baseline import evaluate_baselines
from tfpipe.data import open_dataset
print(evaluate_baselines(open_dataset(sys.argv[1]), seed=1), file=sys.stderr)
"""
TRAIN = "from tfpipe.cli import main; main()"
SMALL_TRAINING = (
    "--model average --set train.epochs=1 --set data.sequence_length=64 --set train.batch_size=512"
).split()


def make_rows(num_rows: int, seed: int) -> Iterator[tuple[str, str]]:
    """Yields `(text, label)`: phrases of words with a natural distribution, some of them telling
    the label, and one rare word."""
    random = np.random.default_rng(seed)
    letters = np.array(list("etaoinshrdlu"))
    words = np.array(
        ["".join(random.choice(letters, size)) for size in random.integers(2, 10, NUM_WORDS)]
    )
    share = 1 / np.arange(1, NUM_WORDS + 1)  # Zipf's law
    numbers = random.choice(NUM_WORDS, (NUM_PHRASES, WORDS_PER_PHRASE), p=share / share.sum())
    phrases = [" ".join(words[row]) for row in numbers]
    for start in range(0, num_rows, 1000):
        size = min(1000, num_rows - start)
        labels = random.integers(0, len(LABELS), size)
        chosen = random.integers(0, NUM_PHRASES, (size, PHRASES_PER_ROW))
        # Half of a row's phrases come from its label's quarter of them.
        own = chosen[:, ::2] // len(LABELS) * len(LABELS) + labels[:, np.newaxis]
        chosen[:, ::2] = own % NUM_PHRASES
        rare = random.integers(0, NUM_RARE_WORDS, size)
        for row, label, number in zip(chosen.tolist(), labels, rare, strict=True):
            text = ", ".join([phrases[index] for index in row])
            yield f"{text} w{number}", LABELS[label]


def write_table(path: Path, num_rows: int) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        writer.writerows(make_rows(num_rows, seed=1))


def resident_bytes(root: int) -> int:
    """Returns the resident memory of a process and all its descendants (Linux)."""
    total, waiting = 0, [root]
    while waiting:
        pid = waiting.pop()
        try:
            status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
        except OSError:  # it has ended meanwhile
            continue
        kilobytes = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")]
        total += sum(map(int, kilobytes)) * 1024
        waiting += map(int, children.split())
    return total


def run_and_watch(command: list[str]) -> tuple[int, int, float]:
    """Returns the exit code, the peak of resident bytes, and the seconds a command took."""
    start = time.monotonic()
    peak = 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as child:
        while child.poll() is None:
            peak = max(peak, resident_bytes(child.pid))
            time.sleep(SAMPLE_SECONDS)
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return child.returncode, max(peak, largest), time.monotonic() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=NUM_ROWS, help="rows of the file")
    parser.add_argument("--only", choices=("data", "baselines"), help="one part of training")
    parser.add_argument("options", nargs="*", help="options of `tfpipe train`, after `--`")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        table, run = Path(folder) / "rows.csv", Path(folder) / "run"
        write_table(table, arguments.rows)
        size_bytes = table.stat().st_size
        command = [sys.executable, "-c", READ if arguments.only == "data" else BASELINES, table]
        if arguments.only is None:
            command = [sys.executable, "-c", TRAIN, "train", table, "--run", run]
            command += SMALL_TRAINING + arguments.options
        code, peak, seconds = run_and_watch([str(part) for part in command])
    result = {
        "rows": arguments.rows,
        "size_bytes": size_bytes,
        "part": arguments.only or "train",
        "exit_code": code,
        "seconds": round(seconds, 1),
        "rows_per_second": round(arguments.rows / seconds),
        "peak_memory_bytes": peak,
        "limit_bytes": LIMIT_BYTES,
        "passed": code == 0 and peak <= LIMIT_BYTES,
    }
    print(json.dumps(result, indent=1))
    sys.exit(0 if result["passed"] else 1)


if __name__ == "__main__":
    main()
