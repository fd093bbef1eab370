"""Files of one model → how they agree with Keras, or their latencies in alternating blocks.

    python benchmarks/peer_latency.py RUN THREADS OUTPUT.json check MODEL         # checks one
    python benchmarks/peer_latency.py RUN THREADS OUTPUT.json real NAME=MODEL…    # measures all
    python benchmarks/peer_latency.py RUN THREADS OUTPUT.json full NAME=MODEL…    # no padding
    python benchmarks/peer_latency.py RUN THREADS OUTPUT.json lengths NAME=MODEL… # both together

Run by peers.py. "real" is test texts as they are; "full" is the same joined until each fills the
sequence. With "real" and "full" comes, after the models, scikit-learn's TF-IDF and logistic
regression: from a text to its probabilities, since it has no token ids.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from peer_tables import BASELINE
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


def make_baseline() -> Baseline:
    """Returns scikit-learn's pipeline, fitted on the packaged topics."""
    train = open_dataset("topics").splits["train"]
    pipeline = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(max_iter=300)
    )
    return Baseline(pipeline.fit(list(train.texts()), train.targets))


def measure_all(
    folder: RunFolder, files: dict[str, str], threads: int, texts: str
) -> dict[str, Any]:
    """Returns the latencies of every file in nanoseconds, and how many of the tokens are real."""
    lines, token_ids = read_inputs(folder)
    inputs = {"real": token_ids, "full": fill(token_ids)}
    contestants = [
        Contestant(
            name if kind == "real" or texts != "lengths" else f"{name}, full",
            open_file(path, threads),
            [ids[None] for ids in rows],
        )
        for name, path in files.items()
        for kind, rows in inputs.items()
        if texts in (kind, "lengths")
    ]
    if texts != "lengths":
        contestants.append(Contestant(BASELINE, make_baseline(), lines))
    found = measure(contestants, PROFILES["quick"])
    samples = {
        contestant.name: list(measurement.latencies_ns)
        for contestant, measurement in zip(contestants, found, strict=True)
    }
    return {"latencies_ns": samples, "real_share": float((token_ids != 0).mean())}


def main() -> None:
    """Writes what `check` or `measure_all` returns."""
    folder, threads, output = RunFolder(Path(sys.argv[1])), int(sys.argv[2]), Path(sys.argv[3])
    what, paths = sys.argv[4], sys.argv[5:]
    if what == "check":
        result = check(folder, paths[0], threads)
    else:
        files = dict(path.split("=", 1) for path in paths)
        result = measure_all(folder, files, threads, what)
    write_json_atomic(output, result)


if __name__ == "__main__":
    main()
