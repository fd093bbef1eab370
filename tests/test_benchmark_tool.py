"""Tests of measuring with benchmark_model; adb and the tool are stand-ins that print its logs."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from boards import write_script
from click.testing import CliRunner
from test_benchmark_log import LOG_2024

from device_runner.artifact import read_artifact
from device_runner.profiles import PROFILES
from tfpipe.bench.benchmark_tool import bench_with_tool
from tfpipe.cli import cli
from tfpipe.devices import DeviceLostError
from tfpipe.devices.address import parse_address
from tfpipe.devices.phone import Phone

# In place of adb: `adb shell -T COMMAND` and `adb push FROM TO`, on this machine.
ADB = """
while [ "$1" != shell ] && [ "$1" != push ]; do shift; done
if [ "$1" = push ]; then cp "$2" "$3"; else PATH="TOOLS:$PATH" exec sh -c "$3"; fi
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The phone's folder; the phone is a shell of this machine."""
    write_script(tmp_path / "bin" / "adb", ADB.replace("TOOLS", str(tmp_path / "system")))
    getprop = 'case "$1" in ro.product.model) echo Test;; ro.build.version.release) echo 14;; esac'
    write_script(tmp_path / "system" / "getprop", getprop)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return tmp_path / "phone"


@pytest.fixture
def tool(tmp_path: Path) -> Path:
    """Stands in for benchmark_model: notes its arguments and prints a recorded log."""
    (tmp_path / "log").write_text(LOG_2024)
    return write_script(
        tmp_path / "benchmark_model", f'echo "$@" > {tmp_path}/given; cat {tmp_path}/log >&2'
    )


@pytest.fixture
def verified(tiny_artifact: Path) -> Path:
    digest = read_artifact(tiny_artifact).manifest.model_sha256
    passed = {"passed": True, "model_sha256": digest}
    (tiny_artifact / "verify.json").write_text(json.dumps(passed))
    return tiny_artifact


def test_record_has_what_the_tool_says_and_null_for_the_rest(
    folder: Path, tool: Path, verified: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.json"
    arguments = ["bench", str(verified), "--device", f"adb:0a1?folder={folder}"]
    arguments += ["--benchmark-model", str(tool), "--output", str(output)]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    (record,) = json.loads(done.stdout)["results"]
    assert (record["p50_ns"], record["num_runs"]) == (1_239_807_000, 50)
    assert (record["p90_ns"], record["peak_memory_bytes"], record["latencies_ns"]) == (
        None,
        None,
        [],
    )
    assert (record["device"], record["device_kind"]) == ("adb:0a1", "native")
    assert (record["runtime"], record["delegate"]) == ("benchmark_model", "cpu")
    assert "numerics were not verified on that phone" in record["validity_reasons"][0]
    assert record["validity"] == "degraded"
    assert (record["fingerprint"]["board"], record["fingerprint"]["os"]) == ("Test", "Android 14")
    assert json.loads(output.read_text())["results"] == [record]
    given = (tmp_path / "given").read_text()
    assert "--num_threads=1 --num_runs=100 --min_secs=1.0" in given
    assert "--input_layer_shape=1,8 " in given
    ids = Path(given.rpartition(":")[2].strip()).read_bytes()
    golden = read_artifact(verified).golden["examples"][0]["token_ids"]
    assert record["inputs_sha256"] == hashlib.sha256(b"w0 w1 w2").hexdigest()
    assert (record["mean_tokens"], record["nodes"]) == (4, None)
    assert [int.from_bytes(ids[i : i + 4], "little") for i in range(0, 32, 4)] == golden


def test_text_table_of_such_a_record_is_written(folder: Path, tool: Path, verified: Path) -> None:
    arguments = ["bench", str(verified), "--device", f"adb?folder={folder}", "--format", "text"]
    done = CliRunner().invoke(
        cli, [*arguments, "--benchmark-model", str(tool), "--output", str(folder.parent / "o")]
    )
    assert done.exit_code == 0, done.output
    assert "not verified on that phone" in done.stdout


def test_bare_model_gets_zeros(folder: Path, tool: Path, tiny_model: Any, tmp_path: Path) -> None:
    record = bench_with_tool(
        [tiny_model.path],
        f"adb?folder={folder}",
        tool,
        profile=PROFILES["quick"],
        output=tmp_path / "o",
    )
    assert record["results"][0]["input_source"] == "zeros"


def test_tool_that_fails_is_told(folder: Path, tmp_path: Path, verified: Path) -> None:
    tool = write_script(tmp_path / "benchmark_model", "echo Failed to load model >&2; exit 1")
    with pytest.raises(ValueError, match="ended with exit code 1, expected 0.*Failed to load"):
        bench_with_tool([verified], f"adb?folder={folder}", tool, profile=PROFILES["quick"])


def test_tool_for_other_cores_prints_no_summary(folder: Path, verified: Path, tool: Path) -> None:
    (tool.parent / "log").write_text("nothing")
    with pytest.raises(ValueError, match="ended without a summary.*nothing"):
        bench_with_tool([verified], f"adb?folder={folder}", tool, profile=PROFILES["quick"])


def test_other_devices_and_profiles_are_refused(tool: Path, verified: Path) -> None:
    for device, profile in (("local", "quick"), ("adb", "paced")):
        with pytest.raises(ValueError, match="expected adb with quick or mlperf"):
            bench_with_tool([verified], device, tool, profile=PROFILES[profile])


def test_model_with_other_inputs_is_refused(
    folder: Path, tool: Path, convert_tiny: Any, tmp_path: Path
) -> None:
    (tmp_path / "f.tflite").write_bytes(convert_tiny(lambda x: x * 2.0, dtype="float32"))
    with pytest.raises(ValueError, match=r"inputs are float32 \[1, 8\], expected one int32"):
        bench_with_tool(
            [tmp_path / "f.tflite"], f"adb?folder={folder}", tool, profile=PROFILES["quick"]
        )


def test_two_devices_are_wrong_usage(tool: Path, verified: Path) -> None:
    arguments = ["bench", str(verified), "--benchmark-model", str(tool)]
    done = CliRunner().invoke(cli, [*arguments, "--device", "adb:a", "--device", "adb:b"])
    assert done.exit_code == 2 and "takes one --device" in done.stderr


def board(folder: Path) -> Phone:
    return Phone(parse_address(f"adb:0a1?folder={folder}"))


def test_content_is_pushed_once(folder: Path) -> None:
    path = Path(board(folder).push(b"data", executable=True))
    assert path.read_bytes() == b"data" and os.access(path, os.X_OK)
    before = path.stat().st_mtime_ns
    board(folder).push(b"data")
    assert path.stat().st_mtime_ns == before and len(list(folder.iterdir())) == 1


def test_content_that_arrives_damaged_is_refused_and_removed(folder: Path, tmp_path: Path) -> None:
    damaged = ADB.replace('cp "$2" "$3"', 'echo other > "$3"').replace("TOOLS", "/nothing")
    write_script(tmp_path / "bin" / "adb", damaged)
    with pytest.raises(ValueError, match="4 bytes arrived with another SHA-256"):
        board(folder).push(b"data")
    assert list(folder.iterdir()) == []


def test_full_phone_is_told(folder: Path, tmp_path: Path) -> None:
    full = ADB.replace('cp "$2" "$3"', "echo 'remote No space left on device' >&2; exit 1")
    write_script(tmp_path / "bin" / "adb", full.replace("TOOLS", "/nothing"))
    with pytest.raises(ValueError, match="4 bytes could not be written .*No space left"):
        board(folder).push(b"data")


def test_phone_lost_while_pushing_is_told(folder: Path, tmp_path: Path) -> None:
    lost = ADB.replace('cp "$2" "$3"', "echo 'error: device offline' >&2; exit 1")
    write_script(tmp_path / "bin" / "adb", lost.replace("TOOLS", "/nothing"))
    with pytest.raises(DeviceLostError, match="it is not attached, or asleep"):
        board(folder).push(b"data")


def test_phone_that_is_not_there_is_told(folder: Path, tmp_path: Path) -> None:
    write_script(tmp_path / "bin" / "adb", "echo 'error: device 0a1 not found' >&2; exit 1")
    with pytest.raises(DeviceLostError, match="adb:0a1: it is not attached, or asleep"):
        board(folder).shell(["true"])


def test_command_that_hangs_is_ended(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeviceLostError, match="adb shell took more than 1 s and was ended"):
        board(folder).shell(["sleep", "99"], time_limit_s=1)
    monkeypatch.setenv("PATH", "/nothing")
    with pytest.raises(FileNotFoundError, match="adb is not installed here"):
        board(folder).shell(["true"])
