"""Tests of the real adb client against a small adbd: a phone's shell, and a phone that goes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from boards import processes_with, wait_until, write_script
from click.testing import CliRunner
from sshd import free_port, wait_for_port

from device_runner.artifact import read_artifact
from tfpipe.cli import cli
from tfpipe.deploy import deploy
from tfpipe.devices import DeviceLostError, adb, open_device
from tfpipe.devices.adb import Attached, explain_adb, list_attached, parse_attached
from tfpipe.devices.address import parse_address


@dataclass
class Phone:
    """A running adbd.

    Attributes:
        address: What `--device` takes, with the folder for files on the "phone".
        serial: What adb calls it.
        root: What is / for push and pull.
        process: The daemon.
    """

    address: str
    serial: str
    root: Path
    process: subprocess.Popen[bytes]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An adb server of the tests' own: a developer's one is left alone."""
    if shutil.which("adb") is None:
        pytest.skip("adb is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANDROID_ADB_SERVER_PORT", str(free_port()))
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.delenv("ANDROID_SERIAL", raising=False)
        try:
            yield
        finally:
            subprocess.run(["adb", "kill-server"], capture_output=True, timeout=30)


def port_for_adb() -> int:
    """The server takes 5554 to 5585 for emulators, and would show such a phone twice."""
    while 5550 <= (port := free_port()) <= 5590:
        pass
    return port


@pytest.fixture
def phone(server: None, tmp_path: Path) -> Iterator[Phone]:
    root, port = tmp_path / "root", port_for_adb()
    write_script(root / "system" / "bin" / "python3", f'exec {sys.executable} "$@"')
    command = [sys.executable, str(Path(__file__).with_name("adbd.py"))]
    process = subprocess.Popen([*command, "--port", str(port), "--root", str(root)])
    serial = f"127.0.0.1:{port}"
    try:
        wait_for_port(port, process, Path(os.devnull))
        subprocess.run(["adb", "connect", serial], capture_output=True, check=True, timeout=30)
        yield Phone(f"adb:{serial}?folder={root}/data/tfpipe", serial, root, process)
    finally:
        subprocess.run(["adb", "disconnect", serial], capture_output=True, timeout=30)
        process.kill()
        process.wait()


def test_bench_on_a_phone_is_a_record_of_that_phone(
    phone: Phone, tiny_artifact: Path, texts_file: Path
) -> None:
    digest = read_artifact(tiny_artifact).manifest.model_sha256
    passed = {"passed": True, "model_sha256": digest}
    (tiny_artifact / "verify.json").write_text(json.dumps(passed))
    arguments = ["bench", str(tiny_artifact), "--texts", str(texts_file), "--device", phone.address]
    output = tiny_artifact.parent / "out.json"
    result = CliRunner().invoke(cli, [*arguments, "--output", str(output)])
    assert result.exit_code == 0, result.output
    (record,) = json.loads(result.stdout)["results"]
    assert (record["device"], record["device_kind"]) == (f"adb:{phone.serial}", "native")
    assert record["p50_ns"] > 0 and record["peak_memory_bytes"] > 0


def test_deploy_to_a_phone_sends_once_and_goes_back(
    phone: Phone, make_artifact: Callable[..., Path]
) -> None:
    one, two = make_artifact("a/app"), make_artifact("b/app", variant="smaller")
    first = deploy(one, device=phone.address)
    assert first["goldens"] == "passed"
    assert deploy(one, device=phone.address)["sent_bytes"] < 4000
    second = deploy(two, device=phone.address)
    assert (
        Path(second["path"], "manifest.json").read_bytes() == (two / "manifest.json").read_bytes()
    )
    assert deploy(two, device=phone.address, undo=True)["current"] == first["current"]


def test_only_phone_needs_no_serial(phone: Phone) -> None:
    device = open_device("adb?" + phone.address.partition("?")[2])
    assert device.run(["info"], time_limit_s=60)["numpy"]


def test_phone_without_python_is_told(phone: Phone) -> None:
    device = open_device(phone.address + "&python=/data/python3")
    with pytest.raises(DeviceLostError, match="/data/python3 is not there .*--benchmark-model"):
        device.run(["info"], time_limit_s=20)


def test_phone_unplugged_while_measuring_is_told_and_left_clean(
    phone: Phone, tiny_artifact: Path, texts_file: Path
) -> None:
    arguments = ["bench", "--profile", "mlperf", f"--texts={texts_file}", "--", str(tiny_artifact)]
    errors: list[Exception] = []

    def measure() -> None:
        try:
            open_device(phone.address).run(arguments, time_limit_s=300)
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=measure)
    thread.start()
    wait_until(lambda: processes_with("mlperf"), 60)
    phone.process.send_signal(signal.SIGKILL)
    thread.join(30)
    assert [type(error) for error in errors] == [DeviceLostError], errors
    wait_until(lambda: not processes_with("mlperf"))


def test_client_that_goes_leaves_nothing_on_the_phone(
    phone: Phone, tiny_artifact: Path, texts_file: Path
) -> None:
    arguments = ["bench", "--profile", "mlperf", f"--texts={texts_file}", "--", str(tiny_artifact)]
    script = (
        "import sys; from tfpipe.devices import open_device;"
        "open_device(sys.argv[1]).run(sys.argv[2:], time_limit_s=300)"
    )
    host = subprocess.Popen(
        [sys.executable, "-c", script, phone.address, *arguments], stderr=subprocess.DEVNULL
    )
    runner = str(phone.root / "data")
    wait_until(lambda: [pid for pid in processes_with(runner) if pid != host.pid], 60)
    host.kill()
    host.wait()
    wait_until(lambda: not processes_with(runner))


def test_phone_that_is_not_attached_is_told(server: None) -> None:
    with pytest.raises(DeviceLostError, match="adb:nothing-1: it is not attached, or asleep"):
        open_device("adb:nothing-1").run(["info"], time_limit_s=20)


def test_attached_phones_are_listed(phone: Phone) -> None:
    assert Attached(phone.serial, "device", "Test_Phone") in list_attached()


def test_list_of_a_real_adb_is_understood() -> None:
    text = (
        "* daemon not running; starting now at tcp:5037\n* daemon started successfully\n"
        "List of devices attached\n"
        "2A111FDH200BQV         device usb:1-1 product:oriole model:Pixel_6 device:oriole "
        "transport_id:1\n"
        "R58M12ABCDE            unauthorized usb:1-2 transport_id:2\n"
        "192.168.0.7:5555       offline transport_id:3\n\n"
    )
    assert parse_attached(text) == [
        Attached("2A111FDH200BQV", "device", "Pixel_6"),
        Attached("R58M12ABCDE", "unauthorized", ""),
        Attached("192.168.0.7:5555", "offline", ""),
    ]


def test_without_adb_nothing_is_attached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert list_attached() == []


def test_adb_that_fails_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_script(tmp_path / "adb", "echo broken >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(ValueError, match="`adb devices` ended with exit code 1, .*broken"):
        list_attached()


def test_adb_that_hangs_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_script(tmp_path / "adb", "exec sleep 99")
    monkeypatch.setattr(adb, "_LIST_LIMIT_S", 0.3)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(ValueError, match="`adb devices` took more than 0 s, the limit"):
        list_attached()


@pytest.mark.parametrize(
    ("code", "said", "why"),
    [
        (1, "error: device unauthorized.", "accept the key"),
        (1, "error: more than one device/emulator", "adb:SERIAL"),
        (1, "error: no devices/emulators found", "none is attached"),
        (1, "error: device 'x' not found", "not attached"),
        (1, "error: device offline", "not attached, or asleep"),
        (127, "/system/bin/sh: python3: inaccessible or not found", "Android brings no Python"),
        (1, "", "the connection was cut"),
    ],
)
def test_every_end_of_the_client_is_explained(code: int, said: str, why: str) -> None:
    assert why in explain_adb(parse_address("adb:x"), code, said)


def test_command_names_the_phone_and_nothing_else() -> None:
    command: list[Any] = adb.adb_command(parse_address("adb:0a1?python=/data/local/tmp/py"))
    assert command[:5] == ["adb", "-s", "0a1", "shell", "-T"] and len(command) == 6
    assert command[5].startswith("exec /data/local/tmp/py -c 'import sys;")
