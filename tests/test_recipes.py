"""The default recipes earn their place: against TF-IDF + logistic regression on every data set."""

import importlib.util
import json
import os
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SHARED = BENCHMARKS.parent / "../shared/data"
# A recipe trains any set in under five minutes on two cores.
MAX_TRAINING_SECONDS = 300
# The better of the two models reaches the linear baseline; neither is further below.
MAX_POINTS_BELOW = 0.02


@pytest.fixture(scope="module")
def make_run(tmp_path_factory):
    """Trains a set's default run, or takes it from the folder TFPIPE_BENCHMARK_RUNS."""
    from tfpipe.train import DataOptions, train

    spec = importlib.util.spec_from_file_location("datasets", BENCHMARKS / "datasets.py")
    datasets = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(datasets)
    folder = os.environ.get("TFPIPE_BENCHMARK_RUNS") or tmp_path_factory.mktemp("benchmarks")

    def run(name, model):
        path = Path(folder) / name / model
        if (path / "run.json").is_file():
            return json.loads((path / "run.json").read_text("utf-8"))
        if name in ("sms", "snips") and not SHARED.is_dir():
            pytest.skip(f"{name} needs the folder of data sets that cannot be packaged")
        data = datasets.make_dataset(name, Path(folder) / "data", shared=SHARED)
        options = DataOptions(test=data / "test.csv")
        return train(data / "train.csv", path, recipe=model, options=options)

    return run


# TF-IDF reads every word of whole texts, a default recipe 8,000 pieces and 256 tokens of each:
# docs/training.md says what more gains.
LONG_TEXTS = pytest.param("20ng", marks=pytest.mark.xfail(raises=AssertionError, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["topics", "sms", "snips", "r8", "languages", LONG_TEXTS, "sections"]
)
def test_default_recipes_reach_the_linear_baseline(name, make_run):
    runs = {model: make_run(name, model) for model in ("lstm", "transformer")}
    reached = {model: run["metrics"]["test"]["accuracy"] for model, run in runs.items()}
    linear = runs["lstm"]["metrics"]["baseline"]["tfidf_logistic_regression"]["accuracy"]
    assert max(reached.values()) >= linear, (reached, linear)
    assert min(reached.values()) >= linear - MAX_POINTS_BELOW, (reached, linear)
    for run in runs.values():
        assert run["training"]["seconds"] < MAX_TRAINING_SECONDS
