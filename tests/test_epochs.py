"""Tests of benchmarks/epochs.py: whole epochs of every method, and what is set against what."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
from conftest import load_benchmark

from tfpipe.models.quantized import QuantizedModel
from tfpipe.models.weight_rounding import WeightRoundedModel
from tfpipe.run_folder import RunFolder


@pytest.fixture(scope="module")
def epochs() -> ModuleType:
    return load_benchmark("epochs")


def test_every_method_runs_whole_epochs_of_the_same_weights(
    epochs: ModuleType, trained_runs: dict[str, Path], tmp_path: Path
) -> None:
    tuners = epochs.make_tuners(RunFolder(trained_runs["transformer"]), tmp_path, 2)
    assert list(tuners) == list(epochs.METHODS) and not tuners[epochs.PLAIN].methods
    assert isinstance(tuners["qat"].model, QuantizedModel)
    assert isinstance(tuners["qat of weights"].model, WeightRoundedModel)
    seconds = epochs.measure(tuners, 2)
    # Of three epochs the first is not counted.
    assert {name: len(taken) for name, taken in seconds.items()} == dict.fromkeys(tuners, 2)
    assert all(min(taken) > 0 for taken in seconds.values())
    for tuner in tuners.values():
        assert tuner.state.epoch == 3 and len(tuner.state.history) == 3


def test_ratio_is_of_epochs_of_one_round(
    epochs: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Page\n", "utf-8")
    taken = {"plain": [1.0, 2.0, 10.0], "qat": [2.0, 6.0, 11.0]}
    monkeypatch.setattr(epochs, "make_tuners", lambda folder, *_: folder)
    monkeypatch.setattr(epochs, "measure", lambda *_: taken)
    run = tmp_path / "topics" / "lstm"
    monkeypatch.setattr(sys, "argv", ["epochs.py", str(run), "--markdown", str(page)])
    epochs.main()
    text = page.read_text("utf-8")
    # Of the rounds: 2, 3 and 1.1.
    assert "| topics lstm | qat | 6.0 | 3 | 2.00 (1.10–3.00) |" in text
    assert "| topics lstm | plain | 2.0 | 3 | 1.00 (1.00–1.00) |" in text
