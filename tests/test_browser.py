"""The page in a real headless Chromium: WebAssembly, WebGPU on SwiftShader, a person typing."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from chrome import Tab, open_tab
from click.testing import CliRunner
from conftest import TEXTS, TinyModel, expected_token_ids

from device_runner.artifact import read_artifact
from device_runner.profiles import PROFILES
from tfpipe import bench as bench_module
from tfpipe.bench import bench
from tfpipe.cli import cli
from tfpipe.devices import DeviceLostError, browser, open_device
from tfpipe.devices.chromium import PROGRAMS, VARIABLE
from tfpipe.serve import serve
from tfpipe.web.package import NPM_FOLDER, RUNTIME, pinned_version

CHROMIUM = next(filter(None, map(shutil.which, PROGRAMS)), None)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is absent; .ci/run installs it"),
    pytest.mark.skipif(
        not (NPM_FOLDER / "node_modules" / RUNTIME).is_dir(),
        reason="@litertjs/core is absent; make web fetches it",
    ),
]
TINY_PROFILE = replace(
    PROFILES["quick"], warmup_ns=0, measure_ns=0, num_runs=70, end_to_end_runs=20
)


def mark_verified(artifact: Path) -> Path:
    digest = read_artifact(artifact).manifest.model_sha256
    (artifact / "verify.json").write_text(json.dumps({"passed": True, "model_sha256": digest}))
    return artifact


def change_golden(artifact: Path, change: Callable[[Any], None]) -> Path:
    """Changes golden.json, and its digest in the manifest."""
    golden = json.loads((artifact / "golden.json").read_text("utf-8"))
    change(golden["examples"])
    data = json.dumps(golden).encode()
    (artifact / "golden.json").write_bytes(data)
    manifest = json.loads((artifact / "manifest.json").read_text("utf-8"))
    record = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    manifest["files"]["golden.json"] = record
    (artifact / "manifest.json").write_text(json.dumps(manifest))
    return artifact


@pytest.fixture
def short_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few calls: what a page measures is the subject here, not how fast it is."""
    for module in ("device_runner.profiles", "tfpipe.web.site", "tfpipe.serve"):
        monkeypatch.setattr(f"{module}.PROFILES", {**PROFILES, "quick": TINY_PROFILE})


@pytest.fixture
def texts_file(tmp_path: Path) -> Path:
    path = tmp_path / "texts.txt"
    path.write_text("\n".join([*TEXTS[:3], "w1\u00a0w2", "\ufeffw3", "w4\u3000w5 😀"]) + "\n")
    return path


@pytest.mark.usefixtures("short_profile")
def test_two_artifacts_are_measured_in_turn_on_wasm(
    make_artifact: Callable[..., Path], texts_file: Path, tmp_path: Path
) -> None:
    paths = [mark_verified(make_artifact(name)) for name in ("one", "two")]
    output = tmp_path / "results.json"
    record = bench(paths, device="browser", texts=texts_file, output=output)
    assert json.loads(output.read_text("utf-8")) == record
    assert [result["name"] for result in record["results"]] == ["one", "two"]
    for result in record["results"]:
        assert (result["device"], result["device_kind"]) == ("browser:wasm", "browser")
        assert (result["runtime"], result["runtime_version"]) == (RUNTIME, pinned_version())
        assert (result["delegate"], result["adapter"], result["num_threads"]) == ("wasm", None, 1)
        assert (result["input_source"], result["num_inputs"]) == ("texts", 6)
        assert (result["num_runs"], len(result["latencies_ns"])) == (90, 90)
        assert (result["dropped_runs"], result["end_to_end_runs"]) == (10, 45)
        assert result["p50_ns"] is not None and result["p90_ns"] is not None
        assert result["p99_ns"] is None  # needs 662 samples
        assert result["init_ns"] > 0 and result["first_invoke_ns"] > 0
        assert result["peak_memory_bytes"] is None
        assert result["timer"]["resolution_ns"] <= 100_000
        assert result["browser"]["is_cross_origin_isolated"] is True
        assert "Chrome/" in result["browser"]["user_agent"]


@pytest.mark.usefixtures("short_profile")
def test_threads_are_used_where_they_are_asked_for(tiny_artifact: Path, texts_file: Path) -> None:
    options = {"device": "browser:wasm", "num_threads": 2, "texts": texts_file}
    record = bench(
        [mark_verified(tiny_artifact)], **options, output=texts_file.with_suffix(".json")
    )
    assert record["results"][0]["num_threads"] == 2


@pytest.mark.usefixtures("short_profile")
def test_webgpu_runs_and_says_what_it_is(tiny_artifact: Path, texts_file: Path) -> None:
    path = mark_verified(tiny_artifact)
    output = texts_file.with_suffix(".json")
    result = bench([path], device="browser:webgpu", texts=texts_file, output=output)["results"][0]
    assert result["delegate"] == "webgpu"
    is_software = "swiftshader" in result["adapter"]
    assert result["device_kind"] == ("software-gpu" if is_software else "browser")
    assert result["num_runs"] == 90


def test_no_adapter_is_one_clear_error(
    tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without its flags Chromium has WebGPU, but no adapter here.
    monkeypatch.setitem(browser.ACCELERATORS, "webgpu", ("webgpu", ("--disable-gpu",)))
    with pytest.raises(
        ValueError, match=r"browser:webgpu: (No WebGPU adapter|This browser has no)"
    ):
        open_device("browser:webgpu").run(["verify", "--", str(tiny_artifact)], time_limit_s=120)


def test_ids_and_outputs_are_those_of_the_host(
    tiny_artifact: Path, tiny_model: TinyModel, texts_file: Path, tmp_path: Path
) -> None:
    found = {}
    for device in ("local", "browser"):
        output = tmp_path / f"{device}.npz"
        arguments = ["run", f"--input={texts_file}", f"--output={output}", "--", str(tiny_artifact)]
        said = open_device(device).run(arguments, time_limit_s=120)
        assert said["num_examples"] == 6
        with np.load(output) as arrays:
            found[device] = arrays["token_ids"], arrays["outputs"]
    np.testing.assert_array_equal(found["browser"][0], found["local"][0])
    np.testing.assert_allclose(found["browser"][1], found["local"][1], rtol=0, atol=1e-6)
    expected = [tiny_model.probabilities(expected_token_ids(text)) for text in TEXTS[:3]]
    np.testing.assert_allclose(found["browser"][1][:3], expected, rtol=0, atol=1e-5)


def test_predict_command_takes_a_browser(tiny_artifact: Path, tiny_model: TinyModel) -> None:
    command = ["predict", str(tiny_artifact), "w0 w1 w2", "w16", "--device", "browser"]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 0, done.stderr
    for entry in json.loads(done.stdout)["predictions"]:
        expected = tiny_model.probabilities(expected_token_ids(entry["text"]))
        np.testing.assert_allclose(list(entry["scores"].values()), expected, rtol=0, atol=1e-5)


def test_artifact_whose_outputs_differ_is_refused(tiny_artifact: Path) -> None:
    change_golden(tiny_artifact, lambda examples: examples[2]["outputs"].__setitem__(0, 0.9))
    message = r"tiny is refused: golden 2: outputs differ by up to 0\.\d+, allowed are 0.00001"
    with pytest.raises(ValueError, match=message):
        open_device("browser").run(["verify", "--", str(tiny_artifact)], time_limit_s=120)


def test_browser_that_dies_is_told(
    tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "chromium"
    program.write_text("#!/bin/sh\necho no display >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv(VARIABLE, str(program))
    with pytest.raises(DeviceLostError, match=r"ended with code 3. Its last words: no display"):
        open_device("browser").run(["verify", "--", str(tiny_artifact)], time_limit_s=60)


def test_page_that_hangs_is_closed(
    tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "chromium"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setenv(VARIABLE, str(program))
    with pytest.raises(ValueError, match="browser:wasm: the page was not done after 1 s and was"):
        open_device("browser").run(["verify", "--", str(tiny_artifact)], time_limit_s=1)


@pytest.fixture
def tab(tmp_path: Path) -> Iterator[Tab]:
    with open_tab(str(CHROMIUM), tmp_path / "profile", "--enable-unsafe-webgpu") as opened:
        yield opened


def shown(tab: Tab, name: str) -> str:
    return str(tab.evaluate(f"document.getElementById('{name}').textContent"))


READY = "document.getElementById('status')?.textContent.startsWith('Checked')"


@pytest.mark.usefixtures("short_profile")
def test_person_types_and_measures(
    tab: Tab, tiny_artifact: Path, tiny_model: TinyModel, texts_file: Path
) -> None:
    output, heard = texts_file.with_suffix(".json"), []
    path = mark_verified(tiny_artifact)
    with serve([path], port=0, texts=texts_file, output=output, announce=heard.append) as server:
        tab.open(server.address)
        tab.wait_for(READY)
        assert "5 goldens" in shown(tab, "status")
        assert tab.evaluate("document.getElementById('plain-http').hidden") is True
        tab.type("#text", "w0 w1 <b>w2</b>")
        tab.wait_for("document.querySelectorAll('#predictions li').length === 3")
        ids = expected_token_ids("w0 w1 <b>w2</b>")
        scores = sorted(tiny_model.probabilities(ids), reverse=True)
        found = tab.evaluate("[...document.querySelectorAll('.score')].map(e => e.textContent)")
        assert found == [f"{score:.3f}" for score in scores]
        tokens = tab.evaluate(
            "[...document.querySelectorAll('#tokens li')].map(e => e.textContent)"
        )
        assert len(tokens) == 4 and tokens[1].startswith("w0")
        tab.evaluate("document.getElementById('measure').click()")
        tab.wait_for("document.querySelector('.result') !== null")
        assert re.match(r"wasm, 1 thread, profile quick: \w+call, p50", shown(tab, "results"))
        for width, dark in ((390, False), (390, True), (1280, False)):
            tab.resize(width, 844, dark=dark)
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
        assert tab.errors == []
    record = json.loads(output.read_text("utf-8"))["results"]
    assert len(record) == len(heard) == 1
    assert re.fullmatch(r"browser \(Chrome \d+, Linux\)", record[0]["device"])
    assert (record[0]["device_kind"], record[0]["num_runs"]) == ("browser", 90)
    assert record[0]["fingerprint"]["cpu_model"] is None


def test_page_refuses_and_says_why(tab: Tab, tiny_artifact: Path) -> None:
    change_golden(tiny_artifact, lambda examples: examples[0]["token_ids"].__setitem__(1, 9))
    with serve([mark_verified(tiny_artifact)], port=0) as server:
        tab.open(server.address)
        tab.wait_for("document.getElementById('error')?.hidden === false")
        message = "tiny is refused: golden 0: this browser's token ids differ from the host's."
        assert shown(tab, "error") == message
        assert tab.evaluate("document.getElementById('text').disabled") is True
        assert tab.evaluate("document.getElementById('measure').disabled") is True


def test_plain_http_from_elsewhere_says_what_it_costs(tab: Tab, tiny_artifact: Path) -> None:
    with serve([mark_verified(tiny_artifact)], host="0.0.0.0", port=0) as server:
        if urlsplit(server.address).hostname == "127.0.0.1":
            pytest.skip("this machine has no address but its loopback")
        tab.open(server.address)
        tab.wait_for(READY)
        assert tab.evaluate("document.getElementById('plain-http').hidden") is False
        assert "WebGPU needs https or localhost" in shown(tab, "status")
        assert tab.evaluate("document.getElementById('threads').length") == 1
        assert tab.evaluate("document.getElementById('accelerator').options[1].disabled") is True


@pytest.mark.parametrize("profile", ["sustained", "paced"])
def test_profiles_that_a_browser_cannot_keep_are_refused(tiny_artifact: Path, profile: str) -> None:
    with pytest.raises(ValueError, match=f"profile='{profile}' is not measured in a browser"):
        bench_module([mark_verified(tiny_artifact)], device="browser", profile=profile)
