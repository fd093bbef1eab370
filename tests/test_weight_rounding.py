"""Quantization-aware training of weights alone: a dynamic_int8 file holds what was trained."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from click.testing import CliRunner

from tfpipe.cli import cli
from tfpipe.compress.options import CompressOptions
from tfpipe.compress.variant import check_methods, compress
from tfpipe.export.artifact import ExportOptions, export_artifact
from tfpipe.export.convert import convert_form
from tfpipe.export.lowering import inference_form
from tfpipe.export.target import ExportError
from tfpipe.models import MODELS
from tfpipe.models.weight_rounding import WeightRoundedModel, is_kernel
from tfpipe.run_folder import RunFolder
from tfpipe.verify import verify

QAT = CompressOptions(qat=True, scheme="dynamic_int8", prune=0.5, epochs=1)


def random_model(
    name: str, *, vocabulary_size: int = 40, embedding_dim: int = 8, **arguments: Any
) -> Any:
    rng = np.random.default_rng(3)
    model = MODELS[name](vocabulary_size, 12, 3, embedding_dim=embedding_dim, **arguments)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape, scale=0.5))
        if variable.constraint is not None:
            variable.assign(variable.constraint(variable))
    return model


@pytest.mark.parametrize(
    ("name", "bits", "rank"),
    [
        *((name, 8, 0) for name in sorted(MODELS)),
        *(("lstm", 4, 0), ("textcnn", 4, 0), ("lstm", 8, 3), ("transformer", 4, 3)),
    ],
)
def test_form_in_training_is_the_keras_model_that_ships(name: str, bits: int, rank: int) -> None:
    model = random_model(name, embedding_rank=rank)
    rounding = WeightRoundedModel(model, bits)
    token_ids = np.random.default_rng(5).integers(0, 40, (9, 12)).astype(np.int32)
    shipped = rounding.rounded()
    wanted = rounding(token_ids, training=False).numpy()
    np.testing.assert_allclose(shipped(token_ids), wanted, rtol=0, atol=2e-4)
    assert np.abs(model(token_ids) - wanted).max() > 1e-3  # the rounding is there
    for variable in shipped.trainable_variables:
        if is_kernel(variable):
            value = variable.numpy().reshape(-1, variable.shape[-1])
            largest = np.abs(value).max(None if "embeddings" in variable.name else 0)
            in_steps = value / largest * {8: 127, 4: 7}[bits]
            np.testing.assert_allclose(in_steps, np.round(in_steps), atol=1e-3)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(rounding(token_ids, training=True)))
    gradients = tape.gradient(loss, rounding.trainable_variables)
    assert all(np.abs(tf.convert_to_tensor(each)).max() > 0 for each in gradients)


@pytest.fixture(scope="module")
def run(trained_runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a variant "qat", pruned before."""
    folder = tmp_path_factory.mktemp("weights") / "run"
    shutil.copytree(trained_runs["lstm"], folder, ignore=shutil.ignore_patterns("exports"))
    compress(folder, "qat", QAT)
    return folder


def stored_kernels(data: bytes) -> dict[tuple[int, ...], list[np.ndarray]]:
    """The int8 constants as numbers, outputs last, by shape."""
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    found: dict[tuple[int, ...], list[np.ndarray]] = {}
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            content = model.buffers[tensor.buffer].data
            if tensor.type != schema.TensorType.INT8 or content is None:
                continue
            value = np.frombuffer(bytes(content), np.int8).reshape(tensor.shape)
            scales = np.float64(tensor.quantization.scale)
            # The table has one scale; dense kernels are stored outputs first, a scale for each.
            value = value.T * scales if len(scales) > 1 else value * scales
            found.setdefault(value.shape, []).append(value)
    return found


@pytest.mark.parametrize(("name", "lowering"), [("lstm", "loop"), ("transformer", "static")])
def test_file_holds_the_very_weights_that_were_trained(
    name: str, lowering: str, tmp_path: Path
) -> None:
    """Of kernels that the converter stores in int8 at all: it leaves those under 1,024 numbers."""
    random = random_model(name, embedding_dim=32, vocabulary_size=400)
    model = WeightRoundedModel(random, 8).rounded()
    function = inference_form(model, sequence_length=12, lowering=lowering, multi_label=False)
    job = {"target": "cpu", "scheme": "dynamic_int8", "runtime": None}
    stored = stored_kernels(convert_form(12, function, model, job, tmp_path))
    kernels = [each for each in model.trainable_variables if is_kernel(each)]
    large = [each for each in kernels if np.prod(each.shape) >= 1024]
    assert len(large) == {"lstm": 3, "transformer": 5}[name]
    for variable in large:
        value = variable.numpy()
        if "embeddings" in variable.name:
            value = value * model.get_layer("embedding").scale
        if "qkv" in variable.name:  # 1/sqrt(head_dim) is in the query's part
            value = value * np.repeat([8**-0.5, 1, 1], 32)
        closest = min(np.abs(each - value).max() for each in stored[value.shape])
        assert closest <= 1e-6 * np.abs(value).max(), variable.name


def test_variant_verifies_and_keeps_its_zeros(run: Path, in_process: None) -> None:
    options = ExportOptions(variant="qat", scheme="dynamic_int8", lowering="loop")
    verified = verify(export_artifact(run, options)["artifact"])
    assert verified["passed"] and verified["agreement"] >= 0.99
    record = json.loads((run / "variants" / "qat" / "compress.json").read_text())
    assert record["methods"] == ["prune", "qat"] and record["options"]["scheme"] == "dynamic_int8"
    assert verified["keras"] == record["metrics"]["test"]["accuracy"]
    kernels = [entry for entry in record["tensors"] if "max_error" in entry]
    assert len(kernels) == 4  # embedding, both of the LSTM, logits
    for entry in kernels:  # up to float32's own rounding: the table is divided by its factor
        assert entry["max_error"] <= 1e-6 * entry["range"][1] and entry["zeros"] >= 0.45


def test_what_does_not_fit_together_is_refused(run: Path) -> None:
    def message(*arguments: str) -> str:
        done = CliRunner().invoke(cli, ["compress", str(run), "--as", "x", *arguments])
        assert done.exit_code == 1
        return done.output

    assert "scheme='float16' has no quantization-aware" in message("--qat", "--scheme", "float16")
    assert "scheme='dynamic_int8' without qat" in message("--prune", "0.5", "--scheme=dynamic_int8")
    clustered = message("--qat", "--cluster", "16", "--scheme", "dynamic_int8")
    assert "cluster=16 with scheme='dynamic_int8': its kernels have a scale for each" in clustered
    assert "qat has to be the last" in message("--from", "qat", "--shrink", "0.5")
    options = ExportOptions(variant="qat", scheme="dynamic_int8", lowering="fused")
    with pytest.raises(ExportError, match="was trained with a scale for each output of a kernel"):
        export_artifact(run, options)
    options = ExportOptions(variant="qat", scheme="dynamic_int8", runtime="oldest")
    with pytest.raises(ExportError, match="runtime=oldest have one for all. Leave --lowering"):
        export_artifact(run, options)


def test_clustered_variant_is_refused(run: Path) -> None:
    folder = shutil.copytree(run / "variants" / "base", run / "variants" / "few")
    record = {"methods": ["cluster"], "weights_sha256": ""}
    (folder / "compress.json").write_text(json.dumps(record))
    options = CompressOptions(source="few", qat=True, scheme="dynamic_int8", epochs=1)
    with pytest.raises(ValueError, match=r"methods=\['cluster'\], and scheme='dynamic_int8' has a"):
        check_methods(RunFolder(run), options)
    options = CompressOptions(source="few", prune=0.5, block_size=4)
    with pytest.raises(ValueError, match="block_size=4 would take weights out of its clusters"):
        check_methods(RunFolder(run), options)
