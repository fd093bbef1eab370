"""Tests of benchmarks/runtimes.py: what its page says of each outcome, what it does not redo."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import load_benchmark

from device_runner.manifest import MODEL_FILE


@pytest.fixture(scope="module")
def runtimes() -> Any:
    return load_benchmark("runtimes")


@pytest.fixture(scope="module")
def page(runtimes: ModuleType) -> ModuleType:
    return sys.modules["runtimes_page"]


def cell(runtime: str = "one==1.0", **facts: Any) -> dict[str, Any]:
    name = {"runtime": runtime, "model": "lstm", "scheme": "int8", "lowering": "loop"}
    return {**name, "size_bytes": 12_345, "runs": True, "right": True, "agreement": 0.99, **facts}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "no message"),
        ("plain words.\nmore of them", "plain words."),
        ("failed:\n  TypeError: first\n  RuntimeError: a | b\n  end", "RuntimeError: a \\| b"),
        ("/tmp/some.dir/lstm/out.tflite: not read", "out.tflite: not read"),
        ("x" * 200, "x" * 159 + "…"),
    ],
)
def test_an_error_becomes_one_line(page: ModuleType, text: str, line: str) -> None:
    assert page.shorten(text) == line


def test_every_outcome_has_its_words(page: ModuleType) -> None:
    lost = {"right": False, "error": "agreement=0.5 is low"}
    dead = {"runs": False, "right": False, "error": "SIGSEGV"}
    cells = [
        cell(p50_ns=81_400, num_runs=450),
        cell("two==2.0", **lost),
        cell(scheme="float32"),
        cell("two==2.0", scheme="float32", **dead),
        cell(lowering="fused", size_bytes=None, **dead),
    ]
    assert page.format_table(cells) == (
        "| model | lowering | scheme | kB | one 1.0 | two 2.0 |\n"
        "|---|---|---|--:|---|---|\n"
        "| lstm | fused | int8 | – | **not made** [1] | – |\n"
        "| lstm | loop | int8 | 12 | 0.9900 · 81 µs (n 450) | **wrong**: 0.9900 [2] |\n"
        "| lstm | loop | float32 | 12 | 0.9900 · – | **runs not** [1] |\n"
        "\n"
        "[1] SIGSEGV  \n"
        "[2] agreement=0.5 is low  \n"
        "\n"
    )


def test_fastest_right_file_of_each_runtime_is_named(page: ModuleType) -> None:
    cells = [cell(p50_ns=9_000), cell(p50_ns=8_000, lowering="fused"), cell("two==2.0")]
    assert page.format_fastest(cells) == (
        "The fastest right file:\n\n- lstm on one 1.0: int8 fused, 8 µs\n\n"
    )
    assert page.format_fastest([cell()]) == ""


def test_where_check_was_mistaken_is_told(page: ModuleType) -> None:
    good, bad = cell(check_ok=True), cell(scheme="float32", check_ok=True, runs=False)
    assert "these 1 whether they run, rightly every time" in page.format_check([good])
    assert "these 2 whether" in page.format_check([good, bad])
    assert "except for: lstm loop float32 one==1.0." in page.format_check([good, bad])


def test_a_busy_machine_is_said_to_be_one(page: ModuleType) -> None:
    facts = {"cpu_model": "Chip", "num_cores": 2, "os": "Linux", "load_average": 0.3}
    assert page.format_machine(facts).endswith("at the start 0.3.\n")
    assert "figures are too high" in page.format_machine({**facts, "load_average": 4.2})
    assert page.format_machine({}) == ""


def test_only_right_files_wait_for_a_latency(page: ModuleType) -> None:
    assert page.needs_measuring([cell()])
    assert not page.needs_measuring([cell(p50_ns=5), cell(right=False)])


def test_what_is_known_is_kept_and_the_rest_is_checked(
    runtimes: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / MODEL_FILE
    model.write_bytes(b"abc")
    made = {"loop": {"path": str(model)}, "fused": {"error": "does not convert"}}
    monkeypatch.setattr(runtimes, "make_files", lambda *_: made)
    monkeypatch.setattr(runtimes, "check", lambda *_, **__: {"ok": True})

    class Subject:
        checked: list[str] = []

        def check(self, path: Path, scheme: str, device: object) -> dict[str, Any]:
            self.checked.append(scheme)
            return {"runs": True, "right": True, "error": None, "agreement": 1.0}

    known = [cell(p50_ns=7)]
    found = list(runtimes.check_cells(Subject(), "lstm", "one==1.0", None, known))
    assert len(found) == 2 * len(runtimes.SCHEMES)
    assert known[0] in found
    assert Subject.checked == [scheme for scheme in runtimes.SCHEMES if scheme != "int8"]
    fused = [entry for entry in found if entry["lowering"] == "fused"]
    assert all(entry["error"] == "does not convert" and not entry["runs"] for entry in fused)


def test_state_is_read_again_and_only_one_cell_replaced(
    runtimes: ModuleType, tmp_path: Path
) -> None:
    path = tmp_path / "page.md"
    state = runtimes.State(path)
    state.put(cell())
    state.put(cell("two==2.0"))
    again = runtimes.State(path)
    again.put(cell(p50_ns=1000, num_runs=5))
    assert len(again.cells) == 2 and again.of("one==1.0", "lstm")[0]["p50_ns"] == 1000
    assert runtimes.State(path).cells == again.cells
    assert "0.9900 · 1 µs (n 5)" in path.read_text("utf-8")


def test_fastest_of_each_side_make_the_ratio(runtimes: ModuleType, page: ModuleType) -> None:
    p50_ns = {"a": 400, "b": 100, "c": 500, "d": 200}

    class Device:
        def run(self, arguments: list[str], *, time_limit_s: float) -> dict[str, Any]:
            paths = arguments[arguments.index("--") + 1 :]
            common = {"num_runs": 60, "validity": "valid"}
            return {
                "results": [
                    {"p50_ns": p50_ns[path], "latencies_ns": [p50_ns[path]] * 60, **common}
                    for path in paths
                ]
            }

    names = {"stock-float32": "a", "stock-int8": "d", "tfpipe-int8-loop": "b", "tfpipe-x-y": "c"}
    files = {name: {"path": path} for name, path in names.items()}
    rows = [{**cell(), "name": name} for name in names]
    wrong = {**cell(right=False, error="agreement"), "name": "stock-x"}
    found = runtimes.compare_stock(Path("ids.npy"), files, [*rows, wrong], Device())
    assert (found["stock"], found["tfpipe"]) == ("stock-int8", "tfpipe-int8-loop")
    assert (found["ratio"], found["low"], found["high"]) == (0.5, 0.5, 0.5)
    text = page.format_stock({"runtime": "old==1", **found})
    assert "`tfpipe-int8-loop` takes **0.500** (95 % interval 0.500 to 0.500)" in text
    assert text.index("| tfpipe-int8-loop |") < text.index("| stock-int8 |")


def test_a_named_python_is_used_and_the_hosts_runtime_is_its_own(runtimes: ModuleType) -> None:
    own = f"{runtimes.HOST}=={runtimes.version(runtimes.HOST)}"
    assert runtimes.open_runtime(own, {}).runtime is None
    device = runtimes.open_runtime("tflite-runtime==2.11.0", {"tflite-runtime==2.11.0": "/python"})
    assert device.python == "/python"
    said = runtimes.OtherPython(sys.executable).run(["info"], time_limit_s=60)
    assert said["runtime"] == runtimes.HOST
