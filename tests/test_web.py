"""What the page is made of, and what the host makes of what it sends; no browser needed."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from boards import write_script
from click.testing import CliRunner
from conftest import SEQUENCE_LENGTH

from device_runner import unicode_table
from device_runner.artifact import Artifact, read_artifact
from device_runner.normalize import CharacterSet
from device_runner.profiles import PROFILES
from tfpipe.cli import cli
from tfpipe.devices import open_device
from tfpipe.devices.chromium import PROGRAMS, VARIABLE, find_chromium
from tfpipe.serve import place_result
from tfpipe.web import package
from tfpipe.web.characters import character_table
from tfpipe.web.measured import browser_name, describe_results
from tfpipe.web.package import find_packages, pinned_version, served_files
from tfpipe.web.payload import read_outputs
from tfpipe.web.site import make_site, read_for_browser

ANDROID = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) "
ANDROID += "Chrome/142.0.0.0 Mobile Safari/537.36"


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the npm step leaves, with empty files."""
    folder = tmp_path / "npm" / "node_modules"
    files = ["@litertjs/core/dist/index.js", "@litertjs/core/wasm/litert_wasm_internal.wasm"]
    files += ["@litertjs/core/wasm/litert_wasm_internal.js", "@litertjs/core/README.md"]
    files += ["@litertjs/wasm-utils/dist/index.js"]
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    about = json.dumps({"version": pinned_version()})
    (folder / "@litertjs/core/package.json").write_text(about)
    monkeypatch.setenv(package.VARIABLE, str(folder.parent))
    return folder


def test_only_what_the_page_loads_is_served_of_the_packages(packages: Path) -> None:
    assert find_packages() == packages
    assert sorted(served_files()) == [
        "@litertjs/core/dist/index.js",
        "@litertjs/core/wasm/litert_wasm_internal.js",
        "@litertjs/core/wasm/litert_wasm_internal.wasm",
        "@litertjs/wasm-utils/dist/index.js",
    ]


def test_version_is_pinned_with_its_digests() -> None:
    lock = json.loads((package.NPM_FOLDER / "package-lock.json").read_text("utf-8"))["packages"]
    assert lock["node_modules/@litertjs/core"]["version"] == pinned_version()
    assert all(entry["integrity"].startswith("sha512-") for name, entry in lock.items() if name)


def test_missing_packages_say_the_command(
    tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(package.VARIABLE, str(tmp_path))
    message = r"@litertjs/core is not there, .* Run `make web` in a checkout, or: npm ci "
    with pytest.raises(FileNotFoundError, match=message):
        find_packages()
    digest = read_artifact(tiny_artifact).manifest.model_sha256
    verified = json.dumps({"passed": True, "model_sha256": digest})
    (tiny_artifact / "verify.json").write_text(verified)
    done = CliRunner().invoke(cli, ["serve", str(tiny_artifact), "--port", "0"])
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: ") and "make web" in done.stderr


def test_another_version_is_refused(packages: Path) -> None:
    (packages / "@litertjs/core/package.json").write_text('{"version": "1.0.0"}')
    with pytest.raises(ValueError, match="is version 1.0.0, the page is written for .*`make web`"):
        find_packages()


def test_marks_with_a_combining_class_are_listed() -> None:
    table = character_table()
    listed = {code for codes in CharacterSet(table["COMBINING_MARKS"]).ranges for code in codes}
    marks = CharacterSet(unicode_table.MARKS)
    assert 0x301 in listed and 0x64B in listed
    assert {code for code in range(0x110000) if unicodedata.combining(chr(code))} >= listed
    assert all(code in marks for code in listed)
    assert table["LOWER"] == unicode_table.LOWER


@pytest.mark.usefixtures("packages")
def test_site_holds_the_artifact_and_its_texts(tiny_artifact: Path) -> None:
    artifact = read_for_browser(tiny_artifact)
    site = make_site([artifact], [["w0 w1"]], job={"command": "run"})
    for name in ("manifest.json", "vocabulary.txt", "labels.txt", "golden.json", "model.tflite"):
        body = site[f"artifacts/0/{name}"].body
        assert body == (tiny_artifact / name).read_bytes()
    page = json.loads(bytes(site["page.json"].body))  # type: ignore[arg-type]
    assert (page["artifacts"], page["job"]) == (["artifacts/0"], {"command": "run"})
    assert page["profiles"]["quick"]["dropped_runs_per_block"] == 5
    assert json.loads(bytes(site["artifacts/0/texts.json"].body)) == ["w0 w1"]  # type: ignore[arg-type]
    assert b"{{import_map}}" not in bytes(site[""].body)  # type: ignore[arg-type]


def test_int8_input_is_refused_with_the_cure(
    make_artifact: Callable[..., Path], convert_tiny: Callable[..., bytes]
) -> None:
    import tensorflow as tf

    table = tf.ones((20, 3))
    model = convert_tiny(
        lambda ids: tf.nn.softmax(tf.reduce_mean(tf.gather(table, tf.cast(ids, tf.int32)), 1)),
        dtype="int8",
    )
    with pytest.raises(ValueError, match=r"int8.* the browser takes int32 and float32. .* float "):
        read_for_browser(make_artifact(model=model))


def test_what_no_browser_runs_is_refused(make_artifact: Callable[..., Path]) -> None:
    tail = make_artifact("tail", target="edgetpu")
    with pytest.raises(ValueError, match="was exported for target edgetpu: .* --target web"):
        read_for_browser(tail)
    with pytest.raises(ValueError, match="is no artifact folder, .* --target web"):
        read_for_browser(tail / "model.tflite")


def test_tokenizer_that_the_page_lacks_is_refused(
    tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tfpipe.web.site.PAGE_TOKENIZERS", ("char",))
    with pytest.raises(ValueError, match="tokenizer.kind='word', the page has only char. Run it"):
        read_for_browser(tiny_artifact)


def measurement() -> dict[str, Any]:
    return {
        "first_invoke_ns": 900_000,
        "warmup_runs": 10,
        "warmup_ns": 5_000_000,
        "latencies_ns": [400_000 + 5_000 * (index % 7) for index in range(90)],
        "measured_ns": 40_000_000,
        "dropped_runs": 10,
        "end_to_end_ns": [500_000] * 45,
        "tokenize_ns": [50_000] * 45,
        "end_to_end_invoke_ns": [400_000] * 45,
        "decode_ns": [5_000] * 45,
        "capped": [],
    }


def payload() -> dict[str, Any]:
    return {
        "engine": {
            "accelerator": "wasm",
            "num_threads": 1,
            "adapter": None,
            "is_software_gpu": False,
        },
        "browser": {"user_agent": ANDROID, "num_cores": 8, "is_cross_origin_isolated": True},
        "init_ns": [20_000_000],
        "measurements": [measurement()],
        "timer": {"timer_overhead_ns": 0, "timer_resolution_ns": 5_000},
        "was_hidden": False,
    }


@pytest.fixture
def tiny(tiny_artifact: Path) -> Artifact:
    return read_artifact(tiny_artifact)


PAGE_TEXTS = ["w0", "w1 w2 w3", "", "w5 " * 30]


def describe(given: Any, artifact: Artifact) -> dict[str, Any]:
    return describe_results(given, [artifact], [PAGE_TEXTS], PROFILES["quick"])[0]


def test_record_has_the_hosts_percentiles(tiny: Artifact) -> None:
    record = place_result(describe(payload(), tiny))
    assert (record["validity"], record["validity_reasons"]) == ("valid", [])
    # By hand: 90 samples of 7 values; ranks 45 and 81 of them in order.
    in_order = sorted(measurement()["latencies_ns"])
    assert (record["p50_ns"], record["p90_ns"]) == (in_order[44], in_order[80])
    assert record["p99_ns"] is None
    assert record["end_to_end_shares"]["invoke"] == 0.8
    assert record["sequence_length"] == SEQUENCE_LENGTH
    assert record["device"] == "browser (Chrome 142, Android)"
    assert (record["device_kind"], record["delegate"]) == ("browser", "wasm")
    assert (record["input_source"], record["num_inputs"]) == ("texts", 4)
    # With <START>, cut at the sequence length: 2, 4, 1 and 8.
    assert (record["mean_tokens"], record["buckets"]) == ((2 + 4 + 1 + 8) / 4, None)
    texts = hashlib.sha256("\0".join(PAGE_TEXTS).encode()).hexdigest()
    assert (record["inputs_sha256"], record["nodes"]) == (texts, None)
    assert record["cycles_per_inference"] is None
    assert record["cycles_reason"] == "a browser has no cycle counter"
    assert list(record)[-2:] == ["end_to_end_latencies_ns", "latencies_ns"]


def test_software_gpu_is_called_that(tiny: Artifact) -> None:
    given = payload()
    given["engine"].update(accelerator="webgpu", adapter="google swiftshader", is_software_gpu=True)
    record = place_result(describe(given, tiny))
    assert (record["device_kind"], record["delegate"]) == ("software-gpu", "webgpu")


def test_coarse_clock_and_hidden_page_are_doubts(tiny: Artifact) -> None:
    given = payload()
    given["timer"]["timer_resolution_ns"] = 100_000
    given["was_hidden"] = True
    record = describe(given, tiny)
    assert record["validity"] == "degraded"
    assert record["validity_reasons"] == [
        "the browser's clock goes in steps of 100 us, 24% of the median call",
        "the page was hidden: browsers slow such pages down",
    ]


def test_samples_of_zero_are_doubted(tiny: Artifact) -> None:
    given = payload()
    given["measurements"][0]["latencies_ns"] = [0] * 90
    reasons = describe(given, tiny)["validity_reasons"]
    assert "the browser's clock goes in steps of 5 us, more than the median call" in reasons


BAD = [
    (lambda p: p.update(engine=None), r"result: engine=None, expected an object"),
    (
        lambda p: p["engine"].update(accelerator="cuda"),
        r"engine: accelerator='cuda', expected wasm",
    ),
    (lambda p: p["engine"].update(accelerator=[]), r"engine: accelerator=\[\], expected wasm"),
    (lambda p: p["engine"].update(num_threads=0), r"num_threads=0, expected an integer from 1"),
    (lambda p: p["browser"].update(user_agent="\ud800"), r"user_agent=.*, expected a text"),
    (lambda p: p["browser"].pop("num_cores"), r"num_cores=None, expected a count or null"),
    (lambda p: p["timer"].update(timer_overhead_ns=-1), r"timer_overhead_ns=-1, expected"),
    (lambda p: p.update(was_hidden=1), r"was_hidden=1, expected true or false"),
    (lambda p: p.update(measurements=[1]), r"measurement is 1, expected an object"),
    (lambda p: p.update(measurements=[]), r"measurements=\[\], expected a list"),
    (lambda p: p["measurements"].append({}), r"sent 2 measurements of 1 artifacts"),
    (
        lambda p: p["measurements"][0].update(latencies_ns=[1.5]),
        r"latencies_ns=.*, expected a list",
    ),
    (lambda p: p["measurements"][0].update(latencies_ns=[True]), r"latencies_ns=.*, expected"),
    (lambda p: p["measurements"][0].update(latencies_ns=[2**60]), r"expected a list of integers"),
    (lambda p: p["measurements"][0].update(decode_ns=[1]), r"without all of their parts"),
    (lambda p: p["measurements"][0].update(capped=[1]), r"capped=\[1\], expected a list of texts"),
]


@pytest.mark.parametrize(("spoil", "message"), BAD)
def test_spoilt_result_is_refused(
    tiny: Artifact, spoil: Callable[[Any], None], message: str
) -> None:
    given = copy.deepcopy(payload())
    spoil(given)
    with pytest.raises(ValueError, match=message):
        describe(given, tiny)


def test_result_that_is_no_object_is_refused(tiny: Artifact) -> None:
    for given in (None, [], "x", 1):
        with pytest.raises(ValueError, match="the page's result is .*, expected an object"):
            describe(given, tiny)


def test_outputs_must_be_a_finite_table(tiny: Artifact) -> None:
    rows = [[1] * SEQUENCE_LENGTH]
    token_ids, outputs = read_outputs({"token_ids": rows, "outputs": [[0.2, 0.3, 0.5]]}, tiny)
    assert (token_ids.shape, outputs.tolist()[0][2]) == ((1, SEQUENCE_LENGTH), 0.5)
    assert read_outputs({"token_ids": [], "outputs": []}, tiny)[1].shape == (0, 3)
    for wrong in ([[0.2, None, 0.5]], [[0.2, 0.3]], [["x", 1, 2]], [], [[float("inf"), 0, 0]]):
        with pytest.raises(ValueError, match="tiny gave .*in the browser.* --device local first"):
            read_outputs({"token_ids": rows, "outputs": wrong}, tiny)


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        (ANDROID, "Chrome 142, Android"),
        (
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
            "Firefox 140, Linux",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, "
            "like Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
            "Safari 18, iPhone",
        ),
        ("Mozilla/5.0 (Windows NT 10.0) Chrome/142.0 Safari/537.36 Edg/142.0", "Edge 142, Windows"),
        ("", "unknown browser, unknown system"),
    ],
)
def test_browser_is_named_in_short(user_agent: str, name: str) -> None:
    assert browser_name(user_agent) == name


def test_browser_device_names() -> None:
    assert open_device("browser").name == "browser:wasm"
    assert open_device("browser:webgpu").name == "browser:webgpu"
    with pytest.raises(
        ValueError, match="device='browser:cuda' names no accelerator .* browser:wasm"
    ):
        open_device("browser:cuda")
    with pytest.raises(ValueError, match="command='info' is not one that a browser does: bench"):
        open_device("browser").run(["info"], time_limit_s=1)
    with pytest.raises(
        ValueError, match="delegate='gpu' is not for browser:wasm: .* without --delegate"
    ):
        open_device("browser").run(["bench", "--delegate", "gpu", "--", "x"], time_limit_s=1)


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is Linux' (util-linux)")
def test_browser_ends_with_a_host_that_is_killed(tmp_path: Path) -> None:
    browser = write_script(tmp_path / "browser", f"echo $$ > {tmp_path}/pid; exec sleep 60")
    code = (
        "import time; from tfpipe.devices.chromium import open_chromium\n"
        "with open_chromium('about:blank'): time.sleep(60)"
    )
    environment = {**os.environ, VARIABLE: str(browser)}
    host = subprocess.Popen([sys.executable, "-c", code], env=environment)
    wait_until(lambda: (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text().strip())
    process = Path("/proc", (tmp_path / "pid").read_text().strip())
    assert process.is_dir()
    host.kill()
    host.wait()
    wait_until(lambda: is_gone(process))


def is_gone(process: Path) -> bool:
    """Whether nothing of a process runs; who should take note of its end may not have yet."""
    try:
        return "\nState:\tZ" in (process / "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until(holds: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_missing_chromium_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(FileNotFoundError, match="none of chromium, .* apt install chromium"):
        find_chromium()
    monkeypatch.setenv(VARIABLE, "nix")
    with pytest.raises(FileNotFoundError, match=f"{VARIABLE}=nix is no program on the PATH"):
        find_chromium()
    (tmp_path / PROGRAMS[1]).write_text("")
    (tmp_path / PROGRAMS[1]).chmod(0o755)
    monkeypatch.delenv(VARIABLE)
    assert find_chromium() == str(tmp_path / PROGRAMS[1])
