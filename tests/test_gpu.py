"""The target gpu: every op on LiteRT's GPU accelerator, a software GPU, equal to the CPU."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from device_runner import profiles
from device_runner.interpreter import load_model
from device_runner.profiles import Profile
from tfpipe.bench import bench
from tfpipe.devices import software_gpu
from tfpipe.devices.software_gpu import gpu_environment
from tfpipe.export.artifact import ExportOptions, export_artifact
from tfpipe.export.float_tables import widen_tables
from tfpipe.export.gpu_form import GPU_LAYERS
from tfpipe.export.lowering import inference_form
from tfpipe.export.target import ExportError, possible_lowerings
from tfpipe.models import MODELS
from tfpipe.predict import predict
from tfpipe.run_model import run_model
from tfpipe.verify import VerificationError, verify
from tfpipe.verify import gpu as gpu_verification

LENGTH = 7

needs_gpu = pytest.mark.skipif(
    not gpu_environment(), reason="no SwiftShader: Chromium is not installed, or a driver is"
)


def convert_in_process(model: Any, path: Path, scheme: str, layers: Any = GPU_LAYERS) -> Path:
    module = tf.Module()
    module.form = inference_form(
        model, sequence_length=LENGTH, lowering="unrolled", multi_label=False, layers=layers
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.form], module)
    if scheme == "float16":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    data = converter.convert()
    path.write_bytes(widen_tables(data) if scheme == "float16" else data)
    return path


def build(name: str, rank: int = 0) -> Any:
    sizes = {"units": 5} if "lstm" in name else {}
    model = MODELS[name](30, LENGTH, 3, embedding_dim=8, embedding_rank=rank, **sizes)
    random = np.random.default_rng(2)
    for variable in model.trainable_variables:
        value = random.normal(size=variable.shape, scale=0.7).astype(np.float32)
        variable.assign(value if variable.constraint is None else variable.constraint(value))
    return model


def padded_ids() -> np.ndarray:
    """Every number of real tokens from none to all."""
    ids = np.random.default_rng(3).integers(1, 30, (LENGTH + 1, LENGTH)).astype(np.int32)
    return ids * (np.arange(LENGTH) < np.arange(LENGTH + 1)[:, None])


@needs_gpu
@pytest.mark.parametrize("scheme", ["float16", "float32"])
@pytest.mark.parametrize(
    ("name", "rank"), [*((name, 0) for name in sorted(MODELS)), ("lstm", 3), ("transformer", 3)]
)
def test_whole_model_runs_on_the_gpu_and_equals_the_cpu(
    tmp_path: Path, name: str, rank: int, scheme: str
) -> None:
    """The runner refuses a model that is not fully accelerated."""
    path = convert_in_process(build(name, rank), tmp_path / "m.tflite", scheme)
    on_gpu = run_model(path, tmp_path, token_ids=padded_ids(), delegate="gpu")
    on_cpu = run_model(path, tmp_path, token_ids=padded_ids())
    assert "SwiftShader" in str(on_gpu.adapter) and on_cpu.adapter is None
    # SwiftShader computes in float32.
    np.testing.assert_allclose(on_gpu.outputs, on_cpu.outputs, rtol=0, atol=1e-5)


@needs_gpu
def test_sum_with_a_constant_matrix_is_still_wrong_there(tmp_path: Path) -> None:
    """When this fails, the runtime is repaired and `GPU_LAYERS` is no longer needed."""
    path = convert_in_process(build("transformer"), tmp_path / "m.tflite", "float32", {})
    on_gpu = run_model(path, tmp_path, token_ids=padded_ids(), delegate="gpu")
    on_cpu = run_model(path, tmp_path, token_ids=padded_ids())
    assert np.abs(on_gpu.outputs - on_cpu.outputs).max() > 0.01


def test_widened_tables_change_no_result(tmp_path: Path) -> None:
    model = build("average")
    module = tf.Module()
    module.form = inference_form(
        model, sequence_length=LENGTH, lowering="unrolled", multi_label=False
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.form], module)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    before, after = tmp_path / "before.tflite", tmp_path / "after.tflite"
    before.write_bytes(converter.convert())
    after.write_bytes(widen_tables(before.read_bytes()))
    ops = [op["op_name"] for op in load_model(after).interpreter._get_ops_details()]
    old = [op["op_name"] for op in load_model(before).interpreter._get_ops_details()]
    assert old.count("DEQUANTIZE") - ops.count("DEQUANTIZE") == 1
    for row in padded_ids():
        expected = load_model(before).run(row[None])
        np.testing.assert_array_equal(load_model(after).run(row[None]), expected)


@pytest.fixture(scope="module")
def run(trained_runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The transformer run with gpu-float16, not verified."""
    folder = tmp_path_factory.mktemp("gpu") / "transformer"
    shutil.copytree(trained_runs["transformer"], folder)
    export_artifact(folder, ExportOptions(target="gpu", scheme="float16"))
    return folder


@needs_gpu
def test_artifact_is_verified_and_measured_on_the_gpu_it_ran_on(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = run / "exports" / "gpu-float16"
    result = verify(artifact)
    assert result["gpu"]["num_examples"] == 32 and result["gpu"]["max_abs_error"] < 1e-5
    assert "SwiftShader" in result["gpu"]["adapter"]
    assert json.loads((artifact / "verify.json").read_text())["gpu"] == result["gpu"]
    brief = Profile("quick", 1, 0, 45, 0, 45, 10**10)
    monkeypatch.setitem(profiles.PROFILES, "quick", brief)
    (record,) = bench([artifact])["results"]
    assert (record["device_kind"], record["delegate"]) == ("software-gpu", "gpu")
    assert "SwiftShader" in record["adapter"] and "is_software_gpu" not in record
    nodes = record["nodes"]
    assert (nodes["delegate"], nodes["partitions"]) == ("gpu", None)
    assert nodes["delegated"] == nodes["total"] > 20
    # Until the output is read: SwiftShader needs milliseconds, handing over alone 20 us.
    assert record["p50_ns"] > 200_000
    monkeypatch.setattr(gpu_verification, "MAX_GPU_ERROR", -1.0)
    with pytest.raises(VerificationError, match=r"on the GPU SwiftShader.* by up to .* allowed"):
        verify(artifact)


def test_cpu_and_gpu_are_never_measured_side_by_side(run: Path, exported_run: Path) -> None:
    artifact = run / "exports" / "gpu-float16"
    digest = json.loads((artifact / "manifest.json").read_text())["files"]["model.tflite"]
    verified = {"passed": True, "model_sha256": digest["sha256"]}
    (artifact / "verify.json").write_text(json.dumps(verified))
    with pytest.raises(ValueError, match=r"gpu-float16 on the gpu, .* on the cpu: expected one"):
        bench([artifact, exported_run / "exports" / "cpu-float32"])


def test_no_adapter_is_a_clear_error(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VK_ICD_FILENAMES", "/nonexistent/icd.json")
    assert gpu_environment() == {}, "the user's choice is kept"
    with pytest.raises(ValueError, match="found no GPU that it can use. Install a Vulkan driver"):
        verify(run / "exports" / "gpu-float16")
    found = predict(run / "exports" / "gpu-float16", ["an apple rose"])
    assert found["predictions"][0]["label"] == "red", "the host predicts on its CPU"


@needs_gpu
def test_ops_that_the_gpu_refuses_are_named(
    tmp_path: Path, convert_tiny: Callable[..., bytes]
) -> None:
    table = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    path = tmp_path / "m.tflite"
    path.write_bytes(
        convert_tiny(lambda ids: tf.reduce_mean(tf.gather(tf.constant(table), ids), axis=1))
    )
    ids = np.zeros((1, 8), np.int32)
    with pytest.raises(ValueError, match=r"does not take the whole model: GATHER: .*1D indices"):
        run_model(path, tmp_path, token_ids=ids, delegate="gpu")


def test_loop_is_refused_before_it_is_converted() -> None:
    with pytest.raises(ExportError, match="lowering='loop' does not run on target 'gpu'"):
        possible_lowerings(
            "lstm", target="gpu", scheme="float16", lowering="loop", sequence_length=8
        )
    with pytest.raises(ExportError, match="many minutes to convert. Use a shorter one"):
        possible_lowerings(
            "lstm", target="gpu", scheme="float16", lowering="auto", sequence_length=2000
        )


def test_drivers_of_the_system_come_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("VK_ICD_FILENAMES", "VK_DRIVER_FILES", "LD_LIBRARY_PATH"):
        monkeypatch.delenv(name, raising=False)
    system, chromium = tmp_path / "system", tmp_path / "chromium"
    system.mkdir()
    chromium.mkdir()
    (chromium / software_gpu.SOFTWARE_DRIVER).write_text("{}")
    monkeypatch.setattr(software_gpu, "SYSTEM_DRIVERS", (system,))
    monkeypatch.setattr(software_gpu, "CHROMIUM_FOLDERS", (tmp_path / "none", chromium))
    assert gpu_environment() == {
        "VK_ICD_FILENAMES": str(chromium / "vk_swiftshader_icd.json"),
        "LD_LIBRARY_PATH": str(chromium),
    }
    (system / "real.json").write_text("{}")
    assert gpu_environment() == {}
