"""Every code has a row in docs/check.md and a test; the command line, the runtimes, the text."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import pytest
from ai_edge_litert import schema_py_generated as schema
from click.testing import CliRunner

from tfpipe.check import check, format_check
from tfpipe.check.findings import CODES, SEVERITIES
from tfpipe.check.model import OperatorCode
from tfpipe.check.runtimes import first_release, parse_release, parse_runtime
from tfpipe.cli import cli
from tfpipe.export.pack import content_of

ROOT = Path(__file__).resolve().parents[1]


def test_documentation_has_every_code_and_no_other() -> None:
    rows = re.findall(
        r"^\| `([\w-]+)` \| (\w+) \| (.+) \| (.+) \|$",
        (ROOT / "docs" / "check.md").read_text(),
        re.M,
    )
    codes = [(name, code.severity, code.meaning, code.fix) for name, code in CODES.items()]
    assert rows == codes
    assert {code.severity for code in CODES.values()} == set(SEVERITIES)


@pytest.mark.parametrize("code", CODES)
def test_every_code_is_in_a_test(code: str) -> None:
    tests = "".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    assert f'"{code}"' in tests


@pytest.mark.parametrize(
    ("runtime", "message"),
    [
        ("tflite-runtime", r"runtime='tflite-runtime' is not known. Write NAME==VERSION"),
        ("torch==2.0", r"runtime='torch==2.0' is not known. .*'tflite-runtime'"),
        ("tflite-runtime==2.15.0", r"does not exist: tflite-runtime ended with 2.14.0. Name a"),
        ("tflite-runtime==1.5", r"is older than tflite-runtime 2.1.0, .* Name a release from"),
        ("tensorflow==newest", r"version='newest' is no release. Write it like 2.14.0"),
    ],
)
def test_unknown_runtime_is_refused(tiny_model: Any, runtime: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(tiny_model.path, runtime=runtime)


def test_unknown_target_is_refused(tiny_model: Any) -> None:
    with pytest.raises(ValueError, match=r"target='tpu' is unknown. Use one of \['cpu', 'edgetpu'"):
        check(tiny_model.path, target="tpu")


def test_newer_runtime_than_known_is_said(tiny_model: Any) -> None:
    found = check(tiny_model.path, runtime="ai-edge-litert==99.1")
    assert found["ok"]
    assert "runtime-unknown" in [entry["code"] for entry in found["findings"]]


@pytest.mark.parametrize(
    ("runtime", "op", "version", "expected"),
    [
        ("tflite-runtime", "FULLY_CONNECTED", 9, "2.3.0"),
        ("tflite-runtime", "FULLY_CONNECTED", 12, None),
        ("tensorflow", "FULLY_CONNECTED", 12, "2.17.0"),
        ("ai-edge-litert", "FULLY_CONNECTED", 12, "1.0.1"),
        ("ai-edge-litert", "FULLY_CONNECTED", 14, "2.1.0"),
        ("ai-edge-litert", "TRANSPOSE", 7, "1.2.0"),
        ("tensorflow", "BROADCAST_TO", 1, None),
        ("tensorflow", "ADD", 0, None),
        ("tensorflow", "STABLEHLO_TANH", 1, None),
    ],
)
def test_first_release_of_an_op(runtime: str, op: str, version: int, expected: str | None) -> None:
    assert first_release(runtime, OperatorCode(op, version, False)) == expected


def test_releases_are_compared_as_numbers() -> None:
    assert parse_release("2.9.1") < parse_release("2.14") == (2, 14, 0)
    assert parse_release("2.0.0rc1") == (2, 0, 0)
    assert parse_runtime("tensorflow==2.21.0").has_custom("FlexErf")


def test_artifact_is_checked_for_its_own_target(make_artifact: Callable[..., Path]) -> None:
    assert check(make_artifact())["target"] == "cpu"
    assert check(make_artifact("tpu", target="edgetpu"))["target"] == "edgetpu"
    assert check(make_artifact("onnx", target="onnx"))["target"] == "cpu"


def test_changed_artifact_is_refused(make_artifact: Callable[..., Path]) -> None:
    folder = make_artifact()
    (folder / "model.tflite").write_bytes(b"\x1c\0\0\0TFL3" + bytes(32))
    with pytest.raises(ValueError, match="model.tflite"):
        check(folder)


def test_command_prints_the_record_at_both_exit_codes(tiny_model: Any) -> None:
    path = str(tiny_model.path)
    good = CliRunner().invoke(cli, ["check", path])
    assert good.exit_code == 0 and json.loads(good.stdout)["ok"] is True
    bad = CliRunner().invoke(cli, ["check", path, "--target", "edgetpu"])
    assert bad.exit_code == 1 and json.loads(bad.stdout)["ok"] is False
    assert re.search(r"Error: .* does not run whole on edgetpu .*: target-op\. The", bad.stderr)


def test_command_says_in_one_line_what_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "empty.tflite").write_bytes(b"")
    done = CliRunner().invoke(cli, ["check", str(tmp_path / "empty.tflite")])
    assert done.exit_code == 1 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "is not a TFLite model" in done.stderr
    assert CliRunner().invoke(cli, ["check", str(tmp_path / "none.tflite")]).exit_code == 2


def test_check_imports_no_tensorflow_and_no_runtime(tiny_model: Any) -> None:
    program = (
        "import sys, tfpipe; tfpipe.check(sys.argv[1]);"
        "print(sorted(n for n in sys.modules if n.split('.')[0] in ('tensorflow', 'tf_keras')"
        " or n == 'ai_edge_litert.interpreter'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tiny_model.path], capture_output=True, text=True
    )
    assert done.stdout == "[]\n", done.stderr


def test_text_says_verdict_findings_facts_and_coverage(tiny_model: Any) -> None:
    text = format_check(check(tiny_model.path, target="edgetpu"))
    lines = text.split("\n")
    assert lines[0].startswith("does NOT load and run whole on edgetpu with ai-edge-litert==")
    assert max(map(len, lines)) <= 96
    assert "ERROR target-op: GATHER (used 1 times) does not run on edgetpu (predicted)" in text
    size = tiny_model.path.stat().st_size
    assert re.search(
        rf"^file +{size:,} bytes, [\d,]+ as zip, [\d,]+ as zstd; [\d,]+ for the graph$", text, re.M
    )
    assert re.search(r"^multiply-adds +FULLY_CONNECTED 12$", text, re.M)
    assert re.search(r"^cpu +(\d+) of \1 ops \(runtime\)$", text, re.M)
    good = format_check(check(tiny_model.path))
    assert good.startswith("loads and runs whole on cpu with ai-edge-litert==")


def test_constants_that_stand_twice_are_told(tiny_model: Any, tmp_path: Path) -> None:
    model = schema.ModelT.InitFromPackedBuf(tiny_model.path.read_bytes(), 0)
    graph = model.subgraphs[0]
    tensor = max(graph.tensors, key=lambda item: len(content_of(model.buffers[item.buffer])))
    content = model.buffers[tensor.buffer].data
    twins = []
    for dtype in (tensor.type, schema.TensorType.INT32):
        twin, buffer = copy.copy(tensor), schema.BufferT()
        twin.buffer, twin.type, buffer.data = len(model.buffers), dtype, content
        model.buffers.append(buffer)
        graph.tensors.append(twin)
        builder = flatbuffers.Builder()
        builder.Finish(model.Pack(builder), b"TFL3")
        twins.append(tmp_path / f"{dtype}.tflite")
        twins[-1].write_bytes(bytes(builder.Output()))
    assert check(tiny_model.path)["duplicate_bytes"] == 0
    assert " twice" not in format_check(check(tiny_model.path))
    same, other = map(check, twins)
    # The same bytes as another type are another constant.
    assert same["duplicate_bytes"] == other["duplicate_bytes"] == len(content) > 0
    assert f"; {len(content):,} bytes of them twice" in format_check(same)
