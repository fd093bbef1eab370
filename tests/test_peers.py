"""Tests of benchmarks/peers.py and peer_tables.py: what is measured again, what the page says."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest


def load(name: str) -> ModuleType:
    folder = str(Path(__file__).parents[1] / "benchmarks")
    sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(folder)


@pytest.fixture(scope="module")
def peers() -> ModuleType:
    return load("peers")


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    return load("peer_tables")


def samples(median_ns: float) -> list[int]:
    random = np.random.default_rng(1)
    return (median_ns * random.uniform(0.99, 1.01, 500)).astype(int).tolist()


def measured(**medians_ns: float) -> dict[str, Any]:
    names = {name.replace("__", "-"): value for name, value in medians_ns.items()}
    return {"latencies_ns": {name: samples(value) for name, value in names.items()}}


FOUND = measured(
    tfpipe__cpu__dynamic_int8=1e5, tfpipe__cpu__int8=2e5, tfpipe__onnx__int8=5e4,
    stock__float32=1e6, stock__int8=4e5,
)  # fmt: skip


def test_measurement_is_made_again_only_where_its_key_changed(
    peers: ModuleType, tmp_path: Path
) -> None:
    output, made = tmp_path / "found.json", []

    def make() -> dict[str, Any]:
        made.append(1)
        return {"number": len(made)}

    assert peers.once(output, {"file": "a"}, make)["number"] == 1
    assert peers.once(output, {"file": "a"}, make)["number"] == 1
    assert peers.once(output, {"file": "b"}, make)["number"] == 2
    failed = tmp_path / "failed.json"
    assert peers.once(failed, {}, lambda: {"error": "boom"})["error"] == "boom"
    assert not failed.exists()


def test_script_that_fails_is_told_in_its_own_words(peers: ModuleType, tmp_path: Path) -> None:
    log, output = tmp_path / "log", tmp_path / "out.json"
    found = peers.ask("roofline.py", log, output, tmp_path, tmp_path / "none.json", "OUTPUT")
    assert "none.json" in found["error"] and not output.exists()


def test_goals_name_the_fastest_file_and_print_what_was_measured(tables: ModuleType) -> None:
    lengths = {
        "latencies_ns": {
            "a": [80] * 500,
            "a, full": [90] * 500,
            "b": [50] * 500,
            "b, full": [200] * 500,
        },
        "real_share": 0.5,
    }
    bounds = {"tfpipe-cpu-int8": {"real": {"bound_ns": 1e5}, "full": {"bound_ns": 5e4}}}
    old = measured(tfpipe__oldest__int8=1e5, stock__float32=2e5)
    results = tables.Results(dict.fromkeys(tables.TEXTS, FOUND), lengths, bounds, old)
    page = tables.goal_table({"lstm-128": results})
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in page.splitlines()
        if line.startswith("| lstm-128")
    ]
    assert len(rows) == 5 + 3
    assert rows[0][1:3] == ["best: tfpipe-cpu-dynamic_int8", "stock-float32"]
    assert rows[0][3].startswith("0.100 (0.") and rows[0][5:] == ["0.2", "0.14"]
    assert rows[2][1:3] == ["tfpipe-cpu-int8", "stock-int8"] and rows[2][3].startswith("0.5")
    # Nothing of that name was measured: stock-dynamic_int8.
    assert rows[1][1:5] == ["best", "stock-dynamic_int8", "not measured", "not measured"]
    assert rows[5][1:] == [
        "best: b",
        "itself at full length",
        "0.250 (0.250–0.250)",
        "–",
        "0.60",
        "0.60",
    ]
    assert rows[6][1:5] == ["best: tfpipe-cpu-int8", "its roofline bound", "2.00", "4.00"]
    assert rows[7][0] == "lstm-128, tflite-runtime 2.14.0" and rows[7][3].startswith("0.500 (")
    assert tables.old_runtime_cells("m", {"error": "no Python"})[3] == "not measured"
    page = tables.old_runtime_table("m", {**old, "failed": {"stock-dynamic_int8": "version 12"}})
    assert "| tfpipe-oldest-int8 | 100 | 500 | 0.5" in page
    assert "`stock-dynamic_int8` does not run there: version 12" in page
    assert "Not measured: no Python" in tables.old_runtime_table("m", {"error": "no Python"})


def test_share_of_short_texts_is_that_of_means(tables: ModuleType) -> None:
    ratio, low, high = tables.means([100, 300] * 500, [50, 50] * 500)
    assert ratio == pytest.approx(0.25) and low <= ratio <= high and high - low < 0.02
    found = {
        "latencies_ns": {"ours": [50_000] * 500, "ours, full": [200_000] * 500},
        "real_share": 0.2,
    }
    page = tables.length_table("lstm-128", found)
    assert "Real tokens are 0.20 of the texts' room" in page
    assert "| ours | 50 | 200 | 0.250 (0.250–0.250) | 0.60 | 0.24 |" in page


def test_roofline_has_files_by_their_distance_and_profiles_of_the_far_ones(
    tables: ModuleType,
) -> None:
    bound = {"multiply_adds": 4e6, "moved_bytes": 2e6, "bound_ns": 8e4, "moving_share": 0.75}
    bounds = {"stock-int8": bound, "tfpipe-cpu-dynamic_int8": bound}
    page = tables.roofline_table("x", bounds, FOUND)
    rows = [line for line in page.splitlines() if line.endswith(("1.2 |", "1.3 |", "5.0 |"))]
    assert rows[0].startswith("| tfpipe-cpu-dynamic_int8 | 4.00 | 2.00 | 80.0 | 75 % | 100 |")
    assert rows[1].startswith("| stock-int8 |")
    assert tables.far_from(bounds, FOUND) == ["stock-int8"]
    profile = {
        "ops": [{"op": "LOGISTIC", "count": 3, "share": 0.4}],
        "nodes": {"total": 9, "delegated": 5, "partitions": 2},
    }
    text = tables.profile_list({"a": profile, "b": {"error": "no profiler"}})
    assert "`a`: LOGISTIC × 3 40 %; 5 of 9 nodes of the first graph in 2 XNNPACK" in text
    assert "`b`: no profile: no profiler" in text


def test_file_that_failed_is_listed_with_its_reason(tables: ModuleType) -> None:
    files = {
        "good": {"right": True, "agreement": 1.0},
        "wrong": {"right": False, "agreement": 0.5},
        "dead": {"right": False, "error": "it aborted"},
    }
    text = tables.failure_list("lstm-128", files)
    assert "- `wrong`: agreement 0.5000: wrong, not timed\n- `dead`: it aborted" in text
    assert "good" not in text
    assert tables.failure_list("lstm-128", {"good": files["good"]}) == ""
