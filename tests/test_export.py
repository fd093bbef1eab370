"""A finished run → artifact folders: whole ones that every device proves, or nothing at all."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from click.testing import CliRunner

import tfpipe
from device_runner.artifact import read_artifact
from tfpipe.check.context import tensors_of
from tfpipe.check.parse import read_model
from tfpipe.cli import cli
from tfpipe.config import MODEL_NAMES, load_recipe
from tfpipe.export import artifact as artifact_module
from tfpipe.export import child as child_module
from tfpipe.export import model_file, plan
from tfpipe.export.artifact import ExportOptions, export_artifact, export_schemes
from tfpipe.export.calibration import CALIBRATION_INPUTS, calibration_ids
from tfpipe.export.child import Child
from tfpipe.export.golden import HOSTILE_TEXTS
from tfpipe.export.target import (
    TARGETS,
    ExportError,
    every_lowering,
    possible_lowerings,
)
from tfpipe.run_folder import RunFolder
from tfpipe.staging import staging_folder
from tfpipe.variant import load_tokenizer
from tfpipe.verify import verify

CELLS = {
    "lstm-int8": ("lstm", ExportOptions(scheme="int8", lowering="unrolled", name="lstm-int8")),
    "lstm-int8-loop": ("lstm", ExportOptions(scheme="int8", lowering="loop", name="int8-loop")),
    "lstm-loop": ("lstm", ExportOptions(lowering="loop", name="lstm-loop")),
    "transformer-dynamic_int8": (
        "transformer",
        ExportOptions(scheme="dynamic_int8", lowering="branches", name="transformer-dynamic_int8"),
    ),
    "transformer-float16": ("transformer", ExportOptions(scheme="float16", lowering="static")),
    "transformer-int8": (
        "transformer",
        ExportOptions(scheme="int8", lowering="branches", name="transformer-int8"),
    ),
}


@pytest.fixture(scope="module")
def exports(
    trained_runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """What `export_artifact` returned, one cell of each kind."""
    folder = tmp_path_factory.mktemp("exports")
    for name, run in trained_runs.items():
        shutil.copytree(run, folder / name, ignore=shutil.ignore_patterns("exports"))
    return {
        cell: export_artifact(folder / model, options) for cell, (model, options) in CELLS.items()
    }


@pytest.fixture
def run(exported_run: Path, tmp_path: Path) -> Path:
    """A copy of the lstm run with its artifact cpu-float32."""
    return Path(shutil.copytree(exported_run, tmp_path / "run"))


@pytest.fixture
def quick_convert(run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Gives the run's own float32 file for every conversion: what is tested is all around it."""

    def convert(job: dict[str, Any], folder: Path, child: Child) -> Path:
        return Path(shutil.copy(run / "exports" / "cpu-float32" / "model.tflite", folder / "out"))

    def first_lowering(*request: Any, **options: Any) -> tuple[str, ...]:
        return possible_lowerings(*request, **options)[:1]

    monkeypatch.setattr(model_file, "convert", convert)
    monkeypatch.setattr(plan, "possible_lowerings", first_lowering)
    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("cell", CELLS)
def test_artifact_explains_itself(exports: dict[str, dict[str, Any]], cell: str) -> None:
    result, (model, options) = exports[cell], CELLS[cell]
    folder = Path(result["artifact"])
    assert sorted(path.name for path in folder.iterdir()) == [
        "check.json", "golden.json", "labels.txt", "manifest.json", "model.tflite",
        "vocabulary.txt",
    ]  # fmt: skip
    artifact = read_artifact(folder)
    manifest = artifact.manifest
    assert (manifest.model, manifest.scheme, manifest.target) == (model, options.scheme, "cpu")
    assert result["name"] == manifest.name == folder.name == (options.name or "cpu-float16")
    assert result["lowering"] == manifest.lowering == options.lowering
    assert artifact.labels == ["blue", "green", "red"]
    assert result["sha256"] == manifest.model_sha256
    check = json.loads((folder / "check.json").read_text())
    assert check["ok"] is True and check["target"] == "cpu"
    has_control_flow = result["lowering"] in ("loop", "branches")
    found = {entry["code"] for entry in check["findings"]}
    assert found == ({"control-flow"} if has_control_flow else set())
    for key in ("model_size_bytes", "zip_size_bytes", "zstd_size_bytes", "min_runtime"):
        assert result[key] == check[key]
    assert result["model_size_bytes"] == (folder / "model.tflite").stat().st_size
    assert set(result) == {
        "artifact", "name", "target", "scheme", "lowering", "model_size_bytes", "zip_size_bytes",
        "zstd_size_bytes", "min_runtime", "mediapipe", "sha256",
    }  # fmt: skip


@pytest.mark.parametrize("cell", CELLS)
def test_file_itself_has_the_signature_and_builtin_ops_only(
    exports: dict[str, dict[str, Any]], cell: str
) -> None:
    folder = Path(exports[cell]["artifact"])
    interpreter = Interpreter(str(folder / "model.tflite"))
    assert interpreter.get_signature_list() == {
        "classify": {"inputs": ["token_ids"], "outputs": ["probabilities"]}
    }
    (given,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (given["dtype"], given["shape"].tolist()) == (np.int32, [1, 12])
    assert (output["dtype"], output["shape"].tolist()) == (np.float32, [1, 3])
    ops = json.loads((folder / "check.json").read_text())["ops"]
    assert not [name for name in ops if "Flex" in name or "CUSTOM" in name], ops
    assert ("WHILE" in ops) == (cell.endswith("loop"))
    assert ("IF" in ops) == (CELLS[cell][1].lowering == "branches")


@pytest.mark.parametrize("cell", CELLS)
def test_goldens_hold_on_a_device(exports: dict[str, dict[str, Any]], cell: str) -> None:
    folder = exports[cell]["artifact"]
    done = subprocess.run(
        [sys.executable, "-m", "device_runner", "verify", folder], capture_output=True, check=False
    )
    found = json.loads(done.stdout)
    assert (done.returncode, found["passed"]) == (0, True), done.stderr
    texts = [e["text"] for e in json.loads((Path(folder) / "golden.json").read_text())["examples"]]
    assert found["num_examples"] == len(texts) == 11
    assert tuple(texts[-3:]) == HOSTILE_TEXTS


@pytest.mark.parametrize("cell", CELLS)
def test_exported_file_passes_verification(exports: dict[str, dict[str, Any]], cell: str) -> None:
    result = verify(exports[cell]["artifact"])
    assert result["passed"] and result["artifact"] > 0.9


def test_types_of_the_weights_are_those_of_the_scheme(
    exports: dict[str, dict[str, Any]],
) -> None:
    stored = {
        cell: json.loads((Path(result["artifact"]) / "check.json").read_text())["bytes_by_dtype"]
        for cell, result in exports.items()
    }
    assert set(stored["lstm-int8"]) <= {"int8", "int32", "float32"}
    assert stored["lstm-int8"].get("float32", 0) < 200
    # The loop begins with states of zero, which are a constant of 12 × 8 float32 here.
    assert stored["lstm-int8-loop"]["float32"] < 200 + 4 * 12 * 8
    assert set(stored["lstm-loop"]) == {"float32", "int32"}
    assert set(stored["transformer-float16"]) <= {"float16", "float32", "int32"}
    assert stored["transformer-float16"].get("float32", 0) < 200
    # Kernels as small as these are not rounded: tests/test_small_kernels.py.
    assert set(stored["transformer-dynamic_int8"]) == {"float32", "int32"}


def test_attention_of_an_int8_file_multiplies_in_float32(
    exports: dict[str, dict[str, Any]],
) -> None:
    """No delegate takes a BATCH_MATMUL of two int8 activations, and TFLite's kernel is slow."""
    model = read_model(
        (Path(exports["transformer-int8"]["artifact"]) / "model.tflite").read_bytes()
    )
    products = [
        tensor.dtype
        for graph in model.graphs
        for operator in graph.operators
        if operator.name == "BATCH_MATMUL"
        for tensor in tensors_of(graph, operator.inputs)
    ]
    assert products and set(products) == {"float32"}


def test_no_step_of_an_int8_recurrence_has_an_empty_range(
    exports: dict[str, dict[str, Any]],
) -> None:
    """XNNPACK refuses a scale of zero, and a range of [0, 0] would saturate longer texts."""
    interpreter = Interpreter(str(Path(exports["lstm-int8"]["artifact"]) / "model.tflite"))
    interpreter.allocate_tensors()  # with XNNPACK, the default delegate
    scales = [
        tensor["quantization_parameters"]["scales"]
        for tensor in interpreter.get_tensor_details()
        if tensor["dtype"] == np.int8
    ]
    assert min(float(scale.min()) for scale in scales if len(scale)) > 1e-6
    gates = [details["op_name"] for details in interpreter._get_ops_details()]
    assert "DELEGATE" in gates


def test_calibration_sees_real_tokens_at_every_step(trained_runs: dict[str, Path]) -> None:
    folder = RunFolder(trained_runs["lstm"])
    ids = calibration_ids(folder, load_tokenizer(folder, "base"), 12)
    assert ids.dtype == np.int32 and ids.shape[1] == 12
    whole = (ids != 0).all(1)
    assert whole.sum() == CALIBRATION_INPUTS // 2
    assert (ids[~whole] == 0).any(1).all() and (~whole).sum() == CALIBRATION_INPUTS // 2
    # The joined texts are real ones in their order, each with its <START>.
    assert ids[whole].reshape(-1)[:40].tolist() == [i for row in ids[:9] for i in row if i][:40]


def test_calibration_without_a_token_is_refused_where_it_is_needed(
    quick_convert: Path,
) -> None:
    RunFolder(quick_convert).examples("calibration").write_text("")
    with pytest.raises(ExportError, match="the 0 calibration texts hold no token.*dynamic_int8"):
        export_artifact(quick_convert, ExportOptions(scheme="int8"))
    assert export_artifact(quick_convert, ExportOptions(scheme="dynamic_int8"))["name"]


def test_taken_name_is_refused(quick_convert: Path) -> None:
    before = contents(quick_convert)
    with pytest.raises(FileExistsError, match=r"cpu-float32' exists. Give --overwrite .* --as"):
        export_artifact(quick_convert)
    assert contents(quick_convert) == before


def test_overwrite_replaces_the_whole_folder(quick_convert: Path) -> None:
    old = quick_convert / "exports" / "cpu-float32"
    assert (old / "verify.json").is_file()
    created = read_artifact(old).manifest.created
    export_artifact(quick_convert, overwrite=True)
    assert not (old / "verify.json").exists(), "the new file is not verified yet"
    assert read_artifact(old).manifest.created >= created
    assert [path.name for path in (quick_convert / "exports").iterdir()] == ["cpu-float32"]


def test_schemes_share_a_process_and_make_the_files_that_each_makes_alone(
    trained_runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(trained_runs["transformer"], tmp_path / "run"))
    schemes = ["int8", "float32", "dynamic_int8", "int8"]
    start, started = child_module.start, []

    def count(*arguments: Any) -> Any:
        started.append(arguments)
        return start(*arguments)

    monkeypatch.setattr(child_module, "start", count)
    options = ExportOptions(lowering="static", name="unused")
    together = export_schemes(run, options, schemes)
    assert len(started) == 1 and together["failures"] == []
    assert [made["name"] for made in together["artifacts"]] == [
        "cpu-int8", "cpu-float32", "cpu-dynamic_int8",
    ]  # fmt: skip
    # Ranges of int8 differ in their last bits from one observation to the next.
    for made in together["artifacts"][1:]:
        alone = export_artifact(run, replace(options, scheme=made["scheme"], name="alone"))
        assert alone["sha256"] == made["sha256"]
        shutil.rmtree(run / "exports" / "alone")
    assert len(started) == 3


def test_none_of_several_schemes_is_made_unless_all_can_be_asked_for(quick_convert: Path) -> None:
    before = contents(quick_convert)
    with pytest.raises(ExportError, match="scheme='int3' does not run"):
        export_schemes(quick_convert, ExportOptions(), ["dynamic_int8", "int3"])
    with pytest.raises(FileExistsError, match="cpu-float32' exists"):
        export_schemes(quick_convert, ExportOptions(), ["dynamic_int8", "float32"])
    assert contents(quick_convert) == before


def test_a_scheme_that_fails_keeps_no_other_from_being_made(
    quick_convert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert = model_file.convert

    def fail_some(job: dict[str, Any], folder: Path, child: Child) -> Path:
        if job["scheme"] == "float16":
            raise ExportError("the converter's process was ended by SIGABRT")
        return convert(job, folder, child)

    monkeypatch.setattr(model_file, "convert", fail_some)
    arguments = ["--scheme", "dynamic_int8", "--scheme", "float16", "--scheme", "float32"]
    done = CliRunner().invoke(cli, ["export", str(quick_convert), "--overwrite", *arguments])
    assert done.exit_code == 1
    assert done.stderr == "Error: the converter's process was ended by SIGABRT\n"
    said = json.loads(done.stdout)
    assert [made["name"] for made in said["artifacts"]] == ["cpu-dynamic_int8", "cpu-float32"]
    assert [failure["scheme"] for failure in said["failures"]] == ["float16"]
    folders = sorted(path.name for path in (quick_convert / "exports").iterdir())
    assert folders == ["cpu-dynamic_int8", "cpu-float32"]


def test_several_schemes_as_text_and_their_names(quick_convert: Path) -> None:
    call = ["export", str(quick_convert), "--scheme", "dynamic_int8", "--scheme", "float16"]
    refused = CliRunner().invoke(cli, [*call, "--as", "mine"])
    assert refused.exit_code == 2 and "--as names one artifact. Give one --scheme" in refused.output
    done = CliRunner().invoke(cli, [*call, "--format", "text"])
    assert done.exit_code == 0
    facts = [block.splitlines() for block in done.stdout.split("\n\n")]
    names = [line.split()[1] for block in facts for line in block if line.startswith("name ")]
    assert names == ["cpu-dynamic_int8", "cpu-float16"]


@pytest.mark.parametrize("error", [ExportError, KeyboardInterrupt, OSError, MemoryError])
@pytest.mark.parametrize("step", ["convert", "check_model", "write_golden", "write_manifest"])
def test_old_artifact_stays_when_the_new_export_fails(
    quick_convert: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: type[BaseException]
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error("planted")

    owner = model_file if step in ("convert", "check_model") else artifact_module
    monkeypatch.setattr(owner, step, fail)
    before = contents(quick_convert)
    with pytest.raises(error, match="planted"):
        export_artifact(quick_convert, overwrite=True)
    assert contents(quick_convert) == before
    with pytest.raises(error, match="planted"):
        export_artifact(quick_convert, ExportOptions(name="new"))
    assert [path.name for path in (quick_convert / "exports").iterdir()] == ["cpu-float32"]


def test_old_artifact_comes_back_when_the_swap_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = tmp_path / "exports" / "one"
    destination.mkdir(parents=True)
    (destination / "file").write_text("old")
    import os

    replace = os.replace

    def interrupted(source: Path, target: Path) -> None:
        if Path(target) == destination and "-old" not in Path(source).name:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt), staging_folder(destination) as staging:
        (staging / "file").write_text("new")
    assert contents(tmp_path) == {"exports/one/file": b"old"}


@pytest.mark.parametrize("name", ["../x", ".x", "-x", "a/b", "a b", "ä", "x" * 101, "a\n"])
def test_bad_name_is_refused(run: Path, name: str) -> None:
    with pytest.raises(ValueError, match="must be 1 to 100 of A-Z a-z 0-9"):
        export_artifact(run, ExportOptions(name=name))


def test_default_name_has_the_variant(quick_convert: Path) -> None:
    small = shutil.copytree(
        quick_convert / "variants" / "base", quick_convert / "variants" / "small"
    )
    (small / "compress.json").write_text('{"methods": [], "weights_sha256": ""}')
    result = export_artifact(quick_convert, ExportOptions(variant="small"))
    assert result["name"] == "small-cpu-float32"
    assert read_artifact(result["artifact"]).manifest.variant == "small"


def test_unknown_variant_is_refused_with_the_list(run: Path) -> None:
    with pytest.raises(ValueError, match=r"variant='pruned' is not in .*It holds: \['base'\]"):
        export_artifact(run, ExportOptions(variant="pruned"))


@pytest.mark.parametrize(
    ("remove", "message"),
    [
        (["run.json"], r"holds no run.json, .* Finish it with `tfpipe train … --resume`"),
        (["run.json", "train/plan.json"], "Make one with `tfpipe train DATA"),
    ],
)
def test_unfinished_run_is_refused(run: Path, remove: list[str], message: str) -> None:
    for name in remove:
        (run / name).unlink()
    with pytest.raises(ValueError, match=message):
        export_artifact(run)


def test_run_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none' does not exist, so it is no finished run"):
        export_artifact(tmp_path / "none")


def spoil_shape(data: bytes) -> bytes:
    with np.load(io.BytesIO(data)) as arrays:
        weights = [arrays[f"arr_{index}"] for index in range(len(arrays.files))]
    buffer = io.BytesIO()
    np.savez(buffer, *[weights[0][:, :3], *weights[1:]])
    return buffer.getvalue()


def test_damaged_weights_are_one_clear_error(run: Path) -> None:
    """Through the real child process: its reason is the whole message."""
    path = run / "variants" / "base" / "weights.npz"
    path.write_bytes(spoil_shape(path.read_bytes()))
    with pytest.raises(ExportError, match=r"weights.npz does not hold the weights of this run's"):
        export_artifact(run, overwrite=True)
    assert [path.name for path in (run / "exports").iterdir()] == ["cpu-float32"]


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_shape,
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: data[:200] + bytes(400) + data[600:],
        lambda data: b"not an archive" * 9,
    ],
)
def test_weights_damaged_by_hand_are_refused(run: Path, spoil: Callable[[bytes], bytes]) -> None:
    from tfpipe.variant import load_model

    path = run / "variants" / "base" / "weights.npz"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ValueError, match="does not hold the weights .* Train the run again"):
        load_model(RunFolder(run), "base")


def test_array_in_place_of_the_archive_is_refused(run: Path) -> None:
    from tfpipe.variant import load_model

    with (run / "variants" / "base" / "weights.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(ValueError, match="does not hold the weights"):
        load_model(RunFolder(run), "base")


def test_outputs_that_are_not_finite_are_refused(
    quick_convert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tfpipe.export import golden
    from tfpipe.run_model import ModelRun

    def run_nan(*_: Any, token_ids: Any, **__: Any) -> ModelRun:
        return ModelRun(token_ids, np.full((len(token_ids), 3), np.nan, np.float32), "x", "1")

    monkeypatch.setattr(golden, "run_model", run_nan)
    with pytest.raises(ExportError, match="scheme=float32: the file's outputs are not finite"):
        export_artifact(quick_convert, overwrite=True)


def test_export_is_a_verb_of_the_package(run: Path) -> None:
    with pytest.raises(FileExistsError, match="exists"):
        tfpipe.export(run)


@pytest.fixture(scope="module")
def all_runs(
    trained_runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Path]]:
    """One run a model, two layers where the model has layers."""
    from tfpipe.train import train

    data = trained_runs["lstm"].parent / "colours.csv"
    with data.open() as file:
        assert next(csv.reader(file)) == ["text", "label"]
    folder = tmp_path_factory.mktemp("all")
    usual = ["train.epochs=3", "train.learning_rate=0.02", "model.embedding_dim=16"]
    for name in MODEL_NAMES:
        layers = [] if name == "average" else ["model.num_layers=2"]
        recipe = load_recipe(name, overrides=[*usual, "data.sequence_length=12", *layers])
        train(data, folder / name, recipe=recipe)
    yield {name: folder / name for name in MODEL_NAMES}


PRODUCT = [
    (model, scheme, lowering)
    for model in MODEL_NAMES
    for scheme in TARGETS["cpu"].schemes
    for lowering in every_lowering(model, target="cpu", scheme=scheme)
]


@pytest.mark.slow
@pytest.mark.parametrize(("model", "scheme", "lowering"), PRODUCT)
def test_every_model_scheme_and_lowering_passes_verification(
    all_runs: dict[str, Path], model: str, scheme: str, lowering: str
) -> None:
    options = ExportOptions(scheme=scheme, lowering=lowering, name=f"{scheme}-{lowering}")
    result = export_artifact(all_runs[model], options)
    assert verify(result["artifact"])["passed"]
