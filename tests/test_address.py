"""Tests of what a device may be called: what is understood, and what never reaches a program."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfpipe.devices import open_device
from tfpipe.devices.address import configured_names, expand_names, parse_address
from tfpipe.devices.ssh import explain_ssh, ssh_command


@pytest.fixture(autouse=True)
def no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TFPIPE_DEVICES", raising=False)
    monkeypatch.delenv("TFPIPE_SSH_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def configure(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config" / "tfpipe" / "devices.toml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def test_ssh_address_has_its_parts() -> None:
    address = parse_address("ssh://pi@raspberrypi.local:2222?python=/opt/py/bin/python3")
    assert (address.user, address.host, address.port) == ("pi", "raspberrypi.local", 2222)
    assert (address.name, address.python) == (
        "ssh://pi@raspberrypi.local:2222",
        "/opt/py/bin/python3",
    )
    bare = parse_address("ssh://board")
    assert (bare.user, bare.host, bare.port, bare.python) == ("", "board", None, "python3")
    assert parse_address("ssh://pi@[fe80::1]:22").host == "fe80::1"


def test_adb_address_has_its_serial() -> None:
    assert parse_address("adb").serial == ""
    assert parse_address("adb:192.168.0.7:5555").serial == "192.168.0.7:5555"


@pytest.mark.parametrize(
    "name",
    [
        "ssh://-oProxyCommand=touch x",
        "ssh://pi@-oProxyCommand=x",
        "ssh://-l@host",
        "ssh://host;reboot",
        "ssh://$(reboot)@host",
        "ssh://pi@host/`id`",
        "ssh://pi@host:0",
        "ssh://pi@host:65536",
        "ssh://pi@host:22 -v",
        "ssh:/host",
        "ssh://",
        "ssh://a@b@c",
        "ssh://h\nost",
        "ssh://host\n",
    ],
)
def test_ssh_address_with_odd_characters_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"device='.* is no address, expected ssh://user@host"):
        open_device(name)


@pytest.mark.parametrize("serial", ["-d", "a b", "x;reboot", "$(id)", "a\nb"])
def test_adb_serial_with_odd_characters_is_refused(serial: str) -> None:
    with pytest.raises(ValueError, match="has the serial .*, expected letters, digits"):
        open_device(f"adb:{serial}")


@pytest.mark.parametrize("python", ["-c", "python3;id", "py thon", "$(id)", "", "a'b", "a\nb"])
def test_python_with_odd_characters_is_refused(python: str) -> None:
    with pytest.raises(ValueError, match="has python=.*, expected letters, digits"):
        open_device(f"ssh://host?python={python}")


def test_unknown_setting_is_refused() -> None:
    with pytest.raises(ValueError, match="has the key 'ssh_config'. Use: folder, python"):
        open_device("ssh://host?ssh_config=/tmp/x")


def test_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"device='kitchen' is unknown. .*ssh://.*there: none"):
        open_device("kitchen")


def test_client_gets_its_options_before_the_host_and_one_safe_command() -> None:
    command = ssh_command(parse_address("ssh://pi@board:2200?python=/opt/python3"))
    end = command.index("--")
    assert command[end + 1] == "pi@board" and len(command) == end + 3
    assert command[end + 2].startswith("/opt/python3 -c 'import sys; exec(")
    assert command[command.index("-p") + 1] == "2200"
    for option in ("BatchMode=yes", "StrictHostKeyChecking=yes", "ForwardAgent=no"):
        assert command[command.index(option) - 1] == "-o"
    assert "-F" not in command


def test_configured_device_has_its_settings(tmp_path: Path) -> None:
    configure(
        tmp_path,
        '[devices.pi]\naddress = "ssh://pi@10.0.0.7"\npython = "~/venv/bin/python"\n'
        'folder = "/mnt/ssd/tfpipe"\nssh_config = "/etc/other"\n[devices.phone]\naddress = "adb"\n',
    )
    address = parse_address("pi")
    assert (address.name, address.host, address.python) == ("pi", "10.0.0.7", "~/venv/bin/python")
    assert address.folder == "/mnt/ssd/tfpipe"
    command = ssh_command(address)
    assert command[command.index("-F") + 1] == "/etc/other"
    assert configured_names() == ["pi", "phone"]
    assert parse_address("pi?python=python3.9").python == "python3.9"
    assert expand_names(["all", "local", "pi"]) == ["pi", "phone", "local"]
    assert expand_names(["pi", "local"], python="/p") == ["pi?python=/p", "local"]


def test_all_without_a_configured_device_is_refused() -> None:
    with pytest.raises(ValueError, match=r"devices=\['all'\] are none: .*devices.toml names no"):
        expand_names(["all"])


def test_named_configuration_that_is_not_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFPIPE_DEVICES", str(tmp_path / "none.toml"))
    with pytest.raises(FileNotFoundError, match=r"TFPIPE_DEVICES=.*none.toml is not there"):
        parse_address("kitchen")


def test_configuration_that_is_not_toml_is_refused(tmp_path: Path) -> None:
    configure(tmp_path, "[devices")
    with pytest.raises(ValueError, match="devices.toml is not TOML"):
        parse_address("kitchen")


@pytest.mark.parametrize(
    "text",
    [
        "[devices.pi]\npython = 'x'\n",
        "[devices.pi]\naddress = 3\n",
        "[devices.pi]\naddress = 'adb'\ncommand = 'rm'\n",
        "[devices.'a b']\naddress = 'adb'\n",
        "[devices.local]\naddress = 'adb'\n",
        "devices = 3\n",
    ],
)
def test_configuration_of_another_form_is_refused(tmp_path: Path, text: str) -> None:
    configure(tmp_path, text)
    with pytest.raises(ValueError, match=r"devices.toml: devices\..* is .*, expected texts under"):
        parse_address("kitchen")


def test_damaged_configuration_does_not_stop_what_needs_none(tmp_path: Path) -> None:
    configure(tmp_path, "[devices")
    for name in ("local", "adb", "ssh://board"):
        assert parse_address(name).name == name


def test_configuration_of_the_present_folder_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "devices.toml").write_text("[devices.pi]\naddress = 'adb'\n")
    monkeypatch.chdir(tmp_path)
    assert configured_names() == []


@pytest.mark.parametrize(
    ("code", "said", "why"),
    [
        (255, "WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!", "ssh-keygen -R"),
        (255, "Host key verification failed.", r"Connect once by hand .*: ssh -p 22 pi@board"),
        (255, "pi@board: Permission denied (publickey).", "ssh-copy-id"),
        (255, "ssh: connect to host board port 22: No route to host", "no connection"),
        (127, "sh: 1: python3: not found", "--device-python"),
        (1, "SyntaxError", "Python ended with code 1"),
    ],
)
def test_every_end_of_the_client_is_explained(code: int, said: str, why: str) -> None:
    import re

    assert re.search(why, explain_ssh(parse_address("ssh://pi@board:22"), code, said))
