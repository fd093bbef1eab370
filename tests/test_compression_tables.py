"""The tables of benchmarks/compression.py: what several seeds come to, and where a table stands."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import load_benchmark


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    return load_benchmark("compression_tables")


def record(seed: int, accuracy: float, file: float, **others: Any) -> dict[str, Any]:
    usual = {
        "seed": seed,
        "float": accuracy,
        "file": file,
        "agreement": 1.0,
        "clear_agreement": 1.0,
        "median_abs_error": 1 / 256,
        "parameters": 2000,
        "model_size_bytes": 1000,
        "zip_size_bytes": 100,
        "passed": True,
        "scheme": "int8",
    }
    return {**usual, **others}


def rows_of(page: Path, start: str) -> list[str]:
    return [line for line in page.read_text("utf-8").splitlines() if line.startswith(start)]


def test_seeds_are_paired_and_the_worst_agreement_is_shown(
    tables: ModuleType, tmp_path: Path
) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Page\n\nText.\n", "utf-8")
    plain = [record(1, 0.9, 0.9, zip_size_bytes=400), record(2, 0.8, 0.8, zip_size_bytes=200)]
    smaller = [
        record(1, 0.9, 0.91, agreement=0.99, clear_agreement=None),
        record(2, 0.8, 0.78, median_abs_error=2 / 256, passed=False),
    ]
    tables.write_methods(
        page,
        {("a set", "lstm", "float32"): plain, ("a set", "lstm", "qat"): smaller},
    )
    # Points: +1 and -2; zip: 100 / 400 and 100 / 200.
    assert rows_of(page, "| a set | lstm")[1] == (
        "| a set | lstm | qat | int8 | 2 | 0.8500 | 0.8450 | -0.50 (-2.00 to +1.00) | 0.9900 "
        "| 1.0000 | 2.00 | 1 | 0.375 | 1 of 2 |"
    )


def test_file_that_was_not_verified_has_no_accuracy(tables: ModuleType) -> None:
    unknown = record(1, 0.9, 0.9)
    for key in ("file", "agreement", "clear_agreement", "median_abs_error", "passed"):
        unknown[key] = None
    row = tables.method_row(("set", "lstm", "qat"), [unknown], {})
    assert row == "| set | lstm | qat | int8 | 0 | – | – | – | – | – | – | 1 | – | 0 of 1 |"


def test_row_without_figures_stays_where_its_table_has_it(
    tables: ModuleType, tmp_path: Path
) -> None:
    page = tmp_path / "page.md"
    old = "| set | lstm | qat | int8 | 3 | 0.9 |"
    gone = "| set | lstm | no longer a method | 3 |"
    page.write_text(
        f"# Page\n\n{tables.METHODS_HEADING}\n| set |\n|---|\n{gone}\n{old}\n\n## After\n\n"
        "| set | lstm | prune | of another table |\n",
        "utf-8",
    )
    made = [record(1, 0.9, 0.9, zip_size_bytes=400)]
    cells = {"float32": made, "qat": [], "prune": []}
    tables.write_methods(page, {("set", "lstm", key): found for key, found in cells.items()})
    plain, *others = rows_of(page, "| set | lstm")
    assert plain.startswith("| set | lstm | float32 | int8 | 1 |")
    assert others == [old, "| set | lstm | prune | of another table |"]


def test_table_replaces_what_stands_under_its_heading(tables: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n## Measured\n\nold\n\n## After\n\nText.\n", "utf-8")
    tables.write_section(page, "## Measured\n", "\nAbout.\n", ["| a |", "|---|", "| 1 |"])
    content = page.read_text("utf-8")
    assert content == (
        "# Page\n\n## Measured\n\nAbout.\n\n| a |\n|---|\n| 1 |\n\n## After\n\nText.\n"
    )


def test_page_that_is_not_there_is_begun(tables: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    files = {("set", "lstm", "float32"): [record(1, 0.9, 0.9)]}
    tables.write_methods(page, files)
    assert page.read_text("utf-8").startswith(tables.METHODS_HEADING)
    assert len(rows_of(page, "| set | lstm")) == 1


def test_ratios_to_a_file_that_is_not_there_are_unknown(tables: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    half = record(1, 0.9, 0.89, parameters=500, p50_ns=None, validity=None, bench=None)
    tables.write_smaller(page, {("set", "lstm", "shrink"): [half]})
    (row,) = rows_of(page, "| set | lstm")
    assert row.endswith("| – | 0 of 1 | – | – |")


def test_latency_stands_against_the_same_scheme_and_seed(
    tables: ModuleType, tmp_path: Path
) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Page\n", "utf-8")
    whole = [
        record(seed, 0.9, 0.9, p50_ns=2000 * seed, validity="valid", bench=f"{seed}.json")
        for seed in (1, 2, 3)
    ]
    half = [
        record(1, 0.9, 0.89, p50_ns=1000, validity="valid", bench="1.json", parameters=500),
        record(2, 0.9, 0.88, p50_ns=1000, validity="degraded", bench="2.json", parameters=700),
        # Not measured beside the whole model: no ratio of times.
        record(3, 0.9, 0.90, p50_ns=1000, validity="valid", bench="other.json", parameters=600),
    ]
    for each in half:
        each["model_size_bytes"] = 400
    tables.write_smaller(page, {("set", "lstm", "int8"): whole, ("set", "lstm", "shrink"): half})
    assert page.read_text("utf-8").splitlines()[-1] == (
        "| set | lstm | shrink | int8 | 3 | 600 | 0.9000 | 0.8900 | -1.00 (-2.00 to +0.00) "
        "| 1.0000 | 0 | 0 | 1 | 2 of 3 | 0.40 | 0.38 (0.25 to 0.50) |"
    )
