"""Prediction through the runner: texts, files and what is wrong with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import tfpipe
from tfpipe.cli import cli
from tfpipe.predict import format_predictions, predict


@pytest.fixture
def invoke(tiny_artifact: Path) -> Callable[..., Result]:
    def call(*arguments: str) -> Result:
        return CliRunner().invoke(cli, ["predict", str(tiny_artifact), *arguments])

    return call


def test_texts_get_the_label_of_the_largest_score(tiny_artifact: Path, tiny_model: Any) -> None:
    texts = ["w0 w1 w2", "w16", "", "w3 unheard\nw4"]
    found = tfpipe.predict(tiny_artifact, texts)["predictions"]
    assert [entry["text"] for entry in found] == texts
    ids = [[1, 3, 4, 5, 0, 0, 0, 0], [1, 19] + [0] * 6, [1] + [0] * 7, [1, 6, 2, 7, 0, 0, 0, 0]]
    for entry, row in zip(found, ids, strict=True):
        expected = tiny_model.probabilities(row)
        assert list(entry["scores"]) == ["no", "ja, gewiss", "日本語"]
        assert list(entry["scores"].values()) == pytest.approx(expected.tolist(), abs=1e-5)
        assert entry["label"] == list(entry["scores"])[int(expected.argmax())]
        assert entry["score"] == max(entry["scores"].values())


def test_long_text_is_cut_not_refused(tiny_artifact: Path) -> None:
    long = "w5 " * 34_000
    assert len(long) > 100_000
    short, found = predict(tiny_artifact, ["w5 " * 7, long])["predictions"]
    assert found["text"] == long
    assert found["scores"] == short["scores"]


def test_long_text_on_the_command_line(invoke: Callable[..., Result]) -> None:
    done = invoke("w5 " * 34_000)
    assert done.exit_code == 0
    assert len(json.loads(done.stdout)["predictions"][0]["text"]) > 100_000


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            "texts.jsonl",
            '{"text": "w0\\nw1", "labels": []}\n\n{"text": "w1"}\n',
            ["w0\nw1", "w1"],
        ),
        ("texts.txt", "w0\n\n{}\n", ["w0", "", "{}"]),
        ("empty.txt", "", []),
    ],
)
def test_file_of_texts(
    invoke: Callable[..., Result], tmp_path: Path, name: str, content: str, expected: list[str]
) -> None:
    (tmp_path / name).write_text(content)
    done = invoke("--file", str(tmp_path / name))
    assert done.exit_code == 0, done.stderr
    assert [entry["text"] for entry in json.loads(done.stdout)["predictions"]] == expected


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"text": 3}\n', 'texts.jsonl line 1 is .*expected an object with a "text"'),
        (b'{"text": "a"}\nx\n', "texts.jsonl line 2 is not JSON"),
        (b'{"text": "\xff"}\n', "texts.jsonl line 1 is not UTF-8: byte 0xff"),
    ],
)
def test_bad_file_is_refused(
    tiny_artifact: Path, tmp_path: Path, data: bytes, message: str
) -> None:
    (tmp_path / "texts.jsonl").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        predict(tiny_artifact, tmp_path / "texts.jsonl")


def test_texts_may_follow_two_dashes(invoke: Callable[..., Result]) -> None:
    done = invoke("--format", "text", "--", "--file", "-h w0")
    assert done.exit_code == 0, done.stderr
    assert [line.split("\t")[2] for line in done.stdout.splitlines()] == ["--file", "-h w0"]


def test_path_that_looks_like_an_option_is_a_path(
    tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_artifact.parent)
    tiny_artifact.rename("--help")
    assert predict(Path("--help"), ["w0"])["predictions"][0]["text"] == "w0"


@pytest.mark.parametrize("arguments", [[], ["--file", "FILE", "w0"], ["--file", "/none"]])
def test_neither_or_both_is_a_usage_error(
    invoke: Callable[..., Result], tmp_path: Path, arguments: list[str]
) -> None:
    (tmp_path / "FILE").write_text("w0\n")
    done = invoke(*[argument.replace("FILE", str(tmp_path / "FILE")) for argument in arguments])
    assert done.exit_code == 2
    expected = "'/none' does not exist" if "/none" in arguments else "Give texts or --file, one of"
    assert expected in done.stderr
    assert "Usage: cli predict" in done.stderr or "Usage: tfpipe predict" in done.stderr


def test_text_that_is_not_unicode_is_refused(invoke: Callable[..., Result]) -> None:
    done = invoke("caf\udce9")
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: ") and "not valid Unicode" in done.stderr
    assert "Traceback" not in done.stderr


def test_one_string_is_refused(tiny_artifact: Path) -> None:
    with pytest.raises(ValueError, match="texts='w0 w1' is one string. Give a list of texts"):
        predict(tiny_artifact, "w0 w1")


def test_damaged_artifact_is_refused(invoke: Callable[..., Result], tiny_artifact: Path) -> None:
    (tiny_artifact / "labels.txt").write_text("a\nb\nc\n")
    done = invoke("w0")
    assert done.exit_code == 1 and done.stdout == ""
    assert "labels.txt has 6 bytes, manifest.json says" in done.stderr


def test_line_of_text_output() -> None:
    result = {"predictions": [{"text": "a b", "label": "no", "score": 0.51239, "scores": {}}]}
    assert format_predictions(result) == "no\t0.5124\ta b"
