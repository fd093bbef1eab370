"""Verification: what it must let pass, what it must catch, and what a failure costs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ai_edge_litert
import numpy as np
import pytest
from click.testing import CliRunner

from device_runner.manifest import Manifest, parse_manifest, write_manifest
from tfpipe import run_model
from tfpipe import verify as verify_module
from tfpipe.bench import bench
from tfpipe.cli import cli
from tfpipe.devices import RunnerDiedError
from tfpipe.devices.local import LocalDevice
from tfpipe.export import model_file
from tfpipe.export.artifact import ExportOptions, export_artifact
from tfpipe.export.child import Child
from tfpipe.run_folder import RunFolder
from tfpipe.thresholds import THRESHOLDS, threshold_of
from tfpipe.verify import VerificationError, comparison, verify
from tfpipe.verify.origin import find_run

Plant = Callable[..., Path]


@pytest.fixture
def run(exported_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported_run, tmp_path / "run"))


@pytest.fixture
def artifact(run: Path) -> Path:
    return run / "exports" / "cpu-float32"


def edit_manifest(artifact: Path, **changes: Any) -> Manifest:
    """Writes the manifest anew, so that it is whole and every digest holds."""
    manifest = parse_manifest((artifact / "manifest.json").read_bytes())
    files = {
        name: {
            "sha256": hashlib.sha256((artifact / name).read_bytes()).hexdigest(),
            "bytes": (artifact / name).stat().st_size,
        }
        for name in manifest.files
    }
    manifest = dataclasses.replace(manifest, files=files, **changes)
    write_manifest(artifact, manifest)
    return manifest


@pytest.fixture
def plant(trained_runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plant:
    """Exports a run whose conversion is spoiled: an artifact that is whole, goldens and all."""

    def make(model_name: str, spoil: Callable[[Any], None]) -> Path:
        tf = pytest.importorskip("tensorflow")
        from tfpipe.export.lowering import inference_form
        from tfpipe.variant import load_model

        run = tmp_path / "planted"
        shutil.copytree(
            trained_runs[model_name], run, ignore=shutil.ignore_patterns("exports", "bench")
        )
        folder = RunFolder(run)

        def convert(job: dict[str, Any], work: Path, child: Child) -> Path:
            model = load_model(folder, "base")
            spoil(model)
            function = inference_form(
                model, sequence_length=12, lowering="unrolled", multi_label=False
            )
            converter = tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module())
            (work / "out.tflite").write_bytes(converter.convert())
            return work / "out.tflite"

        monkeypatch.setattr(model_file, "convert", convert)
        return Path(
            export_artifact(run, ExportOptions(lowering="unrolled", name="planted"))["artifact"]
        )

    return make


def failures_of(artifact: Path) -> list[str]:
    with pytest.raises(VerificationError, match="planted failed verification: .* latency") as found:
        verify(artifact)
    written = json.loads((artifact / "verify.json").read_text("utf-8"))
    assert written == found.value.result
    assert written["passed"] is False
    failures: list[str] = written["failures"]
    return failures


def test_honest_file_passes(artifact: Path) -> None:
    result = verify(artifact)
    assert json.loads((artifact / "verify.json").read_text("utf-8")) == result
    assert result["passed"] is True and result["failures"] == []
    assert result["artifact"] == result["keras"] > 0.9
    assert result["agreement"] == 1.0
    assert 0 <= result["mean_abs_error"] <= result["max_abs_error"] < 1e-5
    run_json = json.loads((artifact.parent.parent / "run.json").read_text("utf-8"))
    assert result["keras"] == run_json["metrics"]["test"]["accuracy"]
    assert result["num_examples"] == run_json["metrics"]["test"]["num_examples"] == 36
    assert np.sum(result["confusion_matrix"]["counts"]) == 36
    assert result["threshold"] == vars(THRESHOLDS["float32"])


def test_runtime_is_the_one_that_ran_not_the_one_of_the_export(artifact: Path) -> None:
    edit_manifest(artifact, versions={"ai-edge-litert": "0.0.1"})
    result = verify(artifact)
    assert result["runtime"] == "ai-edge-litert"
    assert result["runtime_version"] == ai_edge_litert.__version__


def test_planted_conversion_without_a_fault_passes(plant: Plant) -> None:
    assert verify(plant("transformer", lambda model: None))["passed"] is True


@pytest.mark.parametrize("model_name", ["lstm", "transformer"])
def test_dropped_padding_mask_is_caught(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, model_name: str
) -> None:
    tf = pytest.importorskip("tensorflow")
    from tfpipe.export import lowering
    from tfpipe.models.padding import PaddingMask

    monkeypatch.setitem(
        lowering.LOWERED, PaddingMask, lambda _, ids: tf.ones([ids.shape[0], 1], tf.float32)
    )
    failures = failures_of(plant(model_name, lambda model: None))
    assert any(failure.startswith("mean_abs_error=") for failure in failures), failures


def test_padding_row_that_is_not_zero_is_caught(plant: Plant) -> None:
    def spoil(model: Any) -> None:
        layer = model.get_layer("embedding")
        (table,) = layer.get_weights()
        table[0] = 0.5
        layer.set_weights([table])

    failures = failures_of(plant("lstm", spoil))
    assert any(failure.startswith("mean_abs_error=") for failure in failures), failures


def test_zeroed_weights_are_caught(plant: Plant) -> None:
    def spoil(model: Any) -> None:
        model.set_weights([weights * 0 for weights in model.get_weights()])

    failures = failures_of(plant("lstm", spoil))
    assert "every text gives the same outputs: weights are missing or all zero" in failures
    assert any(failure.startswith("agreement=") for failure in failures)
    assert any(failure.startswith("accuracy=") for failure in failures)


def test_weights_that_are_not_finite_are_caught(
    artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NaN has no place in JSON: verify.json says null."""

    def run_nan(*_: Any, **__: Any) -> run_model.ModelRun:
        found = run_model.run_model(*_, **__)
        return dataclasses.replace(found, outputs=found.outputs * np.float32("nan"))

    monkeypatch.setattr(verify_module, "run_model", run_nan)
    with pytest.raises(VerificationError, match="some outputs are not finite"):
        verify(artifact)
    written = json.loads((artifact / "verify.json").read_text("utf-8"))
    assert written["max_abs_error"] is None and written["mean_abs_error"] is None
    assert "max_abs_error None" in verify_module.format_verification(written)


def test_file_without_weights_is_caught(artifact: Path) -> None:
    """The runtime refuses it or dies of it; never a traceback, and never a pass."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    path = artifact / "model.tflite"
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    for tensor in model.subgraphs[0].tensors:
        if tensor.type == schema.TensorType.FLOAT32:
            model.buffers[tensor.buffer].data = None
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    edit_manifest(artifact)
    with pytest.raises(ValueError, match=r"failed on token ids .* lacks data|was ended by SIG"):
        verify(artifact)
    with pytest.raises(ValueError, match="verify.json is about the model"):
        bench([artifact])


def test_crash_of_the_runtime_is_an_error_of_its_own(
    artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: Any, **__: Any) -> None:
        raise RunnerDiedError("ended by SIGSEGV")

    monkeypatch.setattr(LocalDevice, "run", crash)
    with pytest.raises(RunnerDiedError, match="ended by SIGSEGV"):
        verify(artifact)


def test_swapped_labels_are_caught(artifact: Path) -> None:
    (artifact / "labels.txt").write_text("green\nblue\nred\n")
    edit_manifest(artifact, name="planted")
    failures = failures_of(artifact)
    assert "labels.txt is not the run's list of labels in the run's order" in failures
    assert any(failure.startswith("agreement=0.3") for failure in failures), failures
    assert any(failure.startswith("accuracy=0.3") for failure in failures), failures


def test_renamed_label_is_caught(artifact: Path) -> None:
    (artifact / "labels.txt").write_text("blue\ngreen\nrot\n")
    edit_manifest(artifact, name="planted")
    assert failures_of(artifact) == [
        "labels.txt is not the run's list of labels in the run's order"
    ]


@pytest.mark.parametrize("rare", [False, True])
def test_swapped_tokens_are_caught(artifact: Path, rare: bool) -> None:
    """Also two that no text of the test split holds."""
    path = artifact / "vocabulary.txt"
    tokens = path.read_text("utf-8").split("\n")[:-1]
    first, second = (-1, -2) if rare else (tokens.index("apple"), tokens.index("sky"))
    tokens[first], tokens[second] = tokens[second], tokens[first]
    path.write_text("".join(f"{token}\n" for token in tokens), "utf-8")
    edit_manifest(artifact, name="planted")
    failures = failures_of(artifact)
    assert "vocabulary.txt is not the run's list of tokens in the run's order" in failures
    if not rare:
        assert "some texts get other token ids than in training" in failures
        assert any(failure.startswith("agreement=") for failure in failures)


def test_failing_golden_is_caught(artifact: Path) -> None:
    golden = json.loads((artifact / "golden.json").read_text("utf-8"))
    golden["examples"][3]["outputs"] = [0.2, 0.3, 0.5]
    (artifact / "golden.json").write_text(json.dumps(golden), "utf-8")
    edit_manifest(artifact, name="planted")
    (failure,) = failures_of(artifact)
    assert failure.startswith("goldens: ") and "golden 3: outputs differ by up to" in failure


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"model": "transformer"}, "model"),
        ({"recipe": {}}, "recipe"),
        (
            {
                "tokenizer": {
                    "kind": "word",
                    "lowercase": False,
                    "delimiter_pattern": "[ ]+",
                    "max_chars_per_word": 0,
                }
            },
            "tokenizer",
        ),
    ],
)
def test_manifest_edited_by_hand_is_caught(
    artifact: Path, changes: dict[str, Any], key: str
) -> None:
    edit_manifest(artifact, name="planted", **changes)
    assert f"manifest.json: {key} is not the run's" in failures_of(artifact)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"schema_version": 1', '"schema_version": 2', "schema_version=2, this runner reads 1"),
        ('"scheme": "float32"', '"scheme": "int3"', "scheme='int3', known are .*'float32'"),
        ('"variant": "base"', '"variant": "small"', "variant='small' is not in"),
        ('"task": "classify"', '"task": "tag"', "task=.*tag.*, this runner knows classify"),
        ('"name": "classify"', '"name": "other"', r"signatures\[0\] is"),
        ('"sequence_length": 12', '"sequence_length": 13', "expected .* from sequence_length"),
        ('"created"', '"made"', "made"),
        ('{\n "schema', '{{\n "schema', "manifest.json"),
    ],
)
def test_manifest_that_makes_no_sense_is_refused(
    artifact: Path, old: str, new: str, message: str
) -> None:
    path = artifact / "manifest.json"
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")
    with pytest.raises(ValueError, match=message):
        verify(artifact)


@pytest.mark.parametrize("name", ["model.tflite", "vocabulary.txt", "labels.txt", "golden.json"])
def test_wrong_digest_is_refused(artifact: Path, name: str) -> None:
    path = artifact / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=f"{name} has the SHA-256 .* manifest.json says"):
        verify(artifact)


def test_artifact_of_another_run_is_refused(
    run: Path, artifact: Path, make_artifact: Callable[..., Path]
) -> None:
    (run / "labels.txt").write_text("blue\ngreen\nred\nviolet\n")
    with pytest.raises(
        ValueError, match=r"\(3, False\), the run .* has \(4, False\): it was not exported"
    ):
        verify(artifact)


def test_moved_artifact_needs_its_run(run: Path, artifact: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "one"
    shutil.copytree(artifact, moved)
    with pytest.raises(ValueError, match="does not lie in a run's exports folder.* --run RUN"):
        verify(moved)
    with pytest.raises(ValueError, match="none' does not exist, so it is no finished run"):
        verify(moved, run=tmp_path / "none")
    assert find_run(moved, run).path == run
    assert verify(moved, run=run)["passed"] is True
    assert json.loads((moved / "verify.json").read_text())["passed"] is True


def write_texts(path: Path, labels: list[str], *, count: int = 30) -> Path:
    rows = [f"the apple {i},{labels[i % len(labels)]}" for i in range(count)]
    path.write_text("text,label\n" + "\n".join(rows) + "\n")
    return path


def test_other_texts_leave_verify_json_alone(artifact: Path, tmp_path: Path) -> None:
    before = (artifact / "verify.json").read_bytes()
    result = verify(artifact, data=write_texts(tmp_path / "more.csv", ["red"]))
    assert (result["num_examples"], result["keras"], result["artifact"]) == (30, 1.0, 1.0)
    assert (artifact / "verify.json").read_bytes() == before


def test_unknown_label_is_refused(artifact: Path, tmp_path: Path) -> None:
    data = write_texts(tmp_path / "more.csv", ["red", "pink", "gold"])
    with pytest.raises(ValueError, match=r"labels=\['gold', 'pink'\] are not among the run's"):
        verify(artifact, data=data)


def test_too_few_texts_are_refused(artifact: Path, tmp_path: Path) -> None:
    data = write_texts(tmp_path / "few.csv", ["red"], count=19)
    with pytest.raises(ValueError, match="few.csv holds 19 labelled texts, fewer than the 20"):
        verify(artifact, data=data)


def test_failure_is_exit_1_with_json_and_no_latency(artifact: Path) -> None:
    (artifact / "labels.txt").write_text("green\nblue\nred\n")
    edit_manifest(artifact)
    done = CliRunner().invoke(cli, ["verify", str(artifact)])
    assert done.exit_code == 1
    assert json.loads(done.stdout)["passed"] is False
    assert done.stderr.startswith("Error: cpu-float32 failed verification: labels.txt")
    assert "Traceback" not in done.output
    text = CliRunner().invoke(cli, ["verify", str(artifact), "--format", "text"])
    assert text.exit_code == 1 and "passed        False\nlabels.txt is not" in text.stdout
    bench = CliRunner().invoke(cli, ["bench", str(artifact)])
    assert bench.exit_code == 1 and bench.stdout == ""
    assert "did not pass its verification (labels.txt is not" in bench.stderr


def figures(**changes: Any) -> dict[str, Any]:
    usual = {
        "metric": "accuracy",
        "keras": 0.9,
        "artifact": 0.9,
        "agreement": 1.0,
        "mean_abs_error": 0.0,
        "median_abs_error": 0.0,
        "num_examples": 1000,
    }
    return {**usual, **changes}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"agreement": 0.98}, []),
        ({"agreement": 0.9799}, ["agreement=0.9799 with Keras is below 0.98"]),
        ({"artifact": 0.8901}, []),
        (
            {"artifact": 0.8885},
            ["accuracy=0.8885 is 0.0115 below Keras' 0.9000; 0.01 is allowed"],
        ),
        ({"artifact": 0.95}, []),
        ({"num_examples": 20, "artifact": 0.85}, []),  # one flipped text of twenty
        (
            {"num_examples": 20, "artifact": 0.8},
            ["accuracy=0.8000 is 0.1000 below Keras' 0.9000; 0.01 is allowed"],
        ),
        ({"mean_abs_error": 0.021}, ["mean_abs_error=0.021 is above 0.02"]),
        ({"mean_abs_error": None}, []),
    ],
)
def test_limits_of_a_scheme(changes: dict[str, Any], expected: list[str]) -> None:
    found = comparison.check_figures(figures(**changes), THRESHOLDS["dynamic_int8"])
    assert found == expected


def test_limits_of_a_quantization_aware_variant() -> None:
    threshold = threshold_of("int8", quantization_aware=True)
    assert threshold_of("int8", quantization_aware=False) == THRESHOLDS["int8"]
    good = figures(agreement=0.995, median_abs_error=2 / 256)
    assert comparison.check_figures(good, threshold) == []
    bad = figures(agreement=0.9949, median_abs_error=0.008)
    assert comparison.check_figures(bad, threshold) == [
        "agreement=0.9949 with Keras is below 0.995",
        "median_abs_error=0.008 is above 0.0078125",
    ]


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ([[0.1, 0.9], [0.2, 0.8]], []),
        ([[0.1, 0.9]], []),
        ([[0.1, 1.02], [0.2, 0.8]], ["some outputs are no probabilities"]),
        ([[-0.1, 0.9], [0.2, 0.8]], ["some outputs are no probabilities"]),
        ([[0.1, np.inf], [0.2, 0.8]], ["some outputs are not finite"]),
        ([[0.1, 0.9]] * 2, ["every text gives the same outputs: weights are missing or all zero"]),
    ],
)
def test_outputs_are_looked_at(outputs: list[list[float]], expected: list[str]) -> None:
    scores = np.array([[0.1, 0.9], [0.2, 0.8]][: len(outputs)], np.float32)
    assert comparison.check_outputs(np.array(outputs, np.float32), scores) == expected


def test_same_outputs_are_right_for_texts_that_are_the_same_to_the_model() -> None:
    same = np.array([[0.1, 0.9]] * 3, np.float32)
    assert comparison.check_outputs(same, same) == []


def test_multi_label_figures_are_micro_f1() -> None:
    scores = np.float32([[0.9, 0.6], [0.1, 0.7], [0.2, 0.3]])
    outputs = np.float32([[0.9, 0.4], [0.1, 0.7], [0.2, 0.3]])
    targets = comparison.encode_labels([["a", "b"], ["b"], ["a"]], ["a", "b"], multi_label=True)
    assert targets.tolist() == [[1, 1], [0, 1], [1, 0]]
    found = comparison.compare(scores, outputs, targets, names=["a", "b"], multi_label=True)
    # Keras: 3 hits, 1 missed: 6 / 7. The file: 2 hits, 2 missed: 4 / 6.
    assert found["metric"] == "micro_f1"
    assert found["keras"] == pytest.approx(6 / 7) and found["artifact"] == pytest.approx(4 / 6)
    assert found["agreement"] == pytest.approx(2 / 3)
    assert found["max_abs_error"] == pytest.approx(0.2)
    assert found["mean_abs_error"] == pytest.approx(0.2 / 6)
    assert found["confusion_matrix"] is None
    # The first text's 0.6 and the second's 0.7 are farther than 2/256 from 0.5.
    assert found["num_clear_examples"] == 3 and found["clear_agreement"] == found["agreement"]
    near = comparison.find_margins(np.float32([[0.9, 0.505], [0.1, 0.7]]), multi_label=True)
    np.testing.assert_allclose(near, [0.005, 0.2], atol=1e-6)


def test_texts_whose_prediction_rounding_may_turn_are_not_clear() -> None:
    scores = np.float32([[0.5, 0.496, 0.004], [0.5, 0.49, 0.01], [0.1, 0.2, 0.7]])
    outputs = np.float32([[0.496, 0.5, 0.004], [0.5, 0.49, 0.01], [0.1, 0.2, 0.7]])
    call = {"names": ["a", "b", "c"], "multi_label": False}
    found = comparison.compare(scores, outputs, np.array([0, 0, 2]), **call)
    assert found["agreement"] == pytest.approx(2 / 3)
    assert (found["num_clear_examples"], found["clear_agreement"]) == (2, 1.0)
    none = comparison.compare(scores[:1], outputs[:1], np.array([0]), **call)
    assert (none["num_clear_examples"], none["clear_agreement"]) == (0, None)


def test_every_scheme_of_every_target_has_a_threshold() -> None:
    from tfpipe.export.golden import GOLDEN_TOLERANCES
    from tfpipe.export.target import TARGETS

    schemes = {
        scheme
        for target in TARGETS.values()
        for scheme in (*target.schemes, *target.trained_schemes)
    }
    assert schemes == set(THRESHOLDS) == set(GOLDEN_TOLERANCES)
    assert all(len(threshold.reason) > 30 for threshold in THRESHOLDS.values())
