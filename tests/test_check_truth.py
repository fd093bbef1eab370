"""Verdicts of `tfpipe check` on files of many kinds, against what the real runtimes do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tfpipe.check import check
from tfpipe.check.parse import read_model

HERE = Path(__file__).parent
LITERT = "ai-edge-litert==2.3.0"
TFLITE = "tflite-runtime==2.14.0"
BUILTIN, TYPE = schema.BuiltinOperator, schema.TensorType
Edit = Callable[[Any], None]
# The runtime runs these and gives something else than their model: `check` calls that an error.
WRONG = {"order-swapped"}


def first(model: Any, name: str) -> Any:
    """The first op of that name in the first graph."""
    code = getattr(BUILTIN, name)
    indices = [i for i, entry in enumerate(model.operatorCodes) if entry.builtinCode == code]
    return next(op for op in model.subgraphs[0].operators if op.opcodeIndex in indices)


def weights(model: Any) -> Any:
    """The dense layer's matrix."""
    return model.subgraphs[0].tensors[first(model, "FULLY_CONNECTED").inputs[1]]


def set_code(model: Any, code: int, name: str | None = None, version: int = 1) -> None:
    entry = model.operatorCodes[0]
    entry.builtinCode, entry.deprecatedBuiltinCode = code, min(code, 127)
    entry.customCode, entry.version = name, version


def add_code(model: Any, code: int, name: str | None = None, version: int = 1) -> None:
    model.operatorCodes.append(schema.OperatorCodeT())
    entry = model.operatorCodes[-1]
    entry.builtinCode, entry.deprecatedBuiltinCode = code, min(code, 127)
    entry.customCode, entry.version = name, version


def add_tensor(model: Any, dtype: int) -> None:
    tensor = schema.TensorT()
    tensor.type, tensor.shape, tensor.buffer = dtype, [4], 0
    model.subgraphs[0].tensors.append(tensor)


def resize(model: Any, by: int) -> None:
    """Cuts or lengthens the matrix's content."""
    buffer = model.buffers[weights(model).buffer]
    data = bytes(buffer.data)
    buffer.data = np.frombuffer(data[:by] if by < 0 else data + bytes(by), np.uint8)


def set_data(model: Any, data: Any) -> None:
    model.buffers[weights(model).buffer].data = data


def swap_order(model: Any) -> None:
    model.subgraphs[0].operators.reverse()


def write_nothing(model: Any) -> None:
    model.subgraphs[0].operators.pop()


def loop_to(model: Any, index: int) -> None:
    first(model, "WHILE").builtinOptions.bodySubgraphIndex = index


def quantize(model: Any, **changes: Any) -> None:
    tensor = weights(model)
    for name, value in changes.items():
        setattr(tensor.quantization, name, value)


# name: (file of the zoo, edit, code of the finding or None where nothing is wrong).
EDITS: dict[str, tuple[str, Edit, str | None]] = {
    "version-99": (
        "dense-float32",
        lambda m: set_code(m, BUILTIN.FULLY_CONNECTED, version=99),
        "op-unknown",
    ),
    "version-13": (
        "dense-float32",
        lambda m: set_code(m, BUILTIN.FULLY_CONNECTED, version=13),
        None,
    ),
    "code-30000": ("dense-float32", lambda m: set_code(m, 30_000), "op-unknown"),
    "code-without-kernel": (
        "dense-float32",
        lambda m: set_code(m, BUILTIN.STABLEHLO_TANH),
        "op-unknown",
    ),
    "flex-named": ("dense-float32", lambda m: set_code(m, BUILTIN.CUSTOM, "FlexErf"), "flex-op"),
    "custom-named": ("dense-float32", lambda m: set_code(m, BUILTIN.CUSTOM, "MyOp"), "custom-op"),
    "edgetpu-named": (
        "dense-int8",
        lambda m: set_code(m, BUILTIN.CUSTOM, "edgetpu-custom-op"),
        "edgetpu-compiled",
    ),
    "unused-new-op": (
        "dense-float32",
        lambda m: add_code(m, BUILTIN.ADD, version=99),
        "op-unknown",
    ),
    "unused-flex": ("dense-float32", lambda m: add_code(m, BUILTIN.CUSTOM, "FlexErf"), None),
    "no-weights": ("dense-float32", lambda m: set_data(m, None), "constant-missing"),
    "empty-weights": (
        "dense-float32",
        lambda m: set_data(m, np.zeros(0, np.uint8)),
        "constant-size",
    ),
    "short-weights": ("dense-float32", lambda m: resize(m, -4), "constant-size"),
    "short-int8-weights": ("dense-int8", lambda m: resize(m, -1), "constant-size"),
    "input-out-of-range": (
        "dense-float32",
        lambda m: setattr(first(m, "FULLY_CONNECTED"), "inputs", [99, 1, 2]),
        "tensor-index",
    ),
    "output-out-of-range": (
        "dense-float32",
        lambda m: setattr(first(m, "SOFTMAX"), "outputs", [99]),
        "tensor-index",
    ),
    "graph-output-out-of-range": (
        "dense-float32",
        lambda m: setattr(m.subgraphs[0], "outputs", [77]),
        "tensor-index",
    ),
    "order-swapped": ("dense-float32", swap_order, "tensor-unset"),
    "output-unwritten": ("dense-float32", write_nothing, "tensor-unset"),
    "schema-2": ("dense-float32", lambda m: setattr(m, "version", 2), "schema-version"),
    "constant-variable": (
        "dense-float32",
        lambda m: setattr(weights(m), "isVariable", True),
        "constant-variable",
    ),
    "type-99": ("dense-float32", lambda m: add_tensor(m, 99), "tensor-type"),
    "negative-size": (
        "dense-float32",
        lambda m: setattr(m.subgraphs[0].tensors[0], "shape", [-1, 16]),
        "tensor-shape",
    ),
    "scales-without-zero-points": (
        "dense-int8",
        lambda m: quantize(m, zeroPoint=None),
        "quantization-parameters",
    ),
    "too-many-scales": (
        "dense-int8",
        lambda m: quantize(m, scale=[1.0] * 3, zeroPoint=[0] * 3),
        "quantization-parameters",
    ),
    "dimension-9": (
        "dense-int8",
        lambda m: quantize(m, quantizedDimension=9),
        "quantization-parameters",
    ),
    "loop-to-nowhere": ("loop", lambda m: loop_to(m, 9), "subgraph-index"),
    "no-metadata": ("dense-float32", lambda m: setattr(m, "metadata", None), None),
    "no-names": (
        "dense-float32",
        lambda m: [setattr(t, "name", None) for t in m.subgraphs[0].tensors],
        None,
    ),
}
# Two runtimes do different things with these: (file, edit, code on LiteRT, code on tflite-runtime).
DIFFERENT: dict[str, tuple[str, Edit, str | None, str | None]] = {
    "version-12": (
        "dense-float32",
        lambda m: set_code(m, BUILTIN.FULLY_CONNECTED, version=12),
        None,
        "op-version",
    ),
    "long-weights": ("dense-float32", lambda m: resize(m, 4), None, "constant-size"),
    "bfloat16": ("dense-float32", lambda m: add_tensor(m, TYPE.BFLOAT16), None, "tensor-type"),
    "int2": ("dense-float32", lambda m: add_tensor(m, TYPE.INT2), None, "tensor-type"),
}
# What must be found in the files as the converter wrote them: {file: codes beyond none}.
EXPECTED = {
    "average-guard": {"embedding-guard"},
    "branch": {"control-flow"},
    "counter": {"control-flow"},
    "custom": {"custom-op"},
    "dynamic-batch": {"dynamic-shape"},
    "dynamic-length": {"dynamic-shape"},
    "flex": {"flex-op"},
    "hash-table": {"control-flow"},
    "int16x8": {"min-runtime-understated"},
    "keras-3": {"embedding-guard"},
    "keras-3-weightless": {"variable-unset"},
    "layer-norm-int16x8": {"min-runtime-understated", "op-type"},
    "loop": {"control-flow"},
    "lstm": {"variable-tensor"},
    "two-signatures": {"several-signatures"},
}


def write_edited(source: Path, target: Path, edit: Edit) -> None:
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(source.read_bytes(), 0))
    edit(model)
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    target.write_bytes(bytes(builder.Output()))


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """{name: file} of every kind of model and of every edit."""
    folder = tmp_path_factory.mktemp("zoo")
    # TF-MOT sets it in its process for good; some of the files are Keras 3's.
    kept = {key: value for key, value in os.environ.items() if key != "TF_USE_LEGACY_KERAS"}
    done = subprocess.run(
        [sys.executable, "-P", HERE / "tflite_zoo.py", folder],
        env={**kept, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_NUM_INTRAOP_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    made = {path.stem: path for path in folder.glob("*.tflite")}
    assert done.returncode == 0 and len(made) >= 45, done.stderr[-3000:]
    for name, (source, edit, *_) in {**EDITS, **DIFFERENT}.items():
        write_edited(made[source], folder / f"{name}.tflite", edit)
        made[name] = folder / f"{name}.tflite"
    return made


def ask(python: str, zoo: dict[str, Path]) -> dict[str, dict[str, Any]]:
    """What a real runtime does with each file."""
    done = subprocess.run(
        [python, HERE / "tflite_truth.py"],
        input=json.dumps([str(path) for path in zoo.values()]),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answers = json.loads(done.stdout)
    return {name: answers[str(path)] for name, path in zoo.items()}


@pytest.fixture(scope="session")
def litert(zoo: dict[str, Path]) -> dict[str, dict[str, Any]]:
    return ask(sys.executable, zoo)


def compare(zoo: dict[str, Path], truth: dict[str, Any], runtime: str) -> dict[str, str]:
    """The files where verdict and runtime differ, and how."""
    wrong = {}
    for name, path in zoo.items():
        found = check(path, target="cpu", runtime=runtime)
        expected = truth[name]["ok"] and name not in WRONG
        if found["ok"] != expected:
            errors = [entry["message"] for entry in found["findings"]]
            wrong[name] = f"ok={found['ok']} {errors}; the runtime: {truth[name].get('error')}"
    return wrong


def test_no_false_verdict_against_litert(zoo: dict[str, Path], litert: dict[str, Any]) -> None:
    assert len(zoo) >= 75
    assert compare(zoo, litert, LITERT) == {}
    verdicts = [answer["ok"] for answer in litert.values()]
    assert min(verdicts.count(True), verdicts.count(False)) > 20


def test_no_false_verdict_against_tflite_runtime(
    zoo: dict[str, Path], tflite_runtime_python: str
) -> None:
    assert compare(zoo, ask(tflite_runtime_python, zoo), TFLITE) == {}


def test_files_that_run_wrongly_give_other_results(litert: dict[str, Any]) -> None:
    for name in WRONG:
        assert litert[name]["ok"]
        assert litert[name]["outputs"] != litert[EDITS[name][0]]["outputs"], name


@pytest.mark.parametrize("name", [*EDITS, *DIFFERENT])
def test_edit_is_found_by_its_code(zoo: dict[str, Path], name: str) -> None:
    expected = EDITS[name][2:] * 2 if name in EDITS else DIFFERENT[name][2:]
    for runtime, code in zip((LITERT, TFLITE), expected, strict=True):
        if runtime == TFLITE and name == "version-13":
            code = "op-version"
        found = check(zoo[name], target="cpu", runtime=runtime)
        errors = {e["code"] for e in found["findings"] if e["severity"] == "error"}
        assert code in errors if code else not errors
        assert all(entry["fix"] and entry["message"] for entry in found["findings"])


def test_converted_files_have_the_findings_that_they_should(zoo: dict[str, Path]) -> None:
    originals = zoo.keys() - EDITS.keys() - DIFFERENT.keys()
    found = {name: check(zoo[name], runtime=LITERT)["findings"] for name in originals}
    codes = {name: {e["code"] for e in entries} for name, entries in found.items() if entries}
    assert codes == EXPECTED


def test_per_channel_dense_needs_a_newer_runtime_than_per_tensor(zoo: dict[str, Path]) -> None:
    channel, tensor = check(zoo["wide-dynamic"]), check(zoo["wide-dynamic-per_tensor"])
    assert channel["min_runtime"] == "2.17.0" and tensor["min_runtime"] == "2.3.0"
    assert channel["min_runtimes"]["tflite-runtime"] is None
    refused = check(zoo["wide-dynamic"], runtime=TFLITE)
    assert [entry["code"] for entry in refused["findings"]] == ["op-version"]
    assert "FULLY_CONNECTED version 12" in refused["findings"][0]["message"]
    assert "--runtime tflite-runtime==2.14.0" in refused["findings"][0]["fix"]


def test_binary_int8_head_is_warned_of_on_tflite_runtime(zoo: dict[str, Path]) -> None:
    found = check(zoo["two-outputs"], runtime=TFLITE)
    assert found["ok"] and [e["code"] for e in found["findings"]] == ["dense-two-outputs"]
    assert check(zoo["two-outputs-per-tensor"], runtime=TFLITE)["findings"] == []
    assert check(zoo["two-outputs"], runtime=LITERT)["findings"] == []


def measured_arena(path: Path, places: dict[str, list[int]]) -> int:
    """Bytes from the first to the last that the interpreter's own tensors take."""
    tensors = read_model(path.read_bytes()).graphs[0].tensors
    own = [places[str(tensor.index)] for tensor in tensors if tensor.data is None]
    return max(start + size for start, size in own) - min(start for start, _ in own)


EXACT = """
argmax-int64 cumsum dense-dynamic dense-float32 dense-int8 depthwise gelu image layer-norm
one-hot power random reverse strided-slice top-k transpose-split two-outputs unrolled unrolled-int8
up""".split()


@pytest.mark.parametrize("name", EXACT)
def test_arena_estimate_is_that_of_the_interpreter(
    zoo: dict[str, Path], litert: dict[str, Any], name: str
) -> None:
    expected = measured_arena(zoo[name], litert[name]["places"])
    assert check(zoo[name])["arena_bytes"] == expected


@pytest.mark.parametrize("name", ["attention", "average", "text-cnn", "wide-dynamic", "lstm"])
def test_arena_estimate_is_a_lower_bound_where_ops_ask_for_more(
    zoo: dict[str, Path], litert: dict[str, Any], name: str
) -> None:
    expected = measured_arena(zoo[name], litert[name]["places"])
    assert 0.3 * expected <= check(zoo[name])["arena_bytes"] <= expected


def test_multiply_adds_are_those_counted_by_hand(zoo: dict[str, Path]) -> None:
    expected = {
        "dense-float32": {"FULLY_CONNECTED": 16 * 4},
        "attention": {"FULLY_CONNECTED": 2 * 8 * 16 * 16, "BATCH_MATMUL": 2 * 8 * 8 * 16},
        "text-cnn": {"CONV_2D": 8 * 3 * 16 * 8, "FULLY_CONNECTED": 8 * 4},
        "image": {"CONV_2D": 4 * 4 * 4 * 3 * 3 * 3},
        "depthwise": {"DEPTHWISE_CONV_2D": 8 * 8 * 3 * 3 * 3},
        "up": {"TRANSPOSE_CONV": 8 * 8 * 3 * 2 * 2 * 4},
        "unrolled": {"FULLY_CONNECTED": 4 * 16 * 64 * 2 - 16 * 64},
        "lstm": {"UNIDIRECTIONAL_SEQUENCE_LSTM": 8 * 4 * 6 * (5 + 6), "FULLY_CONNECTED": 6 * 3},
        "gelu": {},
    }
    for name, counts in expected.items():
        found = check(zoo[name])
        assert found["multiply_adds"] == counts, name
        assert not found["loops"]
        assert not found["branches"]
    assert check(zoo["loop"])["loops"] and check(zoo["branch"])["branches"]


def target_codes(path: Path, target: str) -> set[str]:
    """The errors on one target."""
    found = check(path, target=target, runtime=LITERT)
    return {entry["code"] for entry in found["findings"] if entry["severity"] == "error"}


@pytest.mark.parametrize(
    ("name", "target", "codes"),
    [
        ("average", "gpu", set()),
        ("average-int8", "gpu", set()),
        ("unrolled", "gpu", set()),
        ("average-rank-2", "gpu", {"target-op"}),
        ("keras-3", "gpu", {"target-op"}),
        ("loop", "gpu", {"control-flow", "target-op"}),
        ("lstm", "gpu", {"target-op", "variable-tensor"}),
        ("dynamic-batch", "gpu", set()),
        ("dense-int8", "edgetpu", set()),
        ("dense-float32", "edgetpu", {"target-op"}),
        ("average-int8", "edgetpu", {"target-op"}),
        ("dynamic-batch", "edgetpu", {"dynamic-shape", "target-op"}),
        ("edgetpu-named", "edgetpu", set()),
        ("average", "web", set()),
        ("dense-int8", "web", {"target-io"}),
        ("dense-int8-float_io", "web", set()),
        ("lstm", "web", {"variable-tensor"}),
        ("average", "mediapipe", {"metadata-missing"}),
        ("dense-float32", "mediapipe", {"metadata-missing", "target-io"}),
        ("dense-int8", "mediapipe", {"metadata-missing", "target-io"}),
        (
            "loop",
            "mediapipe",
            {"control-flow", "metadata-missing", "several-subgraphs", "target-io"},
        ),
    ],
)
def test_target_refuses_what_its_runtime_refuses(
    zoo: dict[str, Path], name: str, target: str, codes: set[str]
) -> None:
    assert target_codes(zoo[name], target) == codes


def test_coverage_gives_the_reason_of_each_op(zoo: dict[str, Path]) -> None:
    found = check(zoo["average-rank-2"])["coverage"]
    assert found["gpu"]["refused"] == [
        {"op": "GATHER", "count": 1, "reason": "Only support 1D indices"}
    ]
    assert found["gpu"]["basis"] == "source" and found["edgetpu"]["basis"] == "prediction"
    ops = sum(check(zoo["average-rank-2"])["ops"].values())
    assert found["cpu"] == {"runs": ops, "refused": [], "basis": "runtime"}
    assert found["gpu"]["runs"] == ops - 1
    old = check(zoo["wide-dynamic"], runtime=TFLITE)["coverage"]["cpu"]["refused"]
    assert old[0]["reason"] == "version 12 is not in tflite-runtime==2.14.0"


def test_floats_in_a_quantized_file_are_found(zoo: dict[str, Path], tmp_path: Path) -> None:
    """A second, large constant that stayed float."""

    def add_floats(model: Any) -> None:
        model.buffers.append(schema.BufferT())
        model.buffers[-1].data = np.zeros(8000, np.uint8)
        tensor = schema.TensorT()
        tensor.type, tensor.shape, tensor.buffer = TYPE.FLOAT32, [2000], len(model.buffers) - 1
        tensor.name = "table"
        model.subgraphs[0].tensors.append(tensor)

    write_edited(zoo["wide-dynamic"], tmp_path / "floats.tflite", add_floats)
    (entry,) = check(tmp_path / "floats.tflite")["findings"]
    assert entry["code"] == "float-left" and entry["severity"] == "warning"
    assert "8000 bytes (80% of the large constants)" in entry["message"]
    assert "(table, float32 [2000])" in entry["message"]


def test_file_without_ops_and_file_with_an_unused_one_are_noted(
    zoo: dict[str, Path], tmp_path: Path
) -> None:
    def drop_ops(model: Any) -> None:
        model.subgraphs[0].operators = []
        model.subgraphs[0].outputs = model.subgraphs[0].inputs

    write_edited(zoo["dense-float32"], tmp_path / "none.tflite", drop_ops)
    codes = {entry["code"] for entry in check(tmp_path / "none.tflite")["findings"]}
    assert codes == {"no-ops", "unused-op-code"}


def test_largest_shapes_are_planned_in_a_second() -> None:
    """An unrolled recurrence of 3,000 steps: the plan must not be quadratic in Python."""
    from tfpipe.check.memory import Arena

    arena = Arena(9000)
    for number in range(9000):
        arena.place(64, number, number + 2)
    assert arena.peak_bytes == 3 * 64


SWIFTSHADER = Path("/usr/lib/chromium/vk_swiftshader_icd.json")
# Compiles each file for the GPU, and says which are taken whole.
ACCELERATE = """
import json, sys
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.hardware_accelerator import HardwareAccelerator as Hardware
whole = {}
for path in sys.argv[1:]:
    try:
        kind = Hardware.GPU | Hardware.CPU
        whole[path] = CompiledModel.from_file(path, hardware_accel=kind).is_fully_accelerated()
    except RuntimeError:
        whole[path] = False
print("RESULT" + json.dumps(whole))
"""


def test_gpu_verdict_is_that_of_the_accelerator(zoo: dict[str, Path], tmp_path: Path) -> None:
    if not SWIFTSHADER.is_file():
        pytest.skip("Chromium's software Vulkan driver is not installed")
    (tmp_path / "libvulkan.so.1").symlink_to(SWIFTSHADER.with_name("libvulkan.so.1"))
    names = """argmax-int64 attention-int8 average average-rank-2 cumsum dynamic-batch keras-3 loop
    lstm reverse strided-slice text-cnn top-k unrolled-int8""".split()
    done = subprocess.run(
        [sys.executable, "-c", ACCELERATE, *(zoo[name] for name in names)],
        env={
            **os.environ,
            "LD_LIBRARY_PATH": str(tmp_path),
            "VK_ICD_FILENAMES": str(SWIFTSHADER),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answers = json.loads(done.stdout.partition("RESULT")[2].split("\n")[0])
    whole = {name: answers[str(zoo[name])] for name in names}
    assert {name: check(zoo[name], target="gpu")["ok"] for name in names} == whole
    assert 0 < sum(whole.values()) < len(names)
