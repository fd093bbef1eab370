"""Files of one model → how they agree with Keras, or their latencies in alternating blocks.

    python benchmarks/peer_latency.py RUN THREADS OUTPUT.json check MODEL      # checks one
    python benchmarks/peer_latency.py RUN THREADS OUTPUT.json real MODEL…      # measures all
    python benchmarks/peer_latency.py RUN THREADS OUTPUT.json full MODEL…      # all, no padding

Run by peers.py. "real" is test texts as they are; "full" is the same joined until each fills the
sequence. After the models comes scikit-learn's TF-IDF and logistic regression: from a text to its
probabilities, since it has no token ids.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
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
from tfpipe.variant import keras_probabilities, load_model, load_tokenizer

NUM_TEXTS = 400


class Baseline:
    """scikit-learn's pipeline with the methods that a measurement calls; its input is one text."""

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline

    def set_input(self, text: str) -> None:
        self.text = text

    def invoke(self) -> None:
        self.output = self.pipeline.predict_proba([self.text])


class Int8Output:
    """A .tflite file whose output is int8, with the methods that a measurement calls."""

    def __init__(self, path: str, threads: int) -> None:
        self.interpreter = Interpreter(path, num_threads=threads)
        self.interpreter.allocate_tensors()
        self.input = self.interpreter.get_input_details()[0]["index"]
        self.output = self.interpreter.get_output_details()[0]
        self.invoke = self.interpreter.invoke

    def set_input(self, token_ids: np.ndarray) -> None:
        self.interpreter.reset_all_variables()
        self.interpreter.set_tensor(self.input, token_ids)

    def run(self, token_ids: np.ndarray) -> np.ndarray:
        self.set_input(token_ids)
        self.invoke()
        scale, zero_point = self.output["quantization"]
        return scale * (self.interpreter.get_tensor(self.output["index"])[0] - float(zero_point))


def open_file(path: str, threads: int) -> Any:
    """Returns the loaded model, whichever runtime it is for."""
    if Path(path).stem == "litert-quantizer-int8":
        return Int8Output(path, threads)
    return open_runnable(path, threads).model


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
        model, several = load_model(folder, "base"), folder.read()["multi_label"]
        np.save(reference, keras_probabilities(model, token_ids, multi_label=several))
    expected = np.load(reference)
    model = open_file(path, threads)
    outputs = np.stack([model.run(ids[None]) for ids in token_ids])
    return {
        "agreement": float((outputs.argmax(1) == expected.argmax(1)).mean()),
        "max_abs_error": float(np.abs(outputs - expected).max()),
        "size_bytes": Path(path).stat().st_size,
    }


def fill(token_ids: np.ndarray) -> np.ndarray:
    """Returns rows of the same shape made of the same tokens without the padding."""
    tokens = token_ids[token_ids != 0]
    return np.resize(tokens, token_ids.shape).astype(np.int32)


def measure_all(
    folder: RunFolder, paths: list[str], threads: int, *, full: bool
) -> list[list[int]]:
    """Returns the latencies in nanoseconds of every file, then of the baseline."""
    texts, token_ids = read_inputs(folder)
    inputs = [ids[None] for ids in (fill(token_ids) if full else token_ids)]
    train = open_dataset("topics").splits["train"]
    pipeline = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(max_iter=300)
    ).fit(list(train.texts()), train.targets)
    contestants = [
        *(Contestant(path, open_file(path, threads), inputs) for path in paths),
        Contestant("baseline", Baseline(pipeline), texts),
    ]
    found = measure(contestants, PROFILES["quick"])
    return [list(measurement.latencies_ns) for measurement in found]


def main() -> None:
    """Writes {"checked"} or {"latencies_ns"}."""
    folder, threads, output = RunFolder(Path(sys.argv[1])), int(sys.argv[2]), Path(sys.argv[3])
    what, paths = sys.argv[4], sys.argv[5:]
    if what == "check":
        result: dict[str, Any] = {"checked": [check(folder, path, threads) for path in paths]}
    else:
        result = {"latencies_ns": measure_all(folder, paths, threads, full=what == "full")}
    write_json_atomic(output, json.loads(json.dumps(result)))


if __name__ == "__main__":
    main()
