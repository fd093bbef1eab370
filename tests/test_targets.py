"""Tests of benchmarks/targets.py and, slow, of one model on its whole road to every target."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner
from conftest import load_benchmark

from tfpipe.cli import cli
from tfpipe.devices.software_gpu import gpu_environment
from tfpipe.export.target import TARGETS
from tfpipe.web.package import find_packages


@pytest.fixture(scope="module")
def targets() -> ModuleType:
    return load_benchmark("targets")


def test_every_scheme_of_every_target_has_a_row(targets: Any) -> None:
    found = [(cell.target, cell.scheme) for cell in targets.cells("average", list(TARGETS))]
    assert found == [(name, scheme) for name in TARGETS for scheme in TARGETS[name].schemes]
    (loop,) = [cell for cell in targets.cells("lstm", ["cpu", "web"]) if cell.lowering == "loop"]
    assert (loop.target, loop.name) == ("web", "web-float16-loop")
    assert all(cell.lowering == "auto" for cell in targets.cells("lstm", ["cpu", "gpu", "onnx"]))


def test_browsers_are_asked_once_for_a_file(
    targets: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def answer(artifact: Path, device: str) -> dict[str, Any]:
        asked.append(device)
        passed = device == "browser:wasm"
        return {"passed": passed, "said": "agreement 0.9990" if passed else "not: outputs differ"}

    monkeypatch.setattr(targets, "try_browser", answer)
    row = targets.browser_cell(tmp_path, "ab", "agreement 1.0000 in x")
    assert row == targets.browser_cell(tmp_path, "ab", "agreement 1.0000 in x")
    assert asked == ["browser:wasm", "browser:webgpu"]
    assert (row["runs"], row["known"]) == ("whole", "proven")
    assert row["why"].startswith("WebAssembly: agreement 0.9990; WebGPU: not: outputs differ; agr")
    targets.browser_cell(tmp_path, "cd", "")
    assert len(asked) == 4, "another file is asked about again"


def test_table_is_put_in_its_place(targets: Any, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    old = [
        "| target | model | scheme | runs | known | seen |",
        "|---|---|---|---|---|---|",
        "| web | lstm | int8 | not | proven | old |",
        "| gpu | lstm | float16 | whole | proven | kept |",
    ]
    page.write_text("\n".join(["before", targets.BEGIN, "", *old, "", targets.END, "behind", ""]))
    row = {"model": "lstm", "scheme": "int8", "runs": "whole", "known": "proven", "why": "seen"}
    targets.write_table(page, [{"target": "web", **row}, {"target": "cpu", **row}])
    lines = page.read_text().splitlines()
    assert (lines[0], lines[-1]) == ("before", "behind")
    assert lines[3:8] == [
        *old[:2],
        "| cpu | lstm | int8 | whole | proven | seen |",
        "| gpu | lstm | float16 | whole | proven | kept |",
        "| web | lstm | int8 | whole | proven | seen |",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_textcnn_goes_to_every_target_by_the_command_line(
    target: str, textcnn_run: Path, tmp_path: Path
) -> None:
    if target == "gpu" and not gpu_environment():
        pytest.skip("no software GPU: Chromium is not installed, or a driver is")

    def run(*words: object) -> dict[str, Any]:
        done = CliRunner().invoke(cli, list(map(str, words)))
        assert done.exit_code == 0, done.output
        return dict(json.loads(done.stdout))

    scheme = TARGETS[target].schemes[-1]
    artifact = run("export", textcnn_run, "--target", target, "--scheme", scheme)["artifact"]
    assert run("verify", artifact)["passed"]
    assert run("predict", artifact, "an apple rose")["predictions"][0]["label"] == "red"
    (result,) = run("bench", artifact)["results"]
    assert result["delegate"] == ("gpu" if target == "gpu" else "cpu")
    if target == "gpu":
        assert result["nodes"]["delegated"] == result["nodes"]["total"] > 0
        assert ("SwiftShader" in result["adapter"]) == (result["device_kind"] == "software-gpu")
    if target == "web" and shutil.which("chromium"):
        try:
            find_packages()
        except FileNotFoundError as error:
            pytest.skip(str(error))
        (result,) = run("bench", artifact, "--device", "browser")["results"]
        assert (result["delegate"], result["device_kind"]) == ("wasm", "browser")


@pytest.fixture(scope="module")
def textcnn_run(
    tmp_path_factory: pytest.TempPathFactory, make_colours: Callable[..., Path]
) -> Path:
    folder = tmp_path_factory.mktemp("textcnn")
    words = ["train", str(make_colours(folder / "colours.csv")), "--run", str(folder / "run")]
    for setting in (
        *("train.epochs=8", "train.batch_size=16", "train.learning_rate=0.02"),
        *("model.embedding_dim=8", "model.filters=8", "model.dropout=0", "model.token_dropout=0"),
        *("model.embedding_dropout=0", "data.sequence_length=12", "tokenizer.kind=word"),
    ):
        words += ["--set", setting]
    done = CliRunner().invoke(cli, [*words, "--model", "textcnn"])
    assert done.exit_code == 0, done.output
    return folder / "run"
