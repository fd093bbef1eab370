"""The pages of docs/deploy: their Python runs as it stands, and what they link to exists."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import LABELS

DEPLOY = Path(__file__).parent.parent / "docs" / "deploy"
PAGES = sorted(DEPLOY.glob("*.md"))


def python_blocks(page: str) -> list[str]:
    """The Python of a page, block by block."""
    return re.findall(r"```python\n(.*?)```", (DEPLOY / page).read_text("utf-8"), re.DOTALL)


def run_block(code: str, folder: Path) -> list[str]:
    """Runs a block beside an artifact; returns the lines that it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_raspberry_pi_page_runs_as_it_stands(
    make_artifact: Callable[..., Path], tmp_path: Path
) -> None:
    make_artifact("cpu-dynamic_int8")
    with_runner, with_runtime = python_blocks("raspberry-pi.md")
    (line,) = run_block(with_runner, tmp_path)
    assert line.startswith(tuple(LABELS)) and line.endswith(" ai-edge-litert")
    assert set(run_block(with_runtime, tmp_path)) <= set(LABELS)


@pytest.mark.parametrize("page", ["coral.md", "raspberry-pi.md"])
def test_damaged_goldens_stop_the_program(
    make_artifact: Callable[..., Path], tmp_path: Path, page: str
) -> None:
    """The pages promise a test: with another delimiter the ids differ."""
    rules = {"kind": "word", "lowercase": False, "delimiter_pattern": "[,]+"}
    block = python_blocks(page)[0]
    (name,) = re.findall(r'open_runnable\("([\w-]+)"', block)
    make_artifact(name, tokenizer={**rules, "max_chars_per_word": 0})
    done = subprocess.run(
        [sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "golden 0: this device's token ids differ from the host's" in done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", prose)
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing
