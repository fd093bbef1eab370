"""The road to an ARM board: aarch64 code of the real wheels, emulated, behind a real sshd."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sshd import SSHD, running_sshd

from tfpipe.bench import bench
from tfpipe.deploy import deploy
from tfpipe.devices import open_device
from tfpipe.predict import predict
from tfpipe.verify import verify

BOARD = Path(os.environ.get("TFPIPE_ARM_BOARD") or Path(__file__).parents[1] / "build/arm-board")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        SSHD is None or not (BOARD / "python3").is_file(),
        reason=f"sshd or {BOARD} is missing; make it with tools/make_arm_board.sh",
    ),
]


def test_exported_model_is_verified_and_measured_on_arm_code(
    exported_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = exported_run / "exports" / "cpu-float32"
    (tmp_path / "sshd").mkdir()
    with running_sshd(tmp_path / "sshd", python=str(BOARD / "python3")) as board:
        monkeypatch.setenv("TFPIPE_SSH_CONFIG", str(board.config))
        info = open_device(board.address).run(["info"], time_limit_s=300)
        assert info["fingerprint"]["machine"] == "aarch64"
        assert info["hardware"]["emulation"].startswith("QEMU user mode (qemu-aarch64")
        assert info["hardware"]["clusters"][0]["part"] == "0xd08"
        assert deploy(artifact, device=board.address)["goldens"] == "passed"
        verified = verify(artifact, device=board.address)
        assert (verified["passed"], verified["device_kind"]) == (True, "emulated")
        texts = ["the sky and the sea", "rose and cherry"]
        there = predict(artifact, texts, device=board.address)["predictions"]
        here = predict(artifact, texts)["predictions"]
        for one, two in zip(there, here, strict=True):
            assert one["scores"] == pytest.approx(two["scores"], abs=1e-5)
        output = tmp_path / "out.json"
        (result,) = bench([artifact], device=board.address, output=output)["results"]
        assert (result["device_kind"], result["runtime"]) == ("emulated", "ai-edge-litert")
        assert result["p50_ns"] > 0
