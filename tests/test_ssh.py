"""Tests against a real sshd on loopback: the whole way to a board, and a board that goes away."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from boards import processes_with, python_with_runtime, python_without_packages, wait_until
from click.testing import CliRunner
from sshd import SSHD, Sshd, free_port, running_sshd

from device_runner.artifact import read_artifact
from tfpipe.cli import cli
from tfpipe.deploy import deploy
from tfpipe.devices import DeviceLostError, open_device
from tfpipe.devices.remote import upload

pytestmark = pytest.mark.skipif(SSHD is None, reason="sshd is not installed (openssh-server)")


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with running_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture(autouse=True)
def use_config(sshd: Sshd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TFPIPE_SSH_CONFIG", str(sshd.config))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


@pytest.fixture
def verified(tiny_artifact: Path) -> Path:
    digest = read_artifact(tiny_artifact).manifest.model_sha256
    passed = {"passed": True, "model_sha256": digest}
    (tiny_artifact / "verify.json").write_text(json.dumps(passed))
    return tiny_artifact


@pytest.fixture
def tfpipe() -> Callable[..., Any]:
    """Runs a command in this process; returns its result and, at exit 0, its JSON."""

    def run(*arguments: object, code: int = 0) -> Any:
        result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
        assert result.exit_code == code, result.output
        return json.loads(result.stdout) if code == 0 else result.stderr

    return run


def store(sshd: Sshd) -> Path:
    return sshd.folder / ".cache" / "tfpipe"


def test_bench_on_a_board_is_a_record_of_that_board(
    sshd: Sshd, tfpipe: Callable[..., Any], verified: Path, texts_file: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.json"
    arguments = ["bench", verified, "--texts", texts_file, "--output", output]
    value = tfpipe(*arguments, "--device", sshd.address)
    (result,) = value["results"]
    assert (result["device"], result["device_kind"]) == (sshd.address, "native")
    assert result["artifact"] == str(verified) and result["p50_ns"] > 0
    assert result["peak_memory_bytes"] > 0 and "python" in result["fingerprint"]
    assert json.loads(output.read_text())["settings"]["device"] == sshd.address


def test_predict_on_a_board_is_predict_here(
    sshd: Sshd, tfpipe: Callable[..., Any], tiny_artifact: Path
) -> None:
    here = tfpipe("predict", tiny_artifact, "w1 w2", "; rm -rf /")
    assert tfpipe("predict", tiny_artifact, "--device", sshd.address, "w1 w2", "; rm -rf /") == here


def test_verify_on_a_board_runs_the_test_texts_there(
    sshd: Sshd, tfpipe: Callable[..., Any], exported_run: Path
) -> None:
    artifact = exported_run / "exports" / "cpu-float32"
    before = (artifact / "verify.json").read_bytes()
    value = tfpipe("verify", artifact, "--device", sshd.address)
    assert value["passed"] is True and value["device"] == sshd.address
    assert value["agreement"] >= 0.999 and value["num_examples"] >= 20
    assert (artifact / "verify.json").read_bytes() == before


def test_verify_takes_one_device(tfpipe: Callable[..., Any], tiny_artifact: Path) -> None:
    two = ["--device", "local", "--device", "ssh://board"]
    assert "verify takes one --device" in tfpipe("verify", tiny_artifact, *two, code=2)


def test_deploy_copies_what_changed_and_goes_back(
    sshd: Sshd, tfpipe: Callable[..., Any], make_artifact: Callable[..., Path]
) -> None:
    one, two = make_artifact("a/app"), make_artifact("b/app", variant="smaller")
    device = ["--device", sshd.address]
    first = tfpipe("deploy", one, *device)
    assert (first["goldens"], first["previous"], first["name"]) == ("passed", None, "app")
    assert tfpipe("deploy", one, *device)["sent_bytes"] < 4000
    second = tfpipe("deploy", two, *device)
    assert second["previous"] == first["current"]
    assert second["sent_bytes"] < 4000 + (two / "manifest.json").stat().st_size
    current = Path(second["path"])
    assert (current / "manifest.json").read_bytes() == (two / "manifest.json").read_bytes()
    undone = tfpipe("deploy", two, "--undo", *device)
    assert (undone["current"], undone["goldens"]) == (first["current"], None)
    assert (current / "manifest.json").read_bytes() == (one / "manifest.json").read_bytes()


def test_deploy_of_what_computes_otherwise_there_changes_nothing(
    sshd: Sshd, make_artifact: Callable[..., Path], tmp_path: Path
) -> None:
    good = make_artifact("a/steady")
    first = deploy(good, device=sshd.address)
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    python = python_with_runtime(wrong, "os.kill(os.getpid(), signal.SIGSEGV)")
    with pytest.raises(ValueError, match="was ended by SIGSEGV"):
        deploy(make_artifact("b/steady", variant="x"), device=f"{sshd.address}?python={python}")
    link = store(sshd) / "deployed" / "steady" / "current"
    assert os.path.basename(os.readlink(link)) == first["current"]


def test_deploy_without_a_runtime_there_says_that_goldens_were_not_checked(
    sshd: Sshd, make_artifact: Callable[..., Path], tmp_path: Path
) -> None:
    python = python_without_packages(tmp_path)
    made = deploy(make_artifact("bare"), device=f"{sshd.address}?python={python}")
    assert made["goldens"].startswith("not checked: NumPy is not installed")


def test_deploy_to_this_machine_is_refused(tiny_artifact: Path) -> None:
    with pytest.raises(ValueError, match="device='local' keeps no artifacts"):
        deploy(tiny_artifact, device="local")


def test_unknown_host_key_is_refused(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even when the user's configuration would take any."""
    known = sshd.folder / "known_hosts"
    (tmp_path / "empty").write_text("")
    other = sshd.config.read_text().replace(str(known), str(tmp_path / "empty"))
    (tmp_path / "config").write_text("StrictHostKeyChecking no\n" + other)
    monkeypatch.setenv("TFPIPE_SSH_CONFIG", str(tmp_path / "config"))
    with pytest.raises(DeviceLostError, match="the host key is not known. Connect once by hand"):
        open_device(sshd.address).run(["info"], time_limit_s=10)


def test_another_host_key_is_refused(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = (sshd.folder / "known_hosts").read_text().split()[0]
    key = (sshd.folder / "user.pub").read_text().split()
    (tmp_path / "other").write_text(f"{known} {key[0]} {key[1]}\n")
    config = sshd.config.read_text().replace(str(sshd.folder / "known_hosts"), f"{tmp_path}/other")
    (tmp_path / "config").write_text(config)
    monkeypatch.setenv("TFPIPE_SSH_CONFIG", str(tmp_path / "config"))
    with pytest.raises(DeviceLostError, match="the host key is another than the known one"):
        open_device(sshd.address).run(["info"], time_limit_s=10)


def test_key_that_is_not_accepted_is_told(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = sshd.config.read_text().replace(str(sshd.folder / "user"), str(sshd.folder / "host"))
    (tmp_path / "config").write_text(config)
    monkeypatch.setenv("TFPIPE_SSH_CONFIG", str(tmp_path / "config"))
    with pytest.raises(DeviceLostError, match="it accepts none of your keys"):
        open_device(sshd.address).run(["info"], time_limit_s=10)


def test_board_that_is_off_is_told() -> None:
    with pytest.raises(DeviceLostError, match="no connection, or it was cut.*Connection refused"):
        open_device(f"ssh://127.0.0.1:{free_port()}").run(["info"], time_limit_s=10)


def test_board_without_that_python_is_told(sshd: Sshd) -> None:
    with pytest.raises(DeviceLostError, match=r"/nope/python is not there .*--device-python"):
        open_device(f"{sshd.address}?python=/nope/python").run(["info"], time_limit_s=10)


def test_python_option_reaches_the_board(
    sshd: Sshd, tfpipe: Callable[..., Any], tiny_artifact: Path
) -> None:
    arguments = ["--device", sshd.address, "--device-python", "/nope/python"]
    assert "/nope/python is not there" in tfpipe("predict", tiny_artifact, *arguments, "x", code=1)


def in_thread(task: Callable[[], object]) -> tuple[threading.Thread, list[Exception]]:
    errors: list[Exception] = []

    def run() -> None:
        try:
            task()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, errors


def test_connection_cut_while_pushing_leaves_nothing_and_the_next_one_works(
    sshd: Sshd, tmp_path: Path
) -> None:
    large = tmp_path / "large.tflite"
    large.write_bytes(os.urandom(60_000_000))
    device = open_device(sshd.address)

    def push() -> None:
        with device.connect() as session:  # type: ignore[attr-defined]
            upload(session, large)

    def growing() -> bool:
        files = [path for path in (store(sshd) / "work").glob("*") if path.is_file()]
        return any(path.stat().st_size > 1_000_000 for path in files)

    thread, errors = in_thread(push)
    wait_until(growing)
    sshd.cut()
    thread.join(20)
    assert [type(error) for error in errors] == [DeviceLostError], errors
    wait_until(lambda: not list((store(sshd) / "work").iterdir()))
    assert not processes_with(str(store(sshd)))
    large.write_bytes(b"small")
    push()


def test_connection_cut_while_measuring_ends_the_measurement_there(
    sshd: Sshd, verified: Path, texts_file: Path
) -> None:
    device = open_device(sshd.address)
    arguments = ["bench", "--profile", "mlperf", f"--texts={texts_file}", "--", str(verified)]
    thread, errors = in_thread(lambda: device.run(arguments, time_limit_s=300))
    wait_until(lambda: processes_with("mlperf"))
    start = time.monotonic()
    sshd.cut()
    thread.join(20)
    assert time.monotonic() - start < 15
    assert [type(error) for error in errors] == [DeviceLostError], errors
    assert "no connection, or it was cut" in str(errors[0])
    wait_until(lambda: not processes_with("mlperf"))


def test_fleet_measures_on_all_and_tells_who_failed(
    sshd: Sshd, tfpipe: Callable[..., Any], verified: Path, texts_file: Path, tmp_path: Path
) -> None:
    off = f"ssh://127.0.0.1:{free_port()}"
    arguments = ["bench", verified, "--texts", texts_file, "--output", tmp_path / "out.json"]
    for name in (sshd.address, off, "local"):
        arguments += ["--device", name]
    assert "Connection refused" in tfpipe(*arguments, code=1)
    value = json.loads((tmp_path / "out.json").read_text())
    assert [result["device"] for result in value["results"]] == [sshd.address, "local"]
    assert [failure["device"] for failure in value["failures"]] == [off]
    assert value["settings"]["device"] == [sshd.address, off, "local"]


def test_configured_devices_are_all(
    sshd: Sshd, tfpipe: Callable[..., Any], tiny_artifact: Path, tmp_path: Path
) -> None:
    (tmp_path / "tfpipe").mkdir()
    lines = [f'[devices.{name}]\naddress = "{sshd.address}"\n' for name in ("one", "two")]
    (tmp_path / "tfpipe" / "devices.toml").write_text("".join(lines))
    value = tfpipe("deploy", tiny_artifact, "--name", "fleet", "--device", "all")
    assert [result["device"] for result in value["results"]] == ["one", "two"]
    assert value["failures"] == []
