"""Graphs for shorter texts: which lengths, one file of several, and that nothing else changes."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from device_runner.artifact import read_artifact
from device_runner.buckets import BucketedModel
from device_runner.loading import load_any_model
from device_runner.manifest import write_manifest
from device_runner.op_profile import profile_ops
from device_runner.runnable import open_runnable
from device_runner.signatures import bucket_length, bucket_name
from device_runner.texts import read_texts
from tfpipe.bench import bench, format_bench
from tfpipe.check import check
from tfpipe.cli import cli
from tfpipe.export import artifact as artifact_module
from tfpipe.export.artifact import ExportOptions, export_artifact
from tfpipe.export.buckets import cheapest_lengths, choose_buckets, parse_buckets
from tfpipe.export.model_file import shorter_lengths
from tfpipe.export.options import check_buckets, default_name
from tfpipe.export.pack import content_of
from tfpipe.export.target import ExportError
from tfpipe.predict import predict
from tfpipe.run_folder import RunFolder
from tfpipe.thresholds import THRESHOLDS
from tfpipe.variant import load_tokenizer
from tfpipe.verify import VerificationError, verify
from tfpipe.verify import buckets as bucket_verification
from tfpipe.verify.buckets import check_bucket, describe, texts_of_every_length

LENGTH = 12
BUCKETS = "4,8"
CELLS = {
    "lstm-int8": ("lstm", "int8", "unrolled"),
    "lstm-fused": ("lstm", "float32", "fused"),
    "lstm-loop": ("lstm", "float32", "loop"),
    "transformer-dynamic_int8": ("transformer", "dynamic_int8", "auto"),
}


@pytest.fixture(scope="module")
def artifacts(
    trained_runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """One artifact with buckets of each kind."""
    folder = tmp_path_factory.mktemp("buckets")
    for name, run in trained_runs.items():
        shutil.copytree(run, folder / name, ignore=shutil.ignore_patterns("exports"))
    return {
        cell: Path(
            export_artifact(
                folder / model,
                ExportOptions(scheme=scheme, lowering=lowering, buckets=BUCKETS, name=cell),
            )["artifact"]
        )
        for cell, (model, scheme, lowering) in CELLS.items()
    }


def texts_of_lengths(vocabulary_size: int = 40) -> np.ndarray:
    """Row n has n real tokens, 0 to the full length."""
    rng = np.random.default_rng(3)
    rows = rng.integers(1, vocabulary_size, (LENGTH + 1, LENGTH)).astype(np.int32)
    return np.where(np.arange(LENGTH) < np.arange(LENGTH + 1)[:, None], rows, 0).astype(np.int32)


@given(
    lengths=st.lists(st.integers(0, 11), min_size=1, max_size=30),
    sequence_length=st.integers(1, 9),
    max_graphs=st.integers(1, 4),
)
@settings(max_examples=150, deadline=None)
def test_chosen_lengths_cost_least_of_all(
    lengths: list[int], sequence_length: int, max_graphs: int
) -> None:
    def cost(shorter: tuple[int, ...]) -> int:
        ends = (*shorter, sequence_length)
        return sum(
            min(end for end in ends if end >= min(length, sequence_length)) for length in lengths
        )

    found = cheapest_lengths(np.array(lengths), sequence_length, max_graphs)
    every = [
        shorter
        for count in range(max_graphs)
        for shorter in itertools.combinations(range(1, sequence_length), count)
    ]
    assert found in every
    assert cost(found) == min(map(cost, every))


def test_texts_of_one_length_need_one_shorter_graph() -> None:
    assert cheapest_lengths(np.full(100, 7), 40, 4) == (7,)
    assert cheapest_lengths(np.full(100, 40), 40, 4) == ()


@pytest.mark.parametrize(
    ("asked", "parsed"),
    [("auto", 4), ("auto:2", 2), ("auto:8", 8), ("16", (16,)), ("32,16,16", (16, 32))],
)
def test_option_is_read(asked: str, parsed: Any) -> None:
    assert parse_buckets(asked) == parsed


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            "auto:1",
            r"buckets='auto:1' asks for 1 graphs, expected 2 to 8.* Use auto, which makes 4",
        ),
        ("auto:9", r"asks for 9 graphs, expected 2 to 8"),
        ("", r"buckets='' is neither auto, auto:N nor lengths with commas. Use for example"),
        ("8, 16", r"buckets='8, 16' is neither"),
        ("-8", r"buckets='-8' is neither"),
        ("1,2,3,4,5,6,7,8", r"names 8 lengths, at most 7 beside the full one are made. Name fewer"),
        ("0,4", r"buckets='0,4' has the length 0, expected 1 to 11: .*sequence_length=12"),
        ("12", r"has the length 12, expected 1 to 11: .* is always there. Use auto"),
    ],
)
def test_option_that_means_nothing_is_refused(asked: str, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        choose_buckets(asked, np.array([3, 5]), LENGTH)


def test_other_targets_have_no_buckets(trained_runs: dict[str, Path]) -> None:
    options = ExportOptions(target="gpu", scheme="float16", lowering="unrolled", buckets="auto")
    with pytest.raises(ExportError, match="buckets='auto' with target='gpu': only .* cpu hold"):
        export_artifact(trained_runs["lstm"], options)


def test_signature_names_are_read_back() -> None:
    assert bucket_name(16) == "classify_16" and bucket_length("classify_16") == 16
    for name in ("classify", "classify_", "classify_1x", "classify_²", "other_16"):
        assert bucket_length(name) is None


@pytest.mark.parametrize("cell", CELLS)
def test_text_of_any_length_gives_what_the_full_length_gives(
    artifacts: dict[str, Path], cell: str
) -> None:
    runnable = open_runnable(artifacts[cell])
    model = runnable.model
    assert isinstance(model, BucketedModel) and model.bucket_lengths == (4, 8, LENGTH)
    token_ids = texts_of_lengths(runnable.artifact.tokenizer.vocabulary_size)
    natural = np.stack([model.run(row[None]) for row in token_ids])
    every = model.run_in_all(token_ids)
    fits = [length <= np.array([[4], [8], [LENGTH]]) for length in range(LENGTH + 1)]
    np.testing.assert_array_equal(np.isnan(every[..., 0]), ~np.concatenate(fits, 1))
    # Ranges of an int8 file are those of its own length; the others have the same weights and sums.
    atol = 8 / 256 if cell == "lstm-int8" else 1e-6
    for outputs in every:
        fitting = ~np.isnan(outputs[:, 0])
        np.testing.assert_allclose(outputs[fitting], every[-1][fitting], rtol=0, atol=atol)
    np.testing.assert_array_equal(natural[:5], every[0][:5])
    np.testing.assert_array_equal(natural[5:9], every[1][5:9])
    np.testing.assert_array_equal(natural[9:], every[2][9:])
    model.use_full_length()
    np.testing.assert_array_equal([model.run(row[None]) for row in token_ids], every[-1])


@pytest.mark.parametrize("cell", CELLS)
def test_weights_stand_once_in_the_file(artifacts: dict[str, Path], cell: str) -> None:
    folder = artifacts[cell]
    interpreter = Interpreter(str(folder / "model.tflite"))
    sides = {"inputs": ["token_ids"], "outputs": ["probabilities"]}
    assert interpreter.get_signature_list() == {
        name: sides for name in ("classify", "classify_4", "classify_8")
    }
    manifest = read_artifact(folder).manifest
    assert manifest.bucket_lengths == [4, 8, LENGTH]
    assert [item["inputs"][0]["shape"] for item in manifest.signatures] == [[1, 12], [1, 4], [1, 8]]
    facts = json.loads((folder / "check.json").read_text())
    assert facts["ok"] and facts["buckets"] == [4, 8]
    model = schema.ModelT.InitFromPackedBuf((folder / "model.tflite").read_bytes(), 0)
    contents = [content_of(buffer) for buffer in model.buffers]
    assert len(set(contents)) == len(contents)
    largest = max(range(len(contents)), key=lambda index: len(contents[index]))
    readers = [
        graph for graph in model.subgraphs if largest in [tensor.buffer for tensor in graph.tensors]
    ]
    assert len(readers) == 3


def test_note_says_what_runs_the_first_graph_alone(artifacts: dict[str, Path]) -> None:
    path = artifacts["lstm-loop"] / "model.tflite"
    found = check(path)
    (note,) = [entry for entry in found["findings"] if entry["code"] == "several-signatures"]
    assert found["ok"] and note["severity"] == "info"
    assert "classify_4, classify_8" in note["message"] and "--buckets" in note["fix"]
    for_mediapipe = check(path, target="mediapipe")
    assert not for_mediapipe["ok"]
    assert "several-subgraphs" in {entry["code"] for entry in for_mediapipe["findings"]}


def test_multiply_adds_are_those_of_one_run(artifacts: dict[str, Path]) -> None:
    # The full length alone: 12 inputs and 11 states of 8 values times 4 gates of 8 units; a head of
    # mean and maximum of states and of embeddings for 3 classes.
    expected = 12 * 8 * 32 + 11 * 8 * 32 + 4 * 8 * 3
    found = check(artifacts["lstm-int8"] / "model.tflite")["multiply_adds"]
    assert found == {"FULLY_CONNECTED": expected}


@pytest.mark.parametrize("cell", ["lstm-int8", "transformer-dynamic_int8"])
def test_verify_runs_every_graph_and_bench_names_them(
    artifacts: dict[str, Path], cell: str, tmp_path: Path
) -> None:
    result = verify(artifacts[cell])
    assert result["passed"]
    assert [entry["sequence_length"] for entry in result["buckets"]] == [4, 8]
    for entry in result["buckets"]:
        assert entry["num_examples"] > entry["sequence_length"]
        assert entry["agreement"] >= 0.95 and entry["max_abs_error"] < 8 / 256
    record = bench([artifacts[cell]], output=tmp_path / "bench.json")
    (measured,) = record["results"]
    shares = {entry["sequence_length"]: entry["share"] for entry in measured["buckets"]}
    runnable = open_runnable(artifacts[cell])
    texts = [
        json.loads(line)["text"]
        for line in (artifacts[cell].parents[1] / "data/test.jsonl").read_text().splitlines()
    ]
    lengths = np.array([len(runnable.artifact.tokenizer.encode(text, LENGTH)) for text in texts])
    assert measured["mean_tokens"] == pytest.approx(lengths.mean())
    expected = [
        np.mean(lengths <= 4),
        np.mean((lengths > 4) & (lengths <= 8)),
        np.mean(lengths > 8),
    ]
    assert list(shares.values()) == pytest.approx(expected) and list(shares) == [4, 8, LENGTH]
    text = format_bench(record)
    assert "tokens in the mean; run in graphs of length 4: " in text and "mean" in text


def test_predict_and_per_op_profile_take_the_file(artifacts: dict[str, Path]) -> None:
    texts = ["apple", "sky sea near the old small grass leaf moss and more of it"]
    found = predict(artifacts["lstm-loop"], texts)["predictions"]
    runnable = open_runnable(artifacts["lstm-loop"])
    runnable.model.use_full_length()
    for text, prediction in zip(texts, found, strict=True):
        expected = runnable.run(runnable.encode(text))
        np.testing.assert_allclose(list(prediction["scores"].values()), expected, atol=1e-6)
    assert profile_ops(str(artifacts["lstm-int8"]), num_runs=5)["ops"]


def test_option_reaches_the_export(
    trained_runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []
    monkeypatch.setattr(
        artifact_module,
        "export_artifact",
        lambda run, options, overwrite: given.append(options) or {"name": "made"},
    )
    done = CliRunner().invoke(cli, ["export", "somewhere", "--buckets", "auto:2"])
    assert done.exit_code == 0, done.output
    assert [options.buckets for options in given] == ["auto:2"]
    assert default_name(given[0]) == "cpu-float32-buckets"


def test_option_that_cannot_be_read_is_an_error(trained_runs: dict[str, Path]) -> None:
    arguments = ["export", str(trained_runs["transformer"]), "--buckets", "soon"]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 1 and "buckets='soon' is neither" in done.output


def test_lengths_are_chosen_from_the_training_texts(trained_runs: dict[str, Path]) -> None:
    folder = RunFolder(trained_runs["transformer"])
    tokenizer = load_tokenizer(folder, "base")
    found = shorter_lengths("auto:2", folder, tokenizer, LENGTH)
    texts = list(read_texts(folder.examples("calibration")))
    lengths = [len(tokenizer.encode(text, LENGTH)) for text in texts]
    costs = {
        shorter: sum(shorter if length <= shorter else LENGTH for length in lengths)
        for shorter in range(1, LENGTH)
    }
    assert found == [min(costs, key=lambda shorter: costs[shorter])]
    assert shorter_lengths(None, folder, tokenizer, LENGTH) == []


def test_manifest_without_the_files_graphs_is_refused(
    artifacts: dict[str, Path], tmp_path: Path
) -> None:
    import dataclasses

    folder = Path(shutil.copytree(artifacts["transformer-dynamic_int8"], tmp_path / "changed"))
    manifest = read_artifact(folder).manifest
    write_manifest(folder, dataclasses.replace(manifest, signatures=manifest.signatures[:2]))
    message = r"has graphs of the lengths \[4, 8, 12\], the manifest says \[4, 12\]. Export"
    with pytest.raises(ValueError, match=message):
        open_runnable(folder)


def test_graph_that_computes_something_else_fails_verification(
    artifacts: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_in_every_bucket = bucket_verification.run_in_every_bucket

    def spoiled(*arguments: Any, **options: Any) -> Any:
        outputs = run_in_every_bucket(*arguments, **options)
        outputs[0] = outputs[0][:, ::-1]
        return outputs

    monkeypatch.setattr(bucket_verification, "run_in_every_bucket", spoiled)
    run = Path(shutil.copytree(artifacts["transformer-dynamic_int8"].parents[1], tmp_path / "run"))
    with pytest.raises(VerificationError, match=r"bucket 4: agreement=0\.\d+ with the full length"):
        verify(run / "exports" / "transformer-dynamic_int8")


def test_limits_of_a_graph() -> None:
    threshold = THRESHOLDS["float32"]
    full = np.array([[0.9, 0.1]] * 100, np.float32)
    assert check_bucket(4, describe(full, full, multi_label=False), threshold) == []
    flipped = full.copy()
    flipped[0] = [0.4999, 0.5001]
    one = {**describe(flipped, full, multi_label=False), "mean_abs_error": 0.0}
    assert one["agreement"] == 0.99 and check_bucket(4, one, threshold) == []
    flipped[1] = flipped[0]
    two = {**describe(flipped, full, multi_label=True), "mean_abs_error": 0.0}
    (failure,) = check_bucket(4, two, threshold)
    assert failure == "bucket 4: agreement=0.9800 with the full length is below 0.999"
    lost = describe(np.full_like(full, np.nan), full, multi_label=True)
    assert (
        "mean_abs_error=None from the full length is not within"
        in check_bucket(4, lost, threshold)[-1]
    )


def test_texts_of_every_length_are_made_of_real_tokens() -> None:
    rows = texts_of_every_length(np.array([[5, 6, 0], [7, 0, 0]], np.int32))
    assert rows.tolist() == [[0, 0, 0], [7, 0, 0], [7, 5, 0], [6, 7, 5]] or rows.shape == (4, 3)
    assert [(row > 0).sum() for row in rows] == [0, 1, 2, 3] and set(rows.ravel()) <= {0, 5, 6, 7}
    assert texts_of_every_length(np.zeros((2, 3), np.int32)).tolist() == [[0, 0, 0]]


def test_signature_that_is_no_shorter_classification_is_refused(
    artifacts: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "odd.tflite"
    data = (artifacts["transformer-dynamic_int8"] / "model.tflite").read_bytes()
    assert data.count(b"classify_4") == 1
    path.write_bytes(data.replace(b"classify_4", b"classify_5"))
    with pytest.raises(ValueError, match=r"signature 'classify_5' takes .*\[1, 4\].* expected"):
        load_any_model(str(path))


def test_file_runs_on_tflite_runtime(
    artifacts: dict[str, Path], tflite_runtime_python: str
) -> None:
    folder = artifacts["lstm-int8"]
    done = subprocess.run(
        [tflite_runtime_python, "-m", "device_runner", "verify", str(folder)],
        capture_output=True,
        cwd=Path(__file__).resolve().parents[1],
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_imported_model_has_no_buckets() -> None:
    with pytest.raises(ExportError, match="buckets='auto' with an imported model: whether padding"):
        check_buckets(ExportOptions(buckets="auto"), "imported")
