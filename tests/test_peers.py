"""Tests of benchmarks/peers.py and peer_tables.py: what is measured again, what the page says."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import load_benchmark

from tfpipe.compare import bootstrap


@pytest.fixture(scope="module")
def peers() -> ModuleType:
    return load_benchmark("peers")


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    return load_benchmark("peer_tables")


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


class Children:
    """What peers.py starts, in place of the real: it writes files and numbers that are made up."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def run(self, command: list[str], log: Path, output: Path | None = None) -> bool:
        if "export" in command:
            folder = Path(command[4]) / "exports" / command[6]
            if "oldest" in command and "int8" in command:
                log.write_text("Error: no such scheme there")
                return False
            folder.mkdir(parents=True)
            (folder / "model.tflite").write_text(folder.name)
        elif any("peer_exports.py" in word for word in command):
            log.write_text("")
            Path(command[-1]).write_text(command[2])
        elif output is not None:  # the profiler
            self.asked.append("ops")
            op = {"op": "TANH", "count": 4, "share": 1.0}
            nodes = {"total": 9, "delegated": 9, "partitions": 1}
            output.write_text(json.dumps({"ops": [op], "nodes": nodes}))
        return True

    def ask(self, script: str, log: Path, output: Path, *arguments: object) -> dict[str, Any]:
        self.asked.append(script)
        words = [str(word) for word in arguments]
        files = dict(word.split("=", 1) for word in words if "=" in word)
        if script == "ceilings.py":
            return {"products": [], "peaks": {}}
        if script == "roofline.py":
            bound = {"multiply_adds": 1e6, "moved_bytes": 1e6, "bound_ns": 1e4, "moving_share": 1}
            return {path: {"real": bound, "full": bound} for path in words[3:]}
        if "check" in words:
            wrong = "stock-int8" in words[-1]
            return {"agreement": 0.5 if wrong else 1.0, "size_bytes": 1000}
        if "lengths" in words:
            files.update({f"{name}, full": path for name, path in files.items()})
        latencies = {name: samples(1e5) for name in files}
        return {"latencies_ns": latencies, "real_share": 0.5, "failed": {}}


def test_page_is_made_by_one_command_and_nothing_is_measured_twice(
    peers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "lstm-128"
    (run / "data").mkdir(parents=True)
    (run / "run.json").write_text("{}")
    (run / "data" / "test.jsonl").write_text('{"text": "a bird"}\n')
    children = Children()
    monkeypatch.setattr(peers, "run", children.run)
    monkeypatch.setattr(peers, "ask", children.ask)
    monkeypatch.setattr(peers, "install_quantizer", lambda: None)
    monkeypatch.setattr(bootstrap, "REPLICATES", 20)
    words = ["--runs", str(tmp_path), "--models", "lstm-128", "--threads", "1", "2"]
    monkeypatch.setattr(sys, "argv", ["peers.py", *words])
    peers.main()
    page = (tmp_path / "peers.md").read_text()
    for title in (
        "## Against the goals", "lstm-128, 1 thread, real texts", "all 2 cores",
        "mean over real lengths", "in tflite-runtime 2.14.0", "## Roofline: lstm-128",
        "## Peaks of this machine", "- `tfpipe-cpu-int8`: TANH × 4 100 %",
        "- `stock-int8`: agreement 0.5000: wrong", "`tfpipe-oldest-int8` does not run there: Error",
    ):  # fmt: skip
        assert title in page, title
    latencies = children.asked.count("peer_latency.py")
    checks = len(peers.OURS) + len(peers.PEERS)
    assert latencies == checks + len(("real", "full", "both", "all cores"))
    first, children.asked = children.asked, []
    peers.main()
    assert first and not children.asked and (tmp_path / "peers.md").read_text() == page
    artifact = run / "exports" / "cpu-int8" / "model.tflite"
    artifact.write_text("exported anew")
    peers.main()
    # That file is checked, and whatever it was measured with is measured again.
    assert children.asked.count("peer_latency.py") == 1 + 4
    assert children.asked.count("roofline.py") == 1 and children.asked.count("ops") == 1
    assert "ceilings.py" not in children.asked and "old_runtime.py" not in children.asked
