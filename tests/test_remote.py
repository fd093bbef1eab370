"""Tests of running commands on another device through pipes: paths, files, crashes, full disks."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from boards import (
    piped_device,
    processes_with,
    python_with_runtime,
    python_without_packages,
    wait_until,
    write_script,
)

from tfpipe.devices import RunnerDiedError, remote
from tfpipe.devices.remote import RemoteDevice
from tfpipe.predict import predict
from tfpipe.run_model import run_model


@pytest.fixture
def device(tmp_path: Path) -> RemoteDevice:
    return piped_device(tmp_path / "device")


def test_results_carry_the_paths_of_the_host(
    device: RemoteDevice, tiny_artifact: Path, texts_file: Path
) -> None:
    arguments = ["bench", f"--texts={texts_file}", "--", str(tiny_artifact)]
    (result,) = device.run(arguments, time_limit_s=60)["results"]
    assert (result["artifact"], result["input_source"]) == (str(tiny_artifact), "texts")
    assert result["fingerprint"]["num_cores"] >= 1 and len(result["latencies_ns"]) > 50


def test_messages_carry_the_paths_of_the_host(device: RemoteDevice, tmp_path: Path) -> None:
    (tmp_path / "broken.tflite").write_bytes(b"no model")
    with pytest.raises(ValueError, match=rf"^piped: {tmp_path}/broken.tflite \(8 bytes\) is not"):
        device.run(["memory", "--", str(tmp_path / "broken.tflite")], time_limit_s=30)


def test_outputs_of_the_device_are_those_of_the_host(
    device: RemoteDevice, tiny_artifact: Path, texts_file: Path, tmp_path: Path
) -> None:
    there = run_model(tiny_artifact, tmp_path, texts=texts_file, device=device)
    here = run_model(tiny_artifact, tmp_path, texts=texts_file)
    np.testing.assert_array_equal(there.token_ids, here.token_ids)
    np.testing.assert_array_equal(there.outputs, here.outputs)


def test_artifact_is_sent_once(device: RemoteDevice, tiny_artifact: Path) -> None:
    device.run(["verify", "--", str(tiny_artifact)], time_limit_s=30)
    before = device.sent_bytes
    device.run(["verify", "--", str(tiny_artifact)], time_limit_s=30)
    assert device.sent_bytes - before < 4000


def test_only_the_changed_file_is_sent(
    device: RemoteDevice, make_artifact: Callable[..., Path]
) -> None:
    one, two = make_artifact("one"), make_artifact("two")  # they differ in the manifest's name
    with device.connect() as session:
        remote.upload(session, one)
        before = session.sent_bytes
        remote.upload(session, two)
        manifest = (two / "manifest.json").stat().st_size
        assert manifest < session.sent_bytes - before < manifest + 1500


def test_artifact_that_is_not_whole_is_not_sent(device: RemoteDevice, tiny_artifact: Path) -> None:
    (tiny_artifact / "labels.txt").write_text("other\n")
    with pytest.raises(ValueError, match="labels.txt has 6 bytes"):
        device.run(["verify", "--", str(tiny_artifact)], time_limit_s=30)


def test_crash_of_the_runtime_is_told(tmp_path: Path, tiny_artifact: Path) -> None:
    python = python_with_runtime(tmp_path, "os.kill(os.getpid(), signal.SIGSEGV)")
    with pytest.raises(RunnerDiedError, match=r"piped: .* was ended by SIGSEGV\. The TFLite"):
        piped_device(tmp_path / "device", python).run(
            ["verify", "--", str(tiny_artifact)], time_limit_s=30
        )


def test_runtime_that_hangs_is_ended_there(tmp_path: Path, tiny_artifact: Path) -> None:
    python = python_with_runtime(tmp_path, "time.sleep(99)")
    device = piped_device(tmp_path / "device", python)
    with pytest.raises(ValueError, match=r"took more than 2 s and was stopped"):
        device.run(["verify", "--", str(tiny_artifact)], time_limit_s=2)
    wait_until(lambda: not processes_with(str(tmp_path / "device")))


def test_device_without_a_runtime_says_so(tmp_path: Path, tiny_artifact: Path) -> None:
    device = piped_device(tmp_path / "device", python_without_packages(tmp_path))
    assert device.run(["info"], time_limit_s=30)["runtime"] is None
    with pytest.raises(ValueError, match="piped: No module named 'numpy'"):
        device.run(["verify", "--", str(tiny_artifact)], time_limit_s=30)


def test_full_disk_of_the_device_is_told(
    tmp_path: Path, tiny_artifact: Path, small_disk: Callable[[Path, int], list[str]]
) -> None:
    folder = tmp_path / "device"
    folder.mkdir()
    small = " ".join(["exec", *small_disk(folder, 131072), sys.executable])
    device = piped_device(folder, write_script(tmp_path / "python", f'{small} "$@"'))
    (tmp_path / "large.tflite").write_bytes(bytes(200_000))
    with pytest.raises(ValueError, match=r"piped: 200000 bytes do not fit into .* are free on"):
        device.run(["memory", "--", str(tmp_path / "large.tflite")], time_limit_s=30)


def test_disk_too_small_for_the_runner_is_told(
    tmp_path: Path, small_disk: Callable[[Path, int], list[str]]
) -> None:
    folder = tmp_path / "device"
    folder.mkdir()
    small = " ".join(["exec", *small_disk(folder, 16384), sys.executable])
    device = piped_device(folder, write_script(tmp_path / "python", f'{small} "$@"'))
    with pytest.raises(ValueError, match=r"piped: .*No space left on device"):
        device.run(["info"], time_limit_s=30)


def test_file_that_arrives_damaged_is_refused(
    device: RemoteDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with device.connect() as session:
        Path(session.hello["work"], "out.npz").write_bytes(b"data")
        request = session.request

        def damaged(*arguments: object, **options: object) -> tuple[dict, bytes]:
            reply, data = request(*arguments, **options)
            return reply, data[:-1]

        monkeypatch.setattr(session, "request", damaged)
        with pytest.raises(ValueError, match="out.npz arrived with another SHA-256"):
            remote.download(session, "out.npz", tmp_path / "out.npz")
    assert not (tmp_path / "out.npz").exists()


def test_texts_with_any_character_reach_the_device(
    tmp_path: Path, tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tfpipe import predict as module

    monkeypatch.setattr(module, "open_device", lambda _: piped_device(tmp_path / "device"))
    texts = ["'; rm -rf / #", '$(id) `id` \\ " \n w1', "日本語 \u2028 \x00"]
    found = predict(tiny_artifact, texts, device="ssh://board")["predictions"]
    assert [entry["text"] for entry in found] == texts


def test_device_that_is_emulated_is_called_so(tmp_path: Path) -> None:
    """As in a process of QEMU's user mode, whose name the kernel keeps."""
    start = "import sys; open('/proc/self/comm', 'w').write('qemu-aarch64-st'); "
    python = write_script(
        tmp_path / "python",
        f'[ "$1" = -c ] && exec {sys.executable} -c "{start} $2"\nexec {sys.executable} "$@"',
    )
    device = piped_device(tmp_path / "device", python)
    assert device.kind == "native"
    device.run(["info"], time_limit_s=30)
    assert device.kind == "emulated"


def test_name_of_a_file_is_made_safe() -> None:
    assert remote.plain_name(Path("a/my model (2).tflite")) == "my_model__2_.tflite"
    assert remote.plain_name(Path("-rf.jsonl")) == "rf.jsonl"
    assert remote.plain_name(Path("日.csv")) == "_.txt"


def test_digest_of_a_folder_is_of_names_and_contents() -> None:
    one = remote.digest_of({"a": b"1", "b": b"2"})
    assert one == remote.digest_of({"b": b"2", "a": b"1"})
    assert one != remote.digest_of({"a": b"2", "b": b"1"})


def test_board_with_python_3_7_is_served(
    tmp_path: Path, tiny_artifact: Path, old_python: str
) -> None:
    device = piped_device(tmp_path / "device", old_python)
    info = device.run(["info"], time_limit_s=60)
    assert info["fingerprint"]["python"].startswith("CPython 3.7.")
    if info["runtime"] is None:
        pytest.skip("that Python has no TFLite runtime")
    assert device.run(["verify", "--", str(tiny_artifact)], time_limit_s=60)["passed"] is True
