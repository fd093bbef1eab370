"""Tests of the connection to a device: what a broken, hanging or babbling one costs the host."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from boards import piped_device, processes_with, write_script

from tfpipe.devices import DeviceLostError
from tfpipe.devices import session as session_module
from tfpipe.devices.session import Session

CODE = "import sys; exec(sys.stdin.buffer.readline())"
# Stands in for the device's Python: reads the loader, knows the mark, and answers `TEXT`.
ANSWER = """
import re, sys, time
line = sys.stdin.buffer.readline()
mark = re.search(r"tfpipe-[0-9a-f]{16}:", line.decode()).group()
TEXT
"""


@pytest.fixture
def connect(tmp_path: Path) -> Callable[..., Session]:
    def connect(*command: str, limit_s: float = 20.0) -> Session:
        return Session(
            "board",
            command or [sys.executable, "-c", CODE],
            folder=str(tmp_path / "device"),
            explain=lambda code, said: f"ended with {code}.",
            start_limit_s=limit_s,
        )

    return connect


def answering(text: str) -> list[str]:
    return [sys.executable, "-c", ANSWER.replace("TEXT", text)]


def test_runner_is_sent_once_and_says_what_the_device_is(
    connect: Callable[..., Session], tmp_path: Path
) -> None:
    with connect() as first:
        assert first.sent_bytes > 30_000
        assert first.hello["folder"] == str(tmp_path / "device")
        assert first.hello["emulation"] is None and first.hello["free_bytes"] > 0
    with connect() as second:
        assert second.sent_bytes < 2500


def test_damaged_runner_is_sent_again(connect: Callable[..., Session]) -> None:
    with connect() as first:
        path = Path(first.runner)
    path.write_bytes(path.read_bytes()[:-1])
    with connect() as second:
        assert second.sent_bytes > 30_000


def test_greeting_of_the_shell_is_skipped(connect: Callable[..., Session], tmp_path: Path) -> None:
    python = write_script(
        tmp_path / "python", f'echo Welcome; printf "no line end"\nexec {sys.executable} "$@"'
    )
    with connect(str(python), "-c", CODE) as session:
        assert session.request({"op": "have", "sha256": ["0" * 64]})[0]["missing"] == ["0" * 64]


def test_session_leaves_nothing_running_and_no_work(
    connect: Callable[..., Session], tmp_path: Path
) -> None:
    with connect() as session:
        work = Path(session.hello["work"])
        assert work.is_dir()
    assert not work.exists()
    assert not processes_with(str(tmp_path / "device"))


def test_device_without_python_is_explained(connect: Callable[..., Session]) -> None:
    with pytest.raises(DeviceLostError, match=r"board: ended with 127\. It said: .*not found"):
        connect("sh", "-c", "no-such-python -c x")


def test_client_that_is_not_installed_is_an_error(tmp_path: Path) -> None:
    device = piped_device(tmp_path)
    device._command = ["ssh-of-nobody"]
    from tfpipe.devices import remote

    remote._PACKAGES["ssh-of-nobody"] = "openssh-client"
    try:
        with pytest.raises(FileNotFoundError, match="ssh-of-nobody is not installed here.*apt"):
            device.run(["info"], time_limit_s=1)
    finally:
        del remote._PACKAGES["ssh-of-nobody"]


def test_device_that_says_nothing_is_given_up(connect: Callable[..., Session]) -> None:
    start = time.monotonic()
    with pytest.raises(DeviceLostError, match="board did not answer in time and was given up"):
        connect("sh", "-c", "exec cat 3>&1 >/dev/null", limit_s=1.0)
    assert time.monotonic() - start < 30


def test_device_that_ignores_the_end_is_killed(
    connect: Callable[..., Session], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(session_module, "_GRACE_S", 0.2)
    with pytest.raises(DeviceLostError, match="did not answer in time"):
        connect(sys.executable, "-c", "import time; time.sleep(99)", str(tmp_path), limit_s=0.5)
    assert not processes_with(str(tmp_path))


def test_device_that_takes_no_bytes_is_given_up(
    connect: Callable[..., Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "STALL_LIMIT_S", 0.3)
    monkeypatch.setattr(session_module, "_GRACE_S", 0.2)
    asks = "print(mark + '{\"need\": 1}', flush=True); time.sleep(99)"
    monkeypatch.setattr(session_module, "runner_bytes", lambda: bytes(1 << 21))
    with pytest.raises(DeviceLostError, match=r"\d+ bytes left to send, and none moved for 0 s"):
        connect(*answering(asks))


@pytest.mark.parametrize(
    "answer", ["{", "[]", "3", '{"bytes": -1}', '{"bytes": 1e99}', '{"bytes": "x"}', "\\xff"]
)
def test_garbage_in_place_of_an_answer_is_told(
    connect: Callable[..., Session], answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "_GRACE_S", 0.2)
    with pytest.raises(DeviceLostError, match=r"board answered b'.*', expected JSON"):
        connect(*answering(f"print(mark + {answer!r}, flush=True); time.sleep(9)"))


def test_endless_garbage_is_stopped(
    connect: Callable[..., Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "_MAX_LINE_BYTES", 1 << 16)
    with pytest.raises(DeviceLostError, match="board answered b'y.*and more, expected the runner"):
        connect("yes")


def test_message_of_the_device_is_passed_on(connect: Callable[..., Session]) -> None:
    with connect() as session:
        with pytest.raises(ValueError, match="board: name='../x', expected a plain name"):
            session.request({"op": "deploy", "name": "../x", "digest": "0" * 64})
        assert session.request({"op": "have", "sha256": []})[0] == {"missing": []}


def test_unknown_request_is_refused(connect: Callable[..., Session]) -> None:
    with connect() as session, pytest.raises(ValueError, match="board: 'format'"):
        session.request({"op": "format"})


def test_too_old_python_is_told(connect: Callable[..., Session], tmp_path: Path) -> None:
    fake = "import sys; sys.version_info = (3, 6); sys.version = '3.6.15'; exec(sys.argv[-1])"
    python = write_script(tmp_path / "python", f'exec {sys.executable} -c "{fake}" "$@"')
    with pytest.raises(ValueError, match=r"board: Python 3\.6\.15 is there, expected 3\.7"):
        connect(str(python), "-c", CODE)


def test_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"piped: .*Not a directory"):
        piped_device(tmp_path / "file" / "folder").run(["info"], time_limit_s=5)


def test_store_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "objects").write_text("")
    with pytest.raises(ValueError, match=r"piped: .*File exists.*objects"):
        piped_device(tmp_path).run(["info"], time_limit_s=5)
