"""The built wheel: what it puts into site-packages, and that it works without the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the wheel unpacked, as pip would install it."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "-q",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            str(folder),
            str(ROOT),
        ],
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run_installed(site, *arguments, cwd):
    return subprocess.run(
        [sys.executable, "-P", "-m", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(site)},
        check=False,
    )


def test_wheel_holds_two_packages_and_nothing_else(installed):
    names = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")}
    assert names == {"tfpipe", "device_runner"}
    assert not list(installed.rglob("test_*"))


def test_wheel_has_every_module_of_the_checkout(installed):
    for folder, package in (
        ("pipeline", "tfpipe"),
        ("models", "tfpipe/models"),
        ("export", "tfpipe/export"),
        ("device_runner", "device_runner"),
    ):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".toml", ".gz", ".typed", ".txt") or path.name == "NOTICE":
                relative = path.relative_to(ROOT / folder)
                assert (installed / package / relative).is_file(), path


def test_installed_package_trains_and_reports(installed, tmp_path):
    where = run_installed(installed, "tfpipe.cli", "recipe", "average", cwd=tmp_path)
    assert where.returncode == 0 and "[train]" in where.stdout
    trained = run_installed(
        installed,
        "tfpipe.cli",
        "train",
        "languages",
        "--run",
        "run",
        "--model",
        "average",
        "--set",
        "train.epochs=1",
        "--set",
        "tokenizer.kind=word",
        cwd=tmp_path,
    )
    assert trained.returncode == 0, trained.stderr
    report = run_installed(installed, "tfpipe.cli", "report", "run", cwd=tmp_path)
    assert report.returncode == 0 and (tmp_path / "run/report.html").is_file()


def test_installed_runner_stands_alone(installed, tmp_path):
    info = run_installed(installed, "device_runner", "info", cwd=tmp_path)
    assert info.returncode == 0 and '"runner_version"' in info.stdout
