"""A file with TFLite metadata → what phones' own SDKs make of it, and device_runner makes too."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from conftest import LABELS, SEQUENCE_LENGTH, VOCABULARY, TinyModel, executable_of

from device_runner.artifact import read_artifact
from device_runner.encode import Tokenizer, TokenizerSpec
from device_runner.texts import read_texts
from tfpipe.check import check
from tfpipe.check.parse import read_model
from tfpipe.export.artifact import ExportOptions, export_artifact
from tfpipe.export.embed import add_metadata
from tfpipe.export.golden import HOSTILE_TEXTS
from tfpipe.export.mediapipe import write_for_mediapipe
from tfpipe.run_folder import RunFolder
from tfpipe.tokenizer import tokenizer_spec
from tfpipe.verify import verify

# What the tokenizers could read differently: case, every kind of space and line end, controls,
# apostrophes, the special tokens themselves, scripts without spaces, marks, joiners, characters
# beyond U+FFFF, private and never assigned ones, and texts of delimiters alone.
TEXTS = (
    *HOSTILE_TEXTS,
    "Apple APPLE apple aPPle",
    "rose\tcherry\r\nleaf\x0bmoss\x0csky\x85sea\u2028ice\u2029rose",
    "rose\x01cherry\x1fleaf\x7fmoss",
    "rose's rose’s 'rose' \"leaf\" «sky» “sea”",
    "<START> <PAD> <UNKNOWN> START PAD UNKNOWN <rose>",
    "苹果樱桃玫瑰 りんご 사과 แอปเปิล",
    "e\u0301clair \u0915\u094d\u0937 \u200b\u200c\u200d\u2060\ufeffrose",
    "rose😀leaf👩‍🚀sky \U0001f1e9\U0001f1ea \U00020000 \U0010ffff \uffff \ue000 \ufdd0 \u0378",
    "  ,;. -- !? … ",
    "\u00a0rose\u3000leaf\u202fsky\u00ad\u180e\u1680",
    "rose 5 6.5 1,000 $ € ₿ + − × % ½ ² n12",
    "rose " * 5_000 + "leaf",
    "x" * 100_000,
)
CLASSIFY = {
    "mediapipe": """
import json, sys
from mediapipe.tasks.python import text
from mediapipe.tasks.python.core.base_options import BaseOptions

models, texts = json.load(sys.stdin)
found = []
for path in models:
    base = BaseOptions(model_asset_path=path)
    classifier = text.TextClassifier.create_from_options(text.TextClassifierOptions(base))
    results = [classifier.classify(entry).classifications[0].categories for entry in texts]
    classifier.close()
    found.append([{entry.category_name: entry.score for entry in row} for row in results])
print(json.dumps(found))
""",
    "task library": """
import json, sys
from tflite_support.task import text

models, texts = json.load(sys.stdin)
found = []
for path in models:
    classifier = text.NLClassifier.create_from_file(path)
    results = [classifier.classify(entry).classifications[0].categories for entry in texts]
    found.append([{entry.category_name: entry.score for entry in row} for row in results])
print(json.dumps(found))
""",
}
VARIABLES = {
    "mediapipe": "TFPIPE_MEDIAPIPE_PYTHON",
    "task library": "TFPIPE_TASK_LIBRARY_PYTHON",
}


def sdk_python(sdk: str) -> str:
    python = os.environ.get(VARIABLES[sdk], "")
    return executable_of(
        python, f"{VARIABLES[sdk]}={python!r} is not a Python with it; see .ci/run"
    )


def classify(sdk: str, models: list[Path], texts: list[str]) -> list[list[dict[str, float]]]:
    """What an SDK makes of each text with each model: {label: score}."""
    done = subprocess.run(
        [sdk_python(sdk), "-c", CLASSIFY[sdk]],
        input=json.dumps([[str(path) for path in models], texts]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answer: list[list[dict[str, float]]] = json.loads(done.stdout)
    return answer


def our_scores(artifact: Path, texts: list[str]) -> list[dict[str, float]]:
    """What the runner's parts make of each text."""
    read = read_artifact(artifact)
    interpreter = Interpreter(read.model_path)
    run = interpreter.get_signature_runner("classify")
    rows = []
    for text in texts:
        ids = read.tokenizer.encode_padded(text, read.manifest.sequence_length)[None]
        rows.append(run(token_ids=ids)["probabilities"][0].tolist())
    return [dict(zip(read.labels, row, strict=True)) for row in rows]


def cased(run: Path, folder: Path) -> Path:
    """A copy of a run whose tokenizer keeps the case; its texts have none."""
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("exports"))
    content = json.loads((folder / "run.json").read_text())
    content["recipe"]["tokenizer"]["lowercase"] = "false"
    (folder / "run.json").write_text(json.dumps(content))
    return folder


CELLS = {
    "lstm-int8": ("lstm", ExportOptions(scheme="int8", lowering="unrolled", name="a")),
    "transformer-dynamic_int8": ("transformer", ExportOptions(scheme="dynamic_int8", name="b")),
    "transformer-float32": ("transformer", ExportOptions(name="c")),
}
# The Task Library's last release has kernels of 2023: no int8 DIV, no FULLY_CONNECTED version 12.
SDK_CELLS = {"mediapipe": tuple(CELLS), "task library": ("transformer-float32",)}


@pytest.fixture(scope="module")
def exports(
    trained_runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("cased")
    runs = {name: cased(run, folder / name) for name, run in trained_runs.items()}
    return {cell: export_artifact(runs[name], options) for cell, (name, options) in CELLS.items()}


@pytest.mark.parametrize("sdk", CLASSIFY)
def test_sdk_gives_the_runners_labels_and_probabilities(
    exports: dict[str, dict[str, Any]], sdk: str
) -> None:
    artifacts = [Path(exports[cell]["artifact"]) for cell in SDK_CELLS[sdk]]
    run = RunFolder(artifacts[0].parent.parent)
    texts = [*list(read_texts(run.examples("test")))[:30], *TEXTS]
    found = classify(sdk, [artifact / "model.tflite" for artifact in artifacts], texts)
    for artifact, answers in zip(artifacts, found, strict=True):
        for text, ours, theirs in zip(texts, our_scores(artifact, texts), answers, strict=True):
            assert theirs.keys() == ours.keys()
            # Kernels of several TFLite releases add up in another order.
            assert theirs == pytest.approx(ours, abs=1e-5), (artifact.name, text[:80])


def test_mediapipe_reads_a_text_up_to_the_first_nul(exports: dict[str, dict[str, Any]]) -> None:
    """docs/deploy/android.md says so: regex_tokenizer.cc takes the text as a C string."""
    artifact = Path(exports["transformer-dynamic_int8"]["artifact"])
    (found,) = classify("mediapipe", [artifact / "model.tflite"], ["rose\0 sea sea sky"])
    cut, whole = our_scores(artifact, ["rose", "rose\0 sea sea sky"])
    assert found[0] == pytest.approx(cut, abs=1e-5)
    assert found[0] != pytest.approx(whole, abs=1e-2)


@pytest.mark.parametrize("cell", CELLS)
def test_file_that_ships_is_the_one_that_was_checked_and_verified(
    exports: dict[str, dict[str, Any]], cell: str
) -> None:
    result = exports[cell]
    folder = Path(result["artifact"])
    data = (folder / "model.tflite").read_bytes()
    facts = json.loads((folder / "check.json").read_text())
    assert result["mediapipe"] == facts["mediapipe"] == {"loads": True, "reason": None}
    assert result["model_size_bytes"] == len(data)
    assert check(folder, target="mediapipe")["ok"]
    found = verify(folder)
    assert found["passed"] and found["model_sha256"] == read_artifact(folder).manifest.model_sha256
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        assert archive.testzip() is None
        assert archive.read("labels.txt") == (folder / "labels.txt").read_bytes()
        tokens = [line.rsplit(" ", 1) for line in archive.read("vocab.txt").decode().splitlines()]
    assert [token for token, _ in tokens] == read_artifact(folder).tokenizer.vocabulary
    assert [int(index) for _, index in tokens] == list(range(len(tokens)))


def word_tokenizer(vocabulary: list[str] | None = None, *, lowercase: bool = False) -> Tokenizer:
    return Tokenizer(tokenizer_spec("word", lowercase), vocabulary or VOCABULARY)


@pytest.fixture
def written(tiny_model: TinyModel, tmp_path: Path) -> Path:
    """The tiny model with metadata."""
    path = Path(shutil.copy(tiny_model.path, tmp_path / "model.tflite"))
    assert write_for_mediapipe(path, word_tokenizer(), LABELS, "cpu")["loads"]
    return path


def plain(value: Any) -> Any:
    """An object of the generated classes as dicts and lists."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, list):
        return [plain(entry) for entry in value]
    if hasattr(value, "__dict__"):
        return {key: plain(entry) for key, entry in vars(value).items()}
    return value


def test_everything_else_in_the_file_stays(tiny_model: TinyModel, written: Path) -> None:
    """Read with the classes that are generated from the schema."""
    old_bytes, new_bytes = tiny_model.path.read_bytes(), written.read_bytes()
    assert old_bytes in new_bytes
    old, new = (plain(schema.ModelT.InitFromPackedBuf(data, 0)) for data in (old_bytes, new_bytes))
    entry = new["metadata"].pop()
    assert entry == {"name": b"TFLITE_METADATA", "buffer": len(old["buffers"])}
    assert bytes(new["buffers"].pop()["data"])[4:8] == b"M001"
    assert new == old


def test_buffers_stay_aligned(tiny_model: TinyModel, written: Path) -> None:
    """The schema asks for multiples of 16."""
    data = written.read_bytes()
    assert data.index(tiny_model.path.read_bytes()) % 16 == 0
    assert data.index(read_model(data).metadata["TFLITE_METADATA"]) % 16 == 0


def test_runtimes_compute_the_same(
    tiny_model: TinyModel, written: Path, tflite_runtime_python: str
) -> None:
    token_ids = np.arange(SEQUENCE_LENGTH, dtype=np.int32)[None]
    run = Interpreter(str(written)).get_signature_runner()
    expected = tiny_model.probabilities(token_ids[0].tolist())
    np.testing.assert_allclose(run(token_ids=token_ids)["probabilities"][0], expected, atol=1e-6)
    script = (
        "import sys, json, numpy\nfrom tflite_runtime.interpreter import Interpreter\n"
        "run = Interpreter(sys.argv[1]).get_signature_runner()\n"
        "ids = numpy.array([json.loads(sys.argv[2])], numpy.int32)\n"
        "print(json.dumps(run(token_ids=ids)['probabilities'][0].tolist()))"
    )
    arguments = [str(written), json.dumps(token_ids[0].tolist())]
    done = subprocess.run(
        [tflite_runtime_python, "-c", script, *arguments], capture_output=True, check=True
    )
    np.testing.assert_allclose(json.loads(done.stdout), expected, atol=1e-6)


def test_task_library_reads_the_metadata_back(written: Path) -> None:
    """And its parser agrees with the version that the file asks for."""
    script = """
import json, sys
from tflite_support import metadata

shown = metadata.MetadataDisplayer.with_model_file(sys.argv[1])
parsed = metadata._pywrap_metadata_version.GetMinimumMetadataParserVersion(
    bytes(shown.get_metadata_buffer())
)
print(json.dumps([json.loads(shown.get_metadata_json()), parsed]))
"""
    done = subprocess.run(
        [sdk_python("task library"), "-c", script, str(written)], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    shown, parser_version = json.loads(done.stdout)
    assert shown["min_parser_version"] == parser_version == "1.2.1"
    (graph,) = shown["subgraph_metadata"]
    (given,), (output,) = graph["input_tensor_metadata"], graph["output_tensor_metadata"]
    assert given["process_units"] == [
        {
            "options_type": "RegexTokenizerOptions",
            "options": {
                "delim_regex_pattern": tokenizer_spec("word", False).delimiter_pattern,
                "vocab_file": [
                    {
                        "name": "vocab.txt",
                        "description": "Token and id of each word.",
                        "type": "VOCABULARY",
                    }
                ],
            },
        }
    ]
    assert (given["name"], output["name"]) == ("token_ids", "probabilities")
    assert [entry["type"] for entry in output["associated_files"]] == ["TENSOR_AXIS_LABELS"]


@pytest.mark.parametrize(
    ("tokenizer", "target", "labels", "reason"),
    [
        (word_tokenizer(), "gpu", LABELS, "runs text models on the CPU, and target is gpu"),
        (word_tokenizer(lowercase=True), "cpu", LABELS, "does not lower-case texts: train with"),
        (
            Tokenizer(tokenizer_spec("wordpiece", True), ["[PAD]", "[UNK]", "a"]),
            "cpu",
            LABELS,
            r"three inputs \(ids, mask, segment ids\), and this one has one",
        ),
        (
            Tokenizer(tokenizer_spec("char", False), ["<PAD>", "<UNKNOWN>", "a"]),
            "cpu",
            LABELS,
            "has no tokenizer char: train with tokenizer.kind=word",
        ),
        (
            Tokenizer(TokenizerSpec("word", False, "[,]+"), [*VOCABULARY, "New York"]),
            "cpu",
            LABELS,
            "a token holds a space",
        ),
        (word_tokenizer(), "cpu", ["a\r", "b", "c"], "a label holds a carriage return"),
    ],
)
def test_file_that_mediapipe_would_read_otherwise_stays_as_it_is(
    tiny_model: TinyModel,
    tmp_path: Path,
    tokenizer: Tokenizer,
    target: str,
    labels: list[str],
    reason: str,
) -> None:
    path = Path(shutil.copy(tiny_model.path, tmp_path / "model.tflite"))
    found = write_for_mediapipe(path, tokenizer, labels, target)
    assert found["loads"] is False
    with pytest.raises(ValueError, match=reason):
        raise ValueError(found["reason"])
    assert path.read_bytes() == tiny_model.path.read_bytes()


@pytest.mark.parametrize("kind", ["wordpiece", "char"])
def test_cure_for_a_users_own_model_is_not_a_recipes_key(
    kind: str, tiny_model: TinyModel, tmp_path: Path
) -> None:
    vocabulary = ["[PAD]", "[UNK]", "a"] if kind == "wordpiece" else ["<PAD>", "<UNKNOWN>", "a"]
    tokenizer = Tokenizer(tokenizer_spec(kind, False), vocabulary)
    path = Path(shutil.copy(tiny_model.path, tmp_path / "model.tflite"))
    reason = write_for_mediapipe(path, tokenizer, LABELS, "cpu", imported=True)["reason"]
    assert reason.endswith("and import it with --tokenizer word --keep-case")
    assert "tokenizer.kind" not in reason


def test_loop_is_several_subgraphs(tmp_path: Path, convert_tiny: Callable[..., bytes]) -> None:
    import tensorflow as tf

    def loop(token_ids: Any) -> Any:
        total = tf.while_loop(
            lambda total: total < 9.0,
            lambda total: [total + 1.0],
            [tf.reduce_sum(tf.cast(token_ids, tf.float32))],
        )[0]
        return tf.reshape(total, [1, 1]) * tf.ones([1, 3])

    path = tmp_path / "loop.tflite"
    path.write_bytes(convert_tiny(loop))
    found = write_for_mediapipe(path, word_tokenizer(), LABELS, "cpu")
    assert found["loads"] is False
    assert "subgraphs. Write the graph in one piece (--lowering unrolled" in found["reason"]


def test_file_that_keeps_state_is_not_for_mediapipe(tiny_model: TinyModel, tmp_path: Path) -> None:
    """MediaPipe runs one text after the other and never clears variables."""
    model = schema.ModelT.InitFromPackedBuf(tiny_model.path.read_bytes(), 0)
    model.subgraphs[0].tensors[-2].isVariable = True
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path = tmp_path / "state.tflite"
    path.write_bytes(builder.Output())
    found = write_for_mediapipe(path, word_tokenizer(), LABELS, "cpu")
    assert found == {
        "loads": False,
        "reason": "the file keeps state from one call to the next, which MediaPipe never clears: "
        "use --lowering unrolled",
    }


def test_root_of_another_schema_is_refused() -> None:
    """A vtable with a ninth field in use, at the end of a file that is else empty."""
    fields = struct.pack("<HH9H", 22, 8, *([0] * 8), 4)
    table = struct.pack("<iI", 24, 1)
    data = struct.pack("<I4s", 8 + 24, b"TFL3") + fields + b"\0\0" + table
    with pytest.raises(ValueError, match="has 9 fields, of which 8 are known. Convert it with"):
        add_metadata(data, "NAME", b"")


def test_file_without_metadata_gets_its_first_entry() -> None:
    """A root with nothing but a version, as a flatbuffer may be."""
    data = struct.pack("<I4s", 16, b"TFL3") + struct.pack("<HHH", 6, 8, 4) + b"\0\0"
    data += struct.pack("<iI", 8, 3)
    model = schema.ModelT.InitFromPackedBuf(add_metadata(data, "NAME", b"content"), 0)
    assert model.version == 3
    assert [(entry.name, entry.buffer) for entry in model.metadata] == [(b"NAME", 0)]
    assert bytes(model.buffers[0].data) == b"content"


def test_same_file_gives_the_same_bytes(
    tiny_model: TinyModel, written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(shutil.copy(tiny_model.path, tmp_path / "later.tflite"))
    monkeypatch.setattr("time.time", lambda: 2e9)
    assert write_for_mediapipe(path, word_tokenizer(), LABELS, "cpu")["loads"]
    assert path.read_bytes() == written.read_bytes()
