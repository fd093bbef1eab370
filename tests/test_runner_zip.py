"""Tests of the device runner as one file: its bytes, and that it runs on every Python there is."""

from __future__ import annotations

import ast
import hashlib
import io
import json
import os
import subprocess
import sys
import tokenize
import zipfile
from pathlib import Path

import pytest

import device_runner
from tfpipe.devices.runner_zip import build_runner, runner_bytes

INFO_KEYS = {"runner_version", "fingerprint", "runtimes", "runtime", "message"}


def other_pythons() -> list[str]:
    """Programs python3.7 to python3.13 on the path or in pyenv's folder, one of each version."""
    found: dict[str, str] = {}
    folders = os.environ.get("PATH", "").split(os.pathsep)
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    folders += [str(path / "bin") for path in sorted(root.glob("versions/3.*"))]
    for minor in range(7, 14):
        for folder in folders:
            program = Path(folder) / f"python3.{minor}"
            if program.is_file() and "shims" not in folder:
                found[f"3.{minor}"] = str(program)
    return sorted(found.values())


@pytest.fixture
def runner(tmp_path: Path) -> Path:
    build_runner(tmp_path / "runner.pyz")
    return tmp_path / "runner.pyz"


def test_build_says_what_it_wrote(tmp_path: Path) -> None:
    made = build_runner(tmp_path / "runner.pyz")
    data = (tmp_path / "runner.pyz").read_bytes()
    assert made["bytes"] == len(data) < 100_000
    assert made["sha256"] == hashlib.sha256(data).hexdigest()


def test_bytes_are_the_same_in_another_process_and_folder(tmp_path: Path) -> None:
    script = (
        "import hashlib; from tfpipe.devices.runner_zip import runner_bytes;"
        "print(hashlib.sha256(runner_bytes()).hexdigest())"
    )
    environment = {**os.environ, "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True
    )
    assert done.stdout.decode().strip() == hashlib.sha256(runner_bytes()).hexdigest()


def test_entries_are_sorted_and_have_one_time() -> None:
    entries = zipfile.ZipFile(io.BytesIO(runner_bytes())).infolist()
    names = [entry.filename for entry in entries]
    assert names == sorted(names) and "device_runner/__main__.py" in names
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}


def test_code_is_that_of_the_source_line_by_line_without_its_words() -> None:
    archive = zipfile.ZipFile(io.BytesIO(runner_bytes()))
    for path in sorted(Path(device_runner.__file__).parent.glob("*.py")):
        data = archive.read(f"device_runner/{path.name}")
        source, packed = ast.parse(path.read_bytes()), ast.parse(data)
        for node in ast.walk(source):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
                node.body = node.body[1:] or node.body
        found = (ast.dump(tree, include_attributes=True) for tree in (source, packed))
        assert next(found) == next(found)
        comments = [token for token in tokens_of(data) if token.type == tokenize.COMMENT]
        assert all(token.line.split("#")[0].strip() for token in comments)


def tokens_of(data: bytes) -> list[tokenize.TokenInfo]:
    return list(tokenize.tokenize(io.BytesIO(data).readline))


@pytest.mark.parametrize("python", other_pythons() or [sys.executable])
def test_info_runs_on_every_python(python: str, runner: Path, tmp_path: Path) -> None:
    done = subprocess.run([python, runner, "info"], cwd=tmp_path, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout).keys() >= INFO_KEYS


def test_info_without_any_package_exits_0_and_says_so(runner: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-S", runner, "info"], cwd=tmp_path, capture_output=True, timeout=60
    )
    value = json.loads(done.stdout)
    assert (done.returncode, value["runtime"]) == (0, None)
    assert "NumPy is not installed" in value["message"]


def test_commands_run_from_the_one_file(
    runner: Path, tiny_artifact: Path, texts_file: Path, tmp_path: Path
) -> None:
    def run(*arguments: object) -> dict:
        done = subprocess.run(
            [sys.executable, runner, *map(str, arguments)], cwd=tmp_path, capture_output=True
        )
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout)

    assert run("verify", tiny_artifact)["passed"] is True
    assert run("predict", tiny_artifact, "w0 w1")["predictions"][0]["text"] == "w0 w1"
    assert run("bench", tiny_artifact, "--texts", texts_file)["results"][0]["p50_ns"] > 0
