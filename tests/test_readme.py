"""README's commands and Python run as they stand there, and its tables name what exists."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tfpipe.export.target import TARGETS
from tfpipe.verify import THRESHOLDS

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")


def run_in(folder: Path, command: list[str] | str) -> str:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    child = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        shell=isinstance(command, str),
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, f"{command}\n{child.stdout}\n{child.stderr}"
    return child.stdout


def test_tour_runs_as_it_stands(tmp_path):
    block = re.search(r"```console\n(.*?)```", README, re.DOTALL)
    commands = [line[2:] for line in block[1].splitlines() if line.startswith("$ ")]
    assert len(commands) >= 6
    outputs = [run_in(tmp_path, command) for command in commands]
    # Six epochs make a weak model: which of the six it says is not the point here.
    assert re.search(r'"label": "(animal|body|food|location|person|plant)"', outputs[4])
    assert (tmp_path / "runs/topics/report.html").stat().st_size > 20_000


def test_python_example_runs_as_it_stands(tmp_path):
    block = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    lines = run_in(tmp_path, [sys.executable, "-c", block[1]]).splitlines()
    accuracy, baseline = map(float, lines[0].split())
    # 0.87 is what six classes of definitions give a small model; see benchmarks/accuracy.py.
    assert accuracy > 0.85 and 0.85 < baseline < 0.95
    assert float(lines[1]) > 0.999
    assert lines[2] == "animal"


def test_schemes_table_is_the_code():
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([\d.]+) % \|$", README, re.MULTILINE)
    assert [name for name, _ in rows] == [*TARGETS["cpu"].schemes, *TARGETS["cpu"].trained_schemes]
    for name, percent in rows:
        assert float(percent) == pytest.approx(100 * THRESHOLDS[name].min_agreement)
