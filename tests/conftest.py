"""Fixtures that several test files share: a tiny real model, its artifact folder, other Pythons."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from device_runner.encode import format_vocabulary
from device_runner.manifest import Manifest, classification_signature, write_manifest
from tfpipe.export.child import JOB_FILE, Child

SEQUENCE_LENGTH = 8
VOCABULARY = ["<PAD>", "<START>", "<UNKNOWN>", *(f"w{i}" for i in range(17))]
LABELS = ["no", "ja, gewiss", "日本語"]
TEXTS = ["w0 w1 w2", "w16", "w3 unheard w4", "", "w5 " * 30]


@dataclass(frozen=True)
class TinyModel:
    """An embedding average with softmax, and the weights it was made from.

    Attributes:
        path: The .tflite file.
        embedding: float32 (vocabulary, 4).
        kernel: float32 (4, classes).
    """

    path: Path
    embedding: np.ndarray
    kernel: np.ndarray

    def probabilities(self, token_ids: list[int]) -> np.ndarray:
        """What the file must give, computed in float64 without TensorFlow."""
        logits = self.embedding.astype(np.float64)[token_ids].mean(axis=0) @ self.kernel
        exponents = np.exp(logits - logits.max())
        return exponents / exponents.sum()


def expected_token_ids(text: str) -> list[int]:
    """The word rules by hand, for texts of words between spaces."""
    ids = [VOCABULARY.index(word) if word in VOCABULARY else 2 for word in text.split()]
    return ([1, *ids] + [0] * SEQUENCE_LENGTH)[:SEQUENCE_LENGTH]


@pytest.fixture(scope="session")
def convert_tiny() -> Callable[..., bytes]:
    """Makes a .tflite from a function of token ids, int32 (1, sequence_length)."""
    tf = pytest.importorskip("tensorflow")

    def convert(function: Callable[[Any], Any], *, dtype: str = "int32") -> bytes:
        class Module(tf.Module):
            @tf.function(
                input_signature=[tf.TensorSpec((1, SEQUENCE_LENGTH), dtype, name="token_ids")]
            )
            def classify(self, token_ids: Any) -> Any:
                return {"probabilities": function(token_ids)}

        module = Module()
        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [module.classify.get_concrete_function()], module
        )
        return bytes(converter.convert())

    return convert


@pytest.fixture(scope="session")
def tiny_model(
    tmp_path_factory: pytest.TempPathFactory, convert_tiny: Callable[..., bytes]
) -> TinyModel:
    tf = pytest.importorskip("tensorflow")
    random = np.random.default_rng(0)
    embedding = random.normal(size=(len(VOCABULARY), 4)).astype(np.float32)
    kernel = random.normal(size=(4, len(LABELS))).astype(np.float32)

    def classify(token_ids: Any) -> Any:
        rows = tf.gather(tf.constant(embedding), tf.reshape(token_ids, [-1]))
        mean = tf.reduce_mean(tf.reshape(rows, [1, SEQUENCE_LENGTH, 4]), axis=1)
        return tf.nn.softmax(tf.linalg.matmul(mean, tf.constant(kernel)))

    path = tmp_path_factory.mktemp("tiny") / "tiny.tflite"
    path.write_bytes(convert_tiny(classify))
    return TinyModel(path, embedding, kernel)


def write_artifact(
    folder: Path, model: bytes, probabilities: Callable[[list[int]], Any], **changes: Any
) -> Path:
    """Writes an artifact folder, by hand, around the bytes of a model."""
    examples = [
        {
            "text": text,
            "token_ids": expected_token_ids(text),
            "outputs": [float(value) for value in probabilities(expected_token_ids(text))],
        }
        for text in TEXTS
    ]
    contents = {
        "model.tflite": model,
        "vocabulary.txt": format_vocabulary(VOCABULARY).encode(),
        "labels.txt": "".join(label + "\n" for label in LABELS).encode(),
        "golden.json": json.dumps({"atol": 1e-5, "examples": examples}).encode(),
    }
    folder.mkdir(parents=True)
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    values: dict[str, Any] = {
        "name": folder.name,
        "task": "classify",
        "multi_label": False,
        "model": "average",
        "variant": "base",
        "target": "cpu",
        "scheme": "float32",
        "lowering": "none",
        "sequence_length": SEQUENCE_LENGTH,
        "num_classes": len(LABELS),
        "signatures": [classification_signature(SEQUENCE_LENGTH, len(LABELS))],
        "tokenizer": {
            "kind": "word",
            "lowercase": False,
            "delimiter_pattern": r"[\x00-\x20]+",
            "max_chars_per_word": 0,
        },
        "files": {
            name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
            for name, data in contents.items()
        },
        "recipe": {"model": {"embedding_dim": 4}},
        "versions": {"tensorflow": "2.21.0"},
        "created": "2025-01-31T12:00:00Z",
    }
    write_manifest(folder, Manifest(**{**values, **changes}))
    return folder


@pytest.fixture
def fake_artifact(tmp_path: Path) -> Path:
    """An artifact whose model only looks like one: for all that is checked before it loads."""
    return write_artifact(
        tmp_path / "fake", b"\x1c\x00\x00\x00TFL3" + bytes(32), lambda _: [0.2, 0.3, 0.5]
    )


@pytest.fixture
def make_artifact(tmp_path: Path, tiny_model: TinyModel) -> Callable[..., Path]:
    """Makes artifact folders around the tiny model, or around the bytes given as `model`."""

    def make(folder: str = "tiny", *, model: bytes | None = None, **changes: Any) -> Path:
        data = tiny_model.path.read_bytes() if model is None else model
        return write_artifact(tmp_path / folder, data, tiny_model.probabilities, **changes)

    return make


@pytest.fixture
def tiny_artifact(make_artifact: Callable[..., Path]) -> Path:
    return make_artifact()


@pytest.fixture
def texts_file(tmp_path: Path) -> Path:
    """300 texts of the tiny vocabulary, as the run folder keeps them."""
    random = np.random.default_rng(1)
    lines = [
        json.dumps({"text": " ".join(f"w{i}" for i in random.integers(0, 20, 6)), "labels": ["no"]})
        for _ in range(300)
    ]
    path = tmp_path / "test.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def load_benchmark(name: str) -> ModuleType:
    """Imports benchmarks/NAME.py, where modules import each other by their bare names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
        return importlib.import_module(name)


def executable_of(python: str, reason: str) -> str:
    """The program behind a name on the path, which may be a version manager's shim; else skips."""
    try:
        done = subprocess.run(
            [python or "nothing", "-c", "import sys; print(sys.executable)"],
            capture_output=True,
            text=True,
        )
    except OSError:
        pytest.skip(reason)
    if done.returncode != 0:
        pytest.skip(reason)
    return done.stdout.strip()


@pytest.fixture(scope="session")
def tflite_runtime_python() -> str:
    """A Python that has tflite-runtime; CI makes one, a user's machine seldom has it."""
    python = os.environ.get("TFPIPE_TFLITE_RUNTIME_PYTHON", "")
    return executable_of(
        python, f"TFPIPE_TFLITE_RUNTIME_PYTHON={python!r} is not a Python with tflite-runtime"
    )


@pytest.fixture(scope="session")
def old_python() -> str:
    """A Python 3.7, the oldest that the device runner supports; NumPy or not."""
    python = os.environ.get("TFPIPE_PYTHON37", "python3.7")
    return executable_of(python, f"{python} is not there; set TFPIPE_PYTHON37 to a Python 3.7")


def write_colours(path: Path, *, num_rows: int = 240, seed: int = 5) -> Path:
    """Writes a CSV that a model learns in seconds: three classes, each with words of its own."""
    random = np.random.default_rng(seed)
    words = {"red": "apple cherry rose", "green": "grass leaf moss", "blue": "sky sea ice"}
    shared = "the a of near under big small old new".split()
    lines = ["text,label"]
    for index in range(num_rows):
        label = sorted(words)[index % 3]
        own = random.choice(words[label].split(), 2)
        text = " ".join([*own, *random.choice(shared, random.integers(1, 6)), f"n{index}"])
        lines.append(f"{text},{label}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


SMALL = [
    "train.epochs=4",
    "train.batch_size=16",
    "train.learning_rate=0.02",
    "model.embedding_dim=8",
    "model.dropout=0",
    "model.token_dropout=0",
    "model.embedding_dropout=0",
    "train.label_smoothing=0",
    "data.sequence_length=12",
    "tokenizer.kind=word",
]
SMALL_LSTM = [*SMALL, "model.units=8", "model.branch_dropout=0"]


@pytest.fixture(scope="session")
def make_colours() -> Callable[..., Path]:
    """`write_colours`, for tests that need a table of their own."""
    return write_colours


@pytest.fixture(scope="session")
def small_recipe() -> Callable[..., Any]:
    """Makes a recipe that trains in seconds: `small_recipe("lstm", "train.epochs=2")`."""
    from tfpipe.config import load_recipe

    def make(name: str = "average", *overrides: str) -> Any:
        small = SMALL_LSTM if name == "lstm" else SMALL
        return load_recipe(name, overrides=[*small, *overrides])

    return make


@pytest.fixture(scope="session")
def trained_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two finished runs on the colours, "lstm" and "transformer". Copy one before changing it."""
    from tfpipe.config import load_recipe
    from tfpipe.train import train

    folder = tmp_path_factory.mktemp("runs")
    data = write_colours(folder / "colours.csv")
    recipes = {"lstm": SMALL_LSTM, "transformer": [*SMALL, "model.num_heads=2"]}
    for name, overrides in recipes.items():
        train(data, folder / name, recipe=load_recipe(name, overrides=overrides))
    return {name: folder / name for name in recipes}


@pytest.fixture(scope="session")
def exported_run(trained_runs: dict[str, Path]) -> Path:
    """The lstm run with one artifact, cpu-float32, verified. Copy it before changing it."""
    from tfpipe.export.artifact import export_artifact
    from tfpipe.verify import verify

    export_artifact(trained_runs["lstm"])
    verify(trained_runs["lstm"] / "exports" / "cpu-float32")
    return trained_runs["lstm"]


def run_here(child: Child, job: dict[str, Any], folder: Path, _: float) -> int:
    """`Child.run` in this process, which has TensorFlow loaded already."""
    path = folder / JOB_FILE
    path.write_text(json.dumps(job))
    try:
        importlib.import_module(child.module).main(path)
    except SystemExit as error:
        return int(str(error.code))
    return 0


@pytest.fixture(scope="module")
def in_process() -> Iterator[None]:
    """Converts for a CPU, and compares layers, without a process of its own each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Child, "run", run_here)
        yield


@pytest.fixture
def small_disk() -> Callable[[Path, int], list[str]]:
    """Makes the beginning of a command for which a folder is a real disk of so many bytes."""
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed, which gives a process a small disk")
    bind = ["bwrap", "--dev-bind", "/", "/"]
    probe = subprocess.run([*bind, "true"], capture_output=True, text=True, check=False)
    if probe.returncode:
        pytest.skip(f"bubblewrap cannot make a small disk here: {probe.stderr.strip()}")
    return lambda folder, size_bytes: [*bind, "--size", str(size_bytes), "--tmpfs", str(folder)]
