"""benchmarks/: every program finds what it imports, those that no other test runs too."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import load_benchmark

NAMES = sorted(path.stem for path in (Path(__file__).parents[1] / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_benchmark_can_be_imported(name: str) -> None:
    module = load_benchmark(name)
    assert (module.__doc__ or "").strip(), "its first lines say how it is run"
