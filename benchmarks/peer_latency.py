"""Files of one model → how they agree with Keras, or their latencies in alternating blocks.

    python benchmarks/peer_latency.py RUN THREADS OUTPUT.json MODEL                # checks one
    python benchmarks/peer_latency.py RUN THREADS OUTPUT.json --measure MODEL…     # measures all

Run by peers.py. With --measure, scikit-learn's TF-IDF and logistic regression comes last: from a
text to its probabilities, since it has no token ids.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from device_runner.files import write_json_atomic
from device_runner.latency import Contestant, measure
from device_runner.profiles import PROFILES
from device_runner.runnable import open_runnable
from tfpipe.data import open_dataset
from tfpipe.data.labelled import read_labelled
from tfpipe.run_folder import RunFolder
from tfpipe.variant import load_tokenizer
from tfpipe.verify import keras_scores

NUM_TEXTS = 400


class Baseline:
    """scikit-learn's pipeline with the methods that a measurement calls; its input is one text."""

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline

    def set_input(self, text: str) -> None:
        self.text = text

    def invoke(self) -> None:
        self.output = self.pipeline.predict_proba([self.text])


def read_inputs(folder: RunFolder) -> tuple[list[str], np.ndarray]:
    """Returns test texts of the run and their token ids, int32 `(n, sequence_length)`."""
    lines = read_labelled(
        folder.examples("test"), text_column="text", label_column="labels", multi_label=True
    )
    texts = [text for text, _ in lines][:NUM_TEXTS]
    length = folder.read()["recipe"]["data"]["sequence_length"]
    return texts, load_tokenizer(folder, "base").encode_batch(texts, length)


def check(folder: RunFolder, path: str, threads: int) -> dict[str, Any]:
    """Returns how a file's predictions agree with Keras', and its size."""
    _, token_ids = read_inputs(folder)
    reference = folder.path / "peers" / "keras.npy"
    if not reference.is_file():
        np.save(reference, keras_scores(folder, "base", token_ids))
    expected = np.load(reference)
    runnable = open_runnable(path, threads)
    outputs = np.stack([runnable.model.run(ids[None]) for ids in token_ids])
    return {
        "agreement": float((outputs.argmax(1) == expected.argmax(1)).mean()),
        "max_abs_error": float(np.abs(outputs - expected).max()),
        "size_bytes": runnable.model_size_bytes,
    }


def measure_all(folder: RunFolder, paths: list[str], threads: int) -> list[list[int]]:
    """Returns the latencies in nanoseconds of every file, then of the baseline."""
    texts, token_ids = read_inputs(folder)
    inputs = [ids[None] for ids in token_ids]
    train = open_dataset("topics").splits["train"]
    pipeline = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(max_iter=300)
    ).fit(list(train.texts()), train.targets)
    contestants = [
        *(Contestant(path, open_runnable(path, threads).model, inputs) for path in paths),
        Contestant("baseline", Baseline(pipeline), texts),
    ]
    found = measure(contestants, PROFILES["quick"])
    return [list(measurement.latencies_ns) for measurement in found]


def main() -> None:
    """Writes {"checked"} or {"latencies_ns"}."""
    folder, threads, output = RunFolder(Path(sys.argv[1])), int(sys.argv[2]), Path(sys.argv[3])
    paths = sys.argv[4:]
    if paths[0] == "--measure":
        result: dict[str, Any] = {"latencies_ns": measure_all(folder, paths[1:], threads)}
    else:
        result = {"checked": [check(folder, path, threads) for path in paths]}
    write_json_atomic(output, json.loads(json.dumps(result)))


if __name__ == "__main__":
    main()
