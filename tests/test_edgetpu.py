"""The target edgetpu: the tail's ops, the host's lookup, the compiler's logs, known errors."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from test_deploy_pages import python_blocks, run_block

from device_runner import edgetpu as runner_edgetpu
from device_runner.edgetpu import advise, load_tail_model
from device_runner.lookup import HostLookup, read_lookup
from device_runner.manifest import parse_manifest
from tfpipe.export import edgetpu_log as log
from tfpipe.export.artifact import ExportOptions, export_artifact
from tfpipe.export.convert_edgetpu import (
    convert_tail,
    pooling_table,
    quantize,
    read_scales,
)
from tfpipe.export.edgetpu_compiler import command_elsewhere, compile_for_edgetpu, compiled_names
from tfpipe.export.edgetpu_form import find_embedding, tail_form
from tfpipe.export.edgetpu_log import count_statuses, parse_log
from tfpipe.export.edgetpu_rules import predict_mapping
from tfpipe.export.recurrence import weights_of
from tfpipe.export.target import ExportError
from tfpipe.models import MODELS
from tfpipe.verify import verify

LENGTH = 7

# Verbatim: tensorflow#73946 (16.0), google-coral/edgetpu#433 and #393, mnist logs (15.0).
WHOLE = """Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.

Model compiled successfully in 62 ms.

Input model: mnist_model_quant.tflite
Input size: 9.87KiB
Output model: mnist_model_quant_edgetpu.tflite
Output size: 56.59KiB
On-chip memory used for caching model parameters: 49.75KiB
On-chip memory remaining for caching model parameters: 7.68MiB
Off-chip memory used for streaming uncached model parameters: 0.00B
Number of Edge TPU subgraphs: 1
Total number of operations: 4
Operation log: mnist_model_quant_edgetpu.log
See the operation log file for individual operation details.
Compilation child process completed within timeout period.
Compilation succeeded!
"""
PARTLY = """Edge TPU Compiler version 2.0.267685300

Model compiled successfully in 2051 ms.

Input model: m.tflite
Input size: 3.10MiB
Output model: m_edgetpu.tflite
Output size: 3.00MiB
On-chip memory available for caching model parameters: 6.50MiB
On-chip memory used for caching model parameters: 1.25MiB
Off-chip memory used for streaming uncached model parameters: 12.00B
Number of Edge TPU subgraphs: 1
Total number of operations: 191
Operation log: m_edgetpu.log

Model successfully compiled but not all operations are supported by the Edge TPU. A percentage of the model will instead run on the CPU, which is slower. If possible, consider updating your model to use only operations supported by the Edge TPU. For details, visit g.co/coral/model-reqs.
Number of operations that will run on Edge TPU: 1
Number of operations that will run on CPU: 190

Operator                       Count      Status

{rows}
See the operation log file for individual operation details.
"""  # noqa: E501
EVERY_STATUS = [
    ("CONV_2D", 2, log.MAPPED),
    ("FULLY_CONNECTED", 1, log.SUBGRAPH),
    ("TRANSPOSE", 70, log.LIMITATION),
    ("QUANTIZE", 1, log.LIMITATION),
    ("DEQUANTIZE", 1, log.DATA_TYPE),
    ("GATHER", 6, log.UNSUPPORTED),
    ("RESIZE_NEAREST_NEIGHBOR", 1, log.VERSION),
    ("CONV_2D", 6, log.RANK),
    ("FULLY_CONNECTED", 1, log.NOT_CONSTANT),
    ("FULLY_CONNECTED", 1, log.TWO_DIMENSIONS),
    ("TANH", 3, "A status that no one has seen, yet"),
]
FAILURES = {
    "Model not quantized": "Invalid model: m.tflite\nModel not quantized\n",
    "Didn't find op": "ERROR: Didn't find op for builtin opcode 'QUANTIZE' version '3'. An older "
    "version of this builtin might be supported. Are you using an old TFLite binary with a newer "
    "model?\n\nERROR: Registration failed.\n\nInvalid model: m.tflite\nModel could not be parsed\n",
    "builtin_code out of range": "ERROR: Op builtin_code out of range: 150. Are you using old "
    "TFLite binary with newer model?\nInvalid model: m.tflite\nModel could not be parsed\n",
    "dynamic-sized": "ERROR: Attempting to use a delegate that only supports static-sized tensors "
    "with a graph that has dynamic-sized tensors.\nCompilation failed: Model failed in Tflite "
    "interpreter. Please ensure model can be loaded/run in Tflite interpreter.\nCompilation child "
    "process completed within timeout period.\nCompilation failed!\n",
    "large activation": "ERROR: Restored original execution plan after delegate application "
    "failure.\nCompilation failed: Compilation failed due to large activation tensors in model.\n",
    "Internal compiler error": "Internal compiler error. Aborting!\n",
    "no reason; a smaller model": "Compilation child process completed within timeout period.\n"
    "Compilation failed!\n",
}


def table(rows: list[tuple[str, int, str]]) -> str:
    return "\n".join(f"{op:<31}{count:<11}{status}" for op, count, status in rows)


def test_log_of_a_whole_mapping_is_read_to_the_last_number() -> None:
    assert parse_log(WHOLE) == {
        "version": "16.0.384591198",
        "succeeded": True,
        "input_bytes": round(9.87 * 1024),
        "output_bytes": round(56.59 * 1024),
        "cached_bytes": round(49.75 * 1024),
        "cache_left_bytes": round(7.68 * 1024**2),
        "streamed_bytes": 0,
        "milliseconds": 62,
        "num_subgraphs": 1,
        "num_operations": 4,
        "num_on_edgetpu": None,
        "num_on_cpu": None,
        "operations": [],
        "failure": None,
    }


def test_every_status_is_kept_verbatim_and_counted() -> None:
    found = parse_log(PARTLY.format(rows=table(EVERY_STATUS)))
    rows = [(row["op"], row["count"], row["status"]) for row in found["operations"]]
    assert rows == EVERY_STATUS
    assert (found["version"], found["num_on_edgetpu"]) == ("2.0.267685300", 1)
    assert (found["num_on_cpu"], found["cache_left_bytes"]) == (190, round(6.5 * 1024**2))
    assert count_statuses(found["operations"]) == {"mapped": 2, "unmapped": 88, "unknown": 3}


def test_operation_log_alone_is_read_too() -> None:
    text = "Edge TPU Compiler version 15.0.340273435\nInput: a.tflite\nOutput: b.tflite\n\n"
    text += "Operator                       Count      Status\n\n" + table(EVERY_STATUS[:2]) + "\n"
    found = parse_log(text)
    assert found["version"] == "15.0.340273435" and len(found["operations"]) == 2


@pytest.fixture
def compiler(tmp_path: Path) -> Callable[..., str]:
    """Writes a program that stands for edgetpu_compiler: prints a log, does what it is told."""

    def make(text: str, code: int = 0, program: str = "") -> str:
        path = tmp_path / "edgetpu_compiler"
        writes = (
            "folder = pathlib.Path(sys.argv[sys.argv.index('--out_dir') + 1])\n"
            "stem = pathlib.Path(sys.argv[-1]).stem\n"
            "n = int(sys.argv[sys.argv.index('-n') + 1]) if '-n' in sys.argv else 1\n"
            "names = [f'{stem}_edgetpu.tflite'] if n == 1 else "
            "[f'{stem}_segment_{i}_of_{n}_edgetpu.tflite' for i in range(n)]\n"
            "for name in names: shutil.copy(sys.argv[-1], folder / name)\n"
        )
        path.write_text(
            f"#!{sys.executable}\nimport os, pathlib, shutil, signal, sys, time\n"
            f"print({text!r}, flush=True)\n{program if program or code else writes}\n"
            f"sys.exit({code})\n"
        )
        path.chmod(0o755)
        return str(path)

    return make


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m.tflite"
    path.write_bytes(b"some model")
    return path


@pytest.mark.parametrize("segments", [1, 3])
def test_compiled_files_and_facts_come_back(
    compiler: Callable[..., str], model: Path, tmp_path: Path, segments: int
) -> None:
    output = tmp_path / "out"
    output.mkdir()
    files, facts = compile_for_edgetpu(compiler(WHOLE), model, output, num_segments=segments)
    assert [file.name for file in files] == compiled_names("m", segments)
    assert all(file.read_bytes() == b"some model" for file in files)
    assert facts["num_operations"] == 4


def test_command_for_elsewhere_can_be_pasted() -> None:
    assert command_elsewhere("model.tflite", 2) == (
        "edgetpu_compiler -s -n 2 --out_dir . model.tflite"
    )


@pytest.mark.parametrize("sign", FAILURES)
@pytest.mark.parametrize("code", [0, 1])
def test_each_failure_says_what_it_means(
    compiler: Callable[..., str], model: Path, sign: str, code: int
) -> None:
    text = "Edge TPU Compiler version 16.0.384591198\n" + FAILURES[sign]
    program = compiler(text, code, "pass")
    with pytest.raises(ExportError, match=rf"16.0.384591198 refused the model: .*{sign}"):
        compile_for_edgetpu(program, model, model.parent)


def test_compiler_that_hangs_is_ended(compiler: Callable[..., str], model: Path) -> None:
    program = compiler("", 0, "time.sleep(60)")
    with pytest.raises(ExportError, match="was not done after 0.5 s and was ended"):
        compile_for_edgetpu(program, model, model.parent, time_limit=0.5)


def test_compiler_that_crashes_is_named(compiler: Callable[..., str], model: Path) -> None:
    program = compiler("last words", 0, "os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(ExportError, match=r"(?s)was ended by SIGKILL.*last words"):
        compile_for_edgetpu(program, model, model.parent)


def test_compiler_that_writes_nothing_is_an_error(
    compiler: Callable[..., str], model: Path
) -> None:
    with pytest.raises(ExportError, match="says it succeeded and did not write m_edgetpu.tflite"):
        compile_for_edgetpu(compiler(WHOLE, 0, "pass"), model, model.parent)


def test_compiler_that_is_no_program_is_an_error(model: Path) -> None:
    program = model.parent / "edgetpu_compiler"
    program.write_bytes(b"\x7fELF of another machine")
    program.chmod(0o755)
    with pytest.raises(ExportError, match="cannot be run: .* x86-64 Linux"):
        compile_for_edgetpu(str(program), model, model.parent)


def build(name: str, rank: int) -> Any:
    sizes = {"units": 5} if "lstm" in name else {}
    made = MODELS[name](30, LENGTH, 3, embedding_dim=8, embedding_rank=rank, **sizes)
    random = np.random.default_rng(2)
    for variable in made.trainable_variables:
        value = random.normal(size=variable.shape, scale=0.4).astype(np.float32)
        variable.assign(value if variable.constraint is None else variable.constraint(value))
    return made


def random_ids(count: int) -> np.ndarray:
    """Texts of every length from none to all."""
    random = np.random.default_rng(3)
    ids = random.integers(1, 30, (count, LENGTH)).astype(np.int32)
    return ids * (np.arange(LENGTH) < np.resize(np.arange(LENGTH + 1), count)[:, None])


def write_tail(made: Any, folder: Path) -> Path:
    layer = find_embedding(made)
    rows = weights_of(layer)[0] * np.float32(layer.scale)
    tail = tail_form(made, sequence_length=LENGTH, multi_label=False)
    path = folder / "model.tflite"
    path.write_bytes(convert_tail(tail, rows, random_ids(64), folder / "saved"))
    scales = read_scales(path)
    np.save(folder / "embedding.npy", quantize(rows, *scales["vectors"]))
    np.save(folder / "pooling.npy", pooling_table(LENGTH, scales))
    return path


@pytest.mark.parametrize(
    ("name", "rank"), [*((name, 0) for name in sorted(MODELS)), ("lstm", 3), ("transformer", 3)]
)
def test_tail_with_the_hosts_lookup_computes_the_model(
    tmp_path: Path, name: str, rank: int
) -> None:
    made = build(name, rank)
    path = write_tail(made, tmp_path)
    loaded = load_tail_model(str(tmp_path), 1, "cpu")
    ids = random_ids(40)
    expected = tf.nn.softmax(made(ids, training=False)).numpy()
    actual = np.stack([loaded.run(row[None]) for row in ids])
    assert (actual.argmax(1) == expected.argmax(1)).mean() >= 0.9
    assert np.abs(actual - expected).mean() < 0.03
    operations = predict_mapping(path)
    ops = {row["op"] for row in operations}
    if name != "transformer":
        assert not ops & {"DEQUANTIZE", "QUANTIZE", "UNPACK", "GATHER", "DIV", "REVERSE_V2", "CAST"}
        assert {row["status"] for row in operations} == {log.MAPPED}, "predicted whole"
    else:
        assert count_statuses(operations)["unmapped"] > 0, "attention has no place there"


def test_two_factors_make_the_mean_of_any_number() -> None:
    """One int8 factor would be off by up to an eighth at 64 tokens."""
    scales = {"mean_weights": (1 / 255, -128), "mean_scale": (0.9 / 250, -128), "mask": (1.0, 0)}
    rows = pooling_table(64, scales)
    for count in range(1, 65):
        weight = (float(rows[1 + count, 0]) + 128) / 255
        factor = (float(rows[1 + count, 1]) + 128) * 0.9 / 250
        assert weight * factor * count == pytest.approx(1, abs=0.02 if count > 1 else 0.11)
    assert rows[0].tolist() == [0, -128, 1]


def test_lookup_by_hand() -> None:
    rows = np.arange(8, dtype=np.int8).reshape(4, 2)
    pooling = np.array([[-5, -6, 7], [0, 0, 0], [11, 12, 0], [21, 22, 0]], np.int8)
    found = HostLookup(rows, pooling).inputs(np.array([[3, 1, 0]], np.int32))
    assert found["vectors"].tolist() == [[[[6, 7], [2, 3], [0, 1]]]]
    assert found["mask"].ravel().tolist() == [7, 7, -5]
    assert found["mean_weights"].ravel().tolist() == [21, 21, -6]
    assert found["mean_scale"].ravel().tolist() == [22]
    assert {array.dtype for array in found.values()} == {np.dtype(np.int8)}
    with pytest.raises(IndexError, match="token id -1"):
        HostLookup(rows, pooling).inputs(np.array([[-1, 1, 0]], np.int32))


@pytest.mark.parametrize("data", [b"", b"no array", np.zeros(3)])
def test_damaged_table_is_refused(tmp_path: Path, data: Any) -> None:
    path = tmp_path / "embedding.npy"
    if isinstance(data, bytes):
        path.write_bytes(data)
    else:
        np.save(path, data)
    with pytest.raises(ValueError, match=r"embedding.npy is no .*Export the artifact again"):
        read_lookup(str(tmp_path))


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("libedgetpu.so.1: cannot open shared object file: No such file", "install libedgetpu1"),
        ("Failed to load delegate from libedgetpu.so.1\n", "plug it in"),
        (
            "Internal: Unsupported data type in custom op handler: 0Node number 3 "
            "(EdgeTpuDelegateForCustomOp) failed to prepare.",
            "different ages",
        ),
        ("Internal: :71 tf_lite_type != kTfLiteUInt8 (9 != 3)Node number 79", "too old for int8"),
        ("num_intermediate_tensors == 5 was not true", "too old for it"),
        ("Encountered unresolved custom op: edgetpu-custom-op.", "uncompiled model.tflite"),
        ("something new", "Export the artifact again"),
    ],
)
def test_known_errors_become_advice(said: str, advice: str) -> None:
    assert advice in advise(said) and "--delegate cpu" in advise(said)


@pytest.fixture(scope="module")
def run(trained_runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("edgetpu") / "lstm"
    return Path(shutil.copytree(trained_runs["lstm"], folder))


def test_artifact_without_the_compiler_is_a_labelled_prediction(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    result = export_artifact(run, ExportOptions(target="edgetpu", scheme="int8"))
    folder = Path(result["artifact"])
    check = json.loads((folder / "check.json").read_text())
    facts = check["edgetpu"]
    assert (facts["compiled"], facts["predicted"]) == (False, True)
    assert facts["mapped"] == sum(check["ops"].values()) and not facts["unmapped"]
    assert facts["command"].endswith("--out_dir . model.tflite")
    assert [entry["code"] for entry in check["findings"]] == ["edgetpu-not-compiled"]
    assert {"embedding.npy", "pooling.npy"} <= set(
        parse_manifest((folder / "manifest.json").read_bytes()).files
    )
    assert verify(folder)["passed"], "the same tail on the CPU"
    (block,) = python_blocks("coral.md")
    (line,) = run_block(block, folder.parent)
    assert line.startswith(("blue ", "green ", "red ")) and line.endswith(" cpu")


def test_artifact_with_the_compiler_keeps_both_files(
    run: Path, compiler: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = compiler(PARTLY.format(rows=table(EVERY_STATUS)))
    monkeypatch.setenv("PATH", str(Path(program).parent))
    options = ExportOptions(target="edgetpu", scheme="int8", name="compiled")
    folder = Path(export_artifact(run, options)["artifact"])
    manifest = parse_manifest((folder / "manifest.json").read_bytes())
    assert {"model.tflite", "model_edgetpu.tflite"} <= set(manifest.files)
    check = json.loads((folder / "check.json").read_text())
    assert (check["edgetpu"]["compiled"], check["edgetpu"]["unknown"]) == (True, 3)
    assert "2 of 93 ops are mapped" in check["findings"][0]["message"]
    assert verify(folder)["passed"], "without an Edge TPU, by the same tail on the CPU"
    # No Edge TPU here: the delegate's own words, and what to do.
    with pytest.raises(ValueError, match="libedgetpu.*install libedgetpu1-std|edgetpu"):
        load_tail_model(str(folder), 1, "edgetpu")
    assert runner_edgetpu.COMPILED_FILE in manifest.files


def test_edge_tpu_without_a_compiled_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="has no model_edgetpu.tflite: .* edgetpu_compiler on PATH"
    ):
        load_tail_model(str(tmp_path), 1, "edgetpu")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scheme": "float32"}, r"scheme='float32' does not run on target 'edgetpu'.*int8"),
        ({"scheme": "int8", "num_segments": 0}, "num_segments=0 lies outside 1 to 16"),
    ],
)
def test_what_no_edge_tpu_takes_is_refused(
    run: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ExportError, match=message):
        export_artifact(run, ExportOptions(target="edgetpu", name="bad", **options))
    assert not (run / "exports" / "bad").exists()


def test_only_edge_tpus_share_a_model(run: Path) -> None:
    with pytest.raises(ExportError, match="num_segments=2 with target='cpu': only the Edge TPU's"):
        export_artifact(run, ExportOptions(num_segments=2))
