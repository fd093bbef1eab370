"""The road to an ARM board: aarch64 code of the real wheels, emulated, behind a real sshd."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sshd import SSHD, Sshd, running_sshd

from tfpipe.bench import bench
from tfpipe.deploy import deploy
from tfpipe.devices import open_device
from tfpipe.export.artifact import ExportOptions, export_artifact
from tfpipe.predict import predict
from tfpipe.train import train
from tfpipe.verify import verify

BOARD = Path(os.environ.get("TFPIPE_ARM_BOARD") or Path(__file__).parents[1] / "build/arm-board")

pytestmark = pytest.mark.skipif(
    SSHD is None or not (BOARD / "python3").is_file(),
    reason=f"sshd or {BOARD} is missing; make it with tools/make_arm_board.sh",
)


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sshd]:
    (tmp_path / "sshd").mkdir()
    with running_sshd(tmp_path / "sshd", python=str(BOARD / "python3")) as server:
        monkeypatch.setenv("TFPIPE_SSH_CONFIG", str(server.config))
        yield server


def test_board_says_that_it_is_emulated(board: Sshd) -> None:
    info = open_device(board.address).run(["info"], time_limit_s=300)
    assert info["fingerprint"]["machine"] == "aarch64"
    assert info["hardware"]["emulation"].startswith("QEMU user mode (qemu-aarch64")
    assert info["hardware"]["clusters"][0]["part"] == "0xd08"


def test_exported_model_is_verified_and_measured_on_arm_code(
    exported_run: Path, tmp_path: Path, board: Sshd
) -> None:
    artifact = exported_run / "exports" / "cpu-float32"
    placed = deploy(artifact, device=board.address)
    assert (placed["goldens"], placed["device_kind"]) == ("passed", "emulated")
    current = board.folder / ".cache/tfpipe/deployed/cpu-float32/current"
    assert (current / "model.tflite").read_bytes() == (artifact / "model.tflite").read_bytes()
    verified = verify(artifact, device=board.address)
    assert (verified["passed"], verified["device_kind"]) == (True, "emulated")
    texts = ["the sky and the sea", "rose and cherry"]
    there = predict(artifact, texts, device=board.address)["predictions"]
    here = predict(artifact, texts)["predictions"]
    for one, two in zip(there, here, strict=True):
        assert one["scores"] == pytest.approx(two["scores"], abs=1e-5)
    output = tmp_path / "out.json"
    (result,) = bench([artifact], device=board.address, profile="brief", output=output)["results"]
    assert (result["device_kind"], result["runtime"]) == ("emulated", "ai-edge-litert")
    assert (result["profile"], result["fingerprint"]["machine"]) == ("brief", "aarch64")
    assert result["num_runs"] >= 50 and result["p50_ns"] > 0


@pytest.fixture
def two_classes(tmp_path: Path, make_colours: Callable[..., Path], small_recipe: Any) -> Path:
    lines = make_colours(tmp_path / "colours.csv").read_text("utf-8").splitlines()
    data = tmp_path / "two.csv"
    data.write_text("\n".join(line for line in lines if not line.endswith(",blue")) + "\n", "utf-8")
    train(data, tmp_path / "run", recipe=small_recipe("average"))
    return tmp_path / "run"


def test_two_int8_outputs_run_on_arm_in_the_oldest_runtime(
    two_classes: Path, board: Sshd, tflite_runtime_python: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a scale for each of them has been seen to crash; see `export/convert.py`."""
    monkeypatch.setattr(
        "tfpipe.devices.local.environment_python", lambda runtime: Path(tflite_runtime_python)
    )
    exported = export_artifact(two_classes, ExportOptions(scheme="int8", runtime="oldest"))
    address = f"{board.address}?python={BOARD / 'python3-tflite-runtime'}"
    placed = deploy(exported["artifact"], device=address)
    assert (placed["goldens"], placed["device_kind"]) == ("passed", "emulated")
