"""Compressed variants: what they hold, that their files equal them, and what is refused."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

import tfpipe.compress.variant as variant
from tfpipe.arrays import read_arrays, write_arrays
from tfpipe.compress.cluster import cluster_values
from tfpipe.compress.options import CompressOptions
from tfpipe.compress.prune import compressible
from tfpipe.compress.source import find_table
from tfpipe.compress.stages import default_epochs
from tfpipe.compress.variant import compress
from tfpipe.export.artifact import ExportOptions, export_artifact
from tfpipe.export.target import ExportError
from tfpipe.fit_progress import Progress
from tfpipe.models.rounding import on_grid
from tfpipe.run_folder import RunFolder
from tfpipe.train import train
from tfpipe.variant import is_quantized, load_model
from tfpipe.verify import verify

PLAIN = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
QAT = CompressOptions(qat=True, epochs=1)
PCQAT = CompressOptions(prune=0.75, scan=False, cluster=4, qat=True, epochs=2)
MADE = {
    "lstm": PCQAT,
    "transformer": QAT,
}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def copy_run(run: Path, folder: Path) -> Path:
    return Path(shutil.copytree(run, folder, ignore=shutil.ignore_patterns("exports", "qat")))


@pytest.fixture(scope="module")
def variants(
    trained_runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, dict[str, Any]]]:
    """The tiny runs with a variant "qat" each, of the lstm pruned and clustered before, and what
    `compress` returned."""
    folder = tmp_path_factory.mktemp("compressed")
    made = {}
    for name, run in trained_runs.items():
        copy = copy_run(run, folder / name)
        made[name] = (copy, compress(copy, "qat", MADE[name]))
    return made


def test_convolutions_are_pruned_and_clustered_too(
    make_colours: Callable[..., Path], small_recipe: Callable[..., Any], tmp_path: Path
) -> None:
    recipe = small_recipe("textcnn", "model.filters=8", "model.branch_dropout=0")
    run = tmp_path / "run"
    train(make_colours(tmp_path / "colours.csv"), run, recipe=recipe)
    compress(run, "qat", PCQAT)
    result = export_artifact(run, ExportOptions(variant="qat", scheme="int8"))
    assert verify(result["artifact"])["passed"]
    # embedding, three widths of filters
    check_buffers(Path(result["artifact"]) / "model.tflite", 4)


@pytest.fixture
def run(trained_runs: dict[str, Path], tmp_path: Path) -> Path:
    return copy_run(trained_runs["lstm"], tmp_path / "run")


@pytest.mark.parametrize(
    ("model", "lowering"), [("lstm", "unrolled"), ("lstm", "loop"), ("transformer", "auto")]
)
def test_file_of_a_quantization_aware_variant_equals_it(
    variants: dict[str, tuple[Path, dict[str, Any]]], model: str, lowering: str
) -> None:
    run, _ = variants[model]
    options = ExportOptions(variant="qat", scheme="int8", lowering=lowering, name=lowering)
    result = export_artifact(run, options)
    verified = verify(result["artifact"])
    assert verified["passed"] and verified["agreement"] >= 0.995
    assert verified["median_abs_error"] <= 2 / 256
    assert "rounds every value where the file does" in verified["threshold"]["reason"]
    stored = json.loads((Path(result["artifact"]) / "check.json").read_text())["bytes_by_dtype"]
    assert stored["int8"] > stored.get("float32", 0)
    if lowering == "unrolled":
        # embedding, kernel, recurrent kernel
        check_buffers(Path(result["artifact"]) / "model.tflite", 3)


@pytest.mark.parametrize("name", ["lstm", "transformer"])
def test_file_of_a_clustered_variant_has_its_very_values(
    name: str, make_colours: Callable[..., Path], small_recipe: Callable[..., Any], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    # Kernels of fewer than 1,024 numbers are not rounded in a dynamic_int8 file.
    recipe = small_recipe(name, "model.embedding_dim=24")
    train(make_colours(tmp_path / "colours.csv"), run, recipe=recipe)
    compress(run, "few", CompressOptions(cluster=4, epochs=1))
    model = load_model(RunFolder(run), "few")
    assert model.per_tensor
    for weight in compressible(model):
        np.testing.assert_array_equal(weight, on_grid(weight.numpy(), one_scale=True))
    wanted = sorted(levels_of(weight.numpy()) for weight in compressible(model)[:-1])
    # Of an Edge TPU's file the table stays on the host, and the query has attention's scale in it.
    for scheme, target, elsewhere in (
        ("int8", "cpu", 0),
        ("int8", "edgetpu", 1 + (name == "transformer")),
        ("dynamic_int8", "cpu", 0),
    ):
        options = ExportOptions(variant="few", scheme=scheme, target=target, name=scheme + target)
        path = Path(export_artifact(run, options)["artifact"])
        constants = read_constants(path / "model.tflite", np.int8)
        constants += read_constants(path / "model.tflite", np.float32)
        found = {levels_of(constant) for constant in constants if constant.any()}
        assert len(found & set(wanted)) == len(wanted) - elsewhere, (scheme, target)


def levels_of(weights: Any) -> tuple[int, ...]:
    """Returns the int8 values that stand for the weights of a tensor with one scale."""
    levels = np.round(weights * (127 / np.abs(weights).max()))
    return tuple(np.unique(levels).astype(int).tolist())


def check_buffers(path: Path, count: int) -> None:
    """The zeros of all tables and kernels are in the file itself, and the few values of so many,
    all but the logits'."""
    weights = read_constants(path, np.int8)
    assert sum(len(np.unique(weight)) <= 4 for weight in weights) == count == len(weights) - 1
    for weight in weights:
        assert np.mean(weight == 0) >= 0.74


def read_constants(path: Path, dtype: type) -> list[Any]:
    """Returns a file's tables and kernels of a type."""
    interpreter = Interpreter(str(path), experimental_op_resolver_type=PLAIN)
    interpreter.allocate_tensors()
    weights = []
    for details in interpreter.get_tensor_details():
        constant = details["dtype"] == dtype and np.prod(details["shape"]) >= 48
        # What a kernel needs for itself; where a convolution unfolds its input has no name.
        own = not details["name"] or "scratch" in details["name"]
        constant = constant and len(details["shape"]) > 1 and not own
        if constant and is_constant(interpreter, details):
            weights.append(interpreter.get_tensor(details["index"]))
    return weights


def is_constant(interpreter: Interpreter, details: dict[str, Any]) -> bool:
    made = {int(i) for op in interpreter._get_ops_details() for i in op["outputs"]}
    return details["index"] not in made


def test_record_tells_how_the_variant_was_made(
    variants: dict[str, tuple[Path, dict[str, Any]]],
) -> None:
    run, result = variants["lstm"]
    folder = RunFolder(run)
    record = json.loads((run / "variants" / "qat" / "compress.json").read_text())
    assert {**record, "name": "qat", "variant": str(run / "variants" / "qat")} == result
    assert record["methods"] == ["prune", "cluster", "qat"] and record["from"] == "base"
    assert [entry["method"] for entry in record["training"]] == record["methods"]
    for entry in record["tensors"]:
        if "kernel" in entry["name"] or "embeddings" in entry["name"]:
            assert entry["distinct_values"] <= 4 or entry["name"] == "logits/kernel"
            assert entry["zeros"] >= 0.74, entry
            # The values are those of the file.
            assert entry["max_error"] == pytest.approx(0, abs=1e-6)
    values = {entry["name"]: entry for entry in record["values"]}
    assert values["lstm_0/output_gate"]["scale"] == 1 / 256
    assert values["lstm_0/squashed_cell"]["scale"] == 1 / 128
    hidden = values["lstm_0/hidden"]
    assert 0 < hidden["mean_error"] <= hidden["scale"] / 2 and hidden["signal_to_noise_db"] > 20
    sizes = record["sizes"]
    assert sizes["after"]["zip"] < 0.2 * sizes["before"]["zip"]
    assert sizes["efficiency"]["plain"] == pytest.approx(
        1 - sizes["after"]["plain"] / sizes["before"]["plain"], abs=1e-4
    )
    assert record["metrics"]["from_test"]["accuracy"] == pytest.approx(
        folder.read()["metrics"]["test"]["accuracy"]
    )
    assert record["training"][0]["epochs"] == 2
    assert is_quantized(folder, "qat") and not is_quantized(folder, "base")
    assert load_model(folder, "qat").names[0] == "lstm_0/projected"
    assert not (run / "train" / "compress").exists()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["cluster", "qat"])
def test_killed_compression_goes_on_to_the_same_weights(
    run: Path, method: str, tmp_path: Path
) -> None:
    other = copy_run(run, tmp_path / "other")
    options = CompressOptions(shrink=0.5, prune=0.5, cluster=8, qat=True, epochs=2)
    said: list[str] = []

    def interrupt(item: Progress | str) -> None:
        if isinstance(item, str):
            said.append(item)
        elif said[-1].startswith(method) and item.epoch == 2 and item.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compress(run, "small", options, progress=interrupt)
    assert not (run / "variants" / "small").exists()
    compress(run, "small", options)
    compress(other, "small", options)
    again, straight = (read_arrays(RunFolder(path).weights("small")) for path in (run, other))
    assert again.keys() == straight.keys()
    for name, value in straight.items():
        np.testing.assert_array_equal(again[name], value)


def test_two_variants_of_a_run_are_made_at_once_but_none_by_two(run: Path) -> None:
    options = CompressOptions(cluster=4, epochs=1)
    nested: list[str] = []

    def meanwhile(item: Progress | str) -> None:
        if isinstance(item, Progress) and not nested:
            nested.append("refused")
            with pytest.raises(ValueError, match="variant='one' .* made by another process"):
                compress(run, "one", options)
            nested.extend(compress(run, "other", replace(options, cluster=8))["methods"])

    assert compress(run, "one", options, progress=meanwhile)["methods"] == ["cluster"]
    assert nested == ["refused", "cluster"]
    assert not (run / "train" / "compress").exists()


def test_full_disk_loses_nothing_of_a_compression(
    run: Path, make_colours: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = CompressOptions(cluster=4, epochs=2)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    message = "variant='one' .*stopped: .*No space left .* make the same call again to go on"
    with monkeypatch.context() as patch, pytest.raises(OSError, match=message):
        patch.setattr(variant, "save_weights", full)
        compress(run, "one", options)
    assert not (run / "variants" / "one").exists()
    with pytest.raises(ValueError, match="data='.*' is not what the run was trained on"):
        compress(run, "one", replace(options, data=make_colours(run / "more.csv", num_rows=90)))
    seen: list[Progress | str] = []
    compress(run, "one", options, progress=seen.append)
    assert not any(isinstance(item, Progress) for item in seen)  # it was trained before


def test_shrinking_trains_as_long_as_the_run_did_and_fine_tuning_five_epochs() -> None:
    recipe = {"train": {"epochs": 18}}
    assert default_epochs("shrink", recipe) == 18
    assert {default_epochs(name, recipe) for name in ("prune", "cluster", "qat", "distill")} == {5}


def damage(weights: Path) -> None:
    arrays = read_arrays(weights)
    arrays["arr_0"] = 0 * arrays["arr_0"]  # the embedding table
    write_arrays(weights, arrays)


def tamper_with_variant(run: Path) -> None:
    variant = run / "variants" / "sparse"
    shutil.copytree(run / "variants" / "base", variant)
    record = {"methods": ["prune"], "weights_sha256": "0" * 64}
    (variant / "compress.json").write_text(json.dumps(record))


def lose_data(run: Path) -> None:
    plan = json.loads((run / "train" / "plan.json").read_text())
    plan["source"]["data"] = "/nowhere/colours.csv"
    (run / "train" / "plan.json").write_text(json.dumps(plan))


REFUSED: dict[str, tuple[Callable[[Path], Any], str, CompressOptions, str]] = {
    "no method": (lambda _: None, "x", CompressOptions(), "No method was given.* Give --shrink"),
    "no epoch": (lambda _: None, "x", CompressOptions(qat=True, epochs=-1), "epochs=-1 must be at"),
    "all gone": (lambda _: None, "x", CompressOptions(shrink=1.0), r"shrink=1 lies outside \[0, 1"),
    "all pruned": (lambda _: None, "x", CompressOptions(prune=1.0), r"prune=1 lies outside \[0, 1"),
    "less than none": (lambda _: None, "x", CompressOptions(prune=-0.1), "prune=-0.1 lies outside"),
    "no block": (
        lambda _: None,
        "x",
        CompressOptions(prune=0.5, block_size=0),
        "block_size=0 lies outside 1 to 64.*4 float32 or 16 int8",
    ),
    "blocks of nothing": (
        lambda _: None,
        "x",
        CompressOptions(cluster=16, block_size=4),
        "block_size=4 without prune: .* Give --prune SHARE",
    ),
    "one cluster": (lambda _: None, "x", CompressOptions(cluster=1), "cluster=1 lies outside 2 to"),
    "rate": (
        lambda _: None,
        "x",
        CompressOptions(qat=True, learning_rate=-1),
        "learning_rate=-1 lies outside 0 to 10",
    ),
    "base": (lambda _: None, "base", QAT, "name='base' is the trained model itself"),
    "name": (lambda _: None, "../x", QAT, "name='../x' must be 1 to 100"),
    "no such variant": (
        lambda _: None,
        "x",
        CompressOptions(source="lost", qat=True),
        "variant='lost' is not in .* It holds: \\['base'\\]",
    ),
    "weights changed": (
        lambda run: damage(run / "variants" / "base" / "weights.npz"),
        "x",
        QAT,
        "was changed after it was trained: its validation accuracy is",
    ),
    "variant changed": (
        tamper_with_variant,
        "x",
        CompressOptions(source="sparse", qat=True),
        "was changed after it was made: its digest is not the one in compress.json",
    ),
    "table gone": (lose_data, "x", QAT, "'/nowhere/colours.csv', the table of the run, is not"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_bad_request_is_refused_and_leaves_the_run_alone(run: Path, case: str) -> None:
    prepare, name, options, message = REFUSED[case]
    prepare(run)
    before = contents(run)
    with pytest.raises(ValueError, match=message):
        compress(run, name, options)
    assert contents(run) == before


def test_clusters_are_the_values_that_lie_nearest() -> None:
    weights = np.array([[0.0, 1.0, 1.2], [-3.0, -3.1, 0.0], [1.1, 9.0, 8.8]], np.float32)
    expected = [[0, 1.1, 1.1], [-3.05, -3.05, 0], [1.1, 8.9, 8.9]]
    np.testing.assert_allclose(cluster_values(weights, 4), expected, rtol=1e-6)
    np.testing.assert_array_equal(cluster_values(weights * 0, 4), weights * 0)


def test_another_table_is_refused(run: Path, make_colours: Callable[..., Path]) -> None:
    other = make_colours(run.parent / "other.csv", seed=6)
    with pytest.raises(ValueError, match="is not what the run was trained on: its digest is"):
        compress(run, "x", CompressOptions(qat=True, data=other))


@pytest.mark.parametrize("given", [None, Path("moved.csv")])
def test_test_file_of_a_packaged_table_is_found_again(tmp_path: Path, given: Path | None) -> None:
    folder = RunFolder(tmp_path)
    folder.plan_json.parent.mkdir()
    folder.plan_json.write_text('{"source": {"data": "topics", "test": "own.csv"}}')
    found = find_table(folder, {"source": "topics"}, CompressOptions(qat=True, test=given))
    assert found == ("topics", given or Path("own.csv"))


def test_variant_is_not_compressed_twice_the_same_way(
    variants: dict[str, tuple[Path, dict[str, Any]]], tmp_path: Path
) -> None:
    run = Path(shutil.copytree(variants["lstm"][0], tmp_path / "run"))
    before = contents(run)
    with pytest.raises(ValueError, match=r"methods=\['prune', .* qat is there already"):
        compress(run, "more", CompressOptions(source="qat", qat=True))
    with pytest.raises(FileExistsError, match="variants/qat' exists. Give --overwrite"):
        compress(run, "qat", QAT)
    with pytest.raises(
        ExportError, match="scheme=float32 lowering=auto would ship another function"
    ):
        export_artifact(run, ExportOptions(variant="qat"))
    assert contents(run) == before
    (run / "variants" / "qat" / "compress.json").write_text("{}")
    with pytest.raises(ValueError, match="compress.json is missing or damaged"):
        compress(run, "more", CompressOptions(source="qat", qat=True))
