"""Tests of the list of devices: what is there is described, what is not is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from boards import piped_device, python_without_packages
from click.testing import CliRunner

from tfpipe import inventory
from tfpipe.cli import cli
from tfpipe.devices.adb import Attached


@pytest.fixture(autouse=True)
def no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TFPIPE_DEVICES", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(inventory, "list_attached", lambda: [])


def test_this_machine_is_listed() -> None:
    result = CliRunner().invoke(cli, ["devices"])
    (entry,) = json.loads(result.stdout)["devices"]
    assert (entry["device"], entry["reachable"], entry["error"]) == ("local", True, None)
    assert entry["info"]["hardware"]["free_disk_bytes"] > 0
    assert entry["info"]["delegates"]["cpu"] is True


def test_configured_and_attached_are_listed_and_a_lost_one_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tfpipe").mkdir()
    text = '[devices.off]\naddress = "ssh://127.0.0.1:1"\n[devices.phone]\naddress = "adb:0a1"\n'
    (tmp_path / "tfpipe" / "devices.toml").write_text(text)
    attached = [Attached("0a1", "device", ""), Attached("0b2", "unauthorized", "")]
    monkeypatch.setattr(inventory, "list_attached", lambda: attached)
    monkeypatch.setattr(inventory, "describe_device", lambda name: {"device": name})
    found = [entry["device"] for entry in inventory.list_devices()["devices"]]
    assert found == ["local", "off", "phone", "adb:0b2"]
    monkeypatch.undo()
    entry = inventory.describe_device("ssh://127.0.0.1:1")
    assert (entry["reachable"], entry["info"]) == (False, None)
    assert "no connection" in entry["error"] or "not installed" in entry["error"]


def test_bare_device_is_described_with_what_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device: Any = piped_device(tmp_path / "device", python_without_packages(tmp_path))
    monkeypatch.setattr(inventory, "open_device", lambda _: device)
    text = inventory.format_devices(inventory.list_devices(["board"]))
    assert text.startswith("piped  native\n")
    assert "NumPy is not installed" in text and "  delegates   cpu\n" in text


def test_text_of_an_unreachable_device_says_why() -> None:
    entry = {"device": "pi", "info": None, "error": "no connection."}
    assert inventory.format_devices({"devices": [entry]}) == "pi  not reachable\n  no connection."
