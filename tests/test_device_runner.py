"""Tests of `python -m device_runner`: every command, in this process and alone in others."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import device_runner
from device_runner import benchmark
from device_runner.__main__ import main
from device_runner.profiles import PROFILES, Profile
from device_runner.runnable import open_runnable

# Short enough for a test, long enough for every percentile but p99.
TEST_PROFILE = Profile("test", 10, 0, 100, 0, 100, 10**10)


@pytest.fixture(autouse=True)
def short_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROFILES, "test", TEST_PROFILE)


@pytest.fixture
def run(capsysbinary: pytest.CaptureFixture[bytes]) -> Callable[..., tuple[int, Any, str]]:
    """Runs a command in this process; returns its exit code, its JSON and its stderr."""

    def run(*arguments: object) -> tuple[int, Any, str]:
        code = main([str(argument) for argument in arguments])
        out, err = capsysbinary.readouterr()
        return code, json.loads(out) if out else None, err.decode("utf-8")

    return run


def test_info_describes_device_and_runtime(run: Any) -> None:
    code, value, _ = run("info")
    assert code == 0
    assert value["runtime"] == "ai-edge-litert" and value["message"] == ""
    assert {"name": "ai-edge-litert", "version": value["runtimes"][0]["version"]} in value[
        "runtimes"
    ]
    assert value["fingerprint"]["num_cores"] == os.cpu_count()


def test_info_without_a_runtime_says_so_and_exits_0(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ai_edge_litert.interpreter", "tflite_runtime.interpreter", "tensorflow"):
        monkeypatch.setitem(sys.modules, name, None)
    code, value, _ = run("info")
    assert (code, value["runtime"]) == (0, None)
    assert "no TFLite runtime works here" in value["message"]


def test_info_without_numpy_says_so_and_exits_0(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    code, value, _ = run("info")
    assert (code, value["numpy"]) == (0, None)
    assert value["message"].startswith("NumPy is not installed")


def test_predict_gives_label_and_scores(run: Any, tiny_artifact: Path, tiny_model: Any) -> None:
    code, value, _ = run("predict", tiny_artifact, "--", "w0 w1 w2", "--help")
    assert code == 0
    first, second = value["predictions"]
    expected = tiny_model.probabilities([1, 3, 4, 5, 0, 0, 0, 0])
    assert list(first["scores"]) == ["no", "ja, gewiss", "日本語"]
    np.testing.assert_allclose(list(first["scores"].values()), expected, atol=1e-6)
    assert first["label"] == list(first["scores"])[int(expected.argmax())]
    assert first["score"] == first["scores"][first["label"]]
    assert first["labels"] == [first["label"]]
    assert second["text"] == "--help"


def test_predict_reads_a_file_of_either_kind(run: Any, tiny_artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"text": "w1"}\n{"text": "w2"}\n')
    (tmp_path / "t.txt").write_text("w1\nw2\n")
    given = [run("predict", tiny_artifact, "w1", "w2")[1]]
    for name in ("t.jsonl", "t.txt"):
        given.append(run("predict", tiny_artifact, "--file", tmp_path / name)[1])
    assert given[0] == given[1] == given[2]


def test_predict_with_several_labels_gives_those_from_the_threshold_on(
    run: Any, make_artifact: Callable[..., Path]
) -> None:
    folder = make_artifact(multi_label=True, threshold=0.2)
    (prediction,) = run("predict", folder, "w0 w1 w2")[1]["predictions"]
    expected = [label for label, score in prediction["scores"].items() if score >= 0.2]
    assert prediction["labels"] == expected and len(expected) > 1


def test_predict_needs_texts_or_a_file(run: Any, tiny_artifact: Path) -> None:
    code, value, err = run("predict", tiny_artifact)
    assert (code, value) == (1, None)
    assert err == ("Error: 0 texts and file=None, expected either. Give TEXT… or --file FILE.\n")


def test_predict_refuses_bytes_that_are_no_text(run: Any, tiny_artifact: Path) -> None:
    code, _, err = run("predict", tiny_artifact, "--", "a\udcff")
    assert code == 1 and "is not valid Unicode at position 1" in err


def test_verify_passes_what_the_host_wrote(run: Any, tiny_artifact: Path) -> None:
    code, value, _ = run("verify", tiny_artifact)
    assert (code, value["passed"], value["failures"]) == (0, True, [])
    assert value["num_examples"] == 5 and value["max_abs_error"] < 1e-6
    assert value["runtime"] == "ai-edge-litert"


def test_verify_of_other_outputs_fails(run: Any, make_artifact: Callable[..., Path]) -> None:
    folder = make_artifact(model=make_artifact("other").joinpath("model.tflite").read_bytes())
    edit_golden(folder, lambda example: example.update(outputs=[0.9, 0.05, 0.05]))
    code, value, err = run("verify", folder)
    assert code == 1 and not value["passed"]
    assert "golden 0: outputs differ by up to 0." in err and "allowed are 1e-05" in err


def test_verify_of_other_token_ids_fails(run: Any, tiny_artifact: Path) -> None:
    """As with a vocabulary whose lines were swapped and whose digest was made to fit."""
    edit_golden(tiny_artifact, lambda example: example["token_ids"].reverse())
    code, value, err = run("verify", tiny_artifact)
    assert code == 1
    assert "golden 0: this device's token ids differ from the host's" in err


def edit_golden(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes the first golden, and the digest, so that only the numbers are wrong."""
    from device_runner.files import sha256_of_file

    path = folder / "golden.json"
    golden = json.loads(path.read_text())
    change(golden["examples"][0])
    path.write_text(json.dumps(golden))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["golden.json"] = {
        "sha256": sha256_of_file(path),
        "bytes": path.stat().st_size,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_run_writes_ids_and_outputs(
    run: Any, tiny_artifact: Path, tiny_model: Any, texts_file: Path, tmp_path: Path
) -> None:
    code, value, _ = run(
        "run", tiny_artifact, "--input", texts_file, "--output", tmp_path / "o.npz"
    )
    assert (code, value["num_examples"]) == (0, 300)
    with np.load(tmp_path / "o.npz", allow_pickle=False) as arrays:
        ids, outputs = arrays["token_ids"], arrays["outputs"]
    assert (ids.dtype, ids.shape) == (np.int32, (300, 8))
    assert (outputs.dtype, outputs.shape) == (np.float32, (300, 3))
    expected = [tiny_model.probabilities(row) for row in ids.tolist()]
    np.testing.assert_allclose(outputs, expected, atol=1e-6)


def test_run_of_a_bare_model_takes_token_ids(
    run: Any, tiny_model: Any, tiny_artifact: Path, texts_file: Path, tmp_path: Path
) -> None:
    run("run", tiny_artifact, "--input", texts_file, "--output", tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as arrays:
        np.save(tmp_path / "ids.npy", arrays["token_ids"])
        expected = arrays["outputs"]
    code, _, _ = run(
        "run", tiny_model.path, "--token-ids", tmp_path / "ids.npy", "--output", tmp_path / "b.npz"
    )
    assert code == 0
    with np.load(tmp_path / "b.npz") as arrays:
        np.testing.assert_array_equal(arrays["outputs"], expected)


def test_run_of_no_texts_writes_empty_arrays(run: Any, tiny_artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "none.jsonl").write_text("")
    code, value, _ = run(
        "run", tiny_artifact, "--input", tmp_path / "none.jsonl", "--output", tmp_path / "o.npz"
    )
    assert (code, value["num_examples"]) == (0, 0)


def test_bare_model_has_no_words(run: Any, tiny_model: Any, texts_file: Path) -> None:
    code, _, err = run("run", tiny_model.path, "--input", texts_file, "--output", "o.npz")
    assert code == 1 and "tiny.tflite is a bare .tflite: it has no vocabulary" in err
    runnable = open_runnable(tiny_model.path)
    with pytest.raises(ValueError, match=r"is a bare \.tflite: it has no labels"):
        runnable.decode(np.zeros(3, np.float32))
    code, _, err = run("verify", tiny_model.path)
    assert code == 1 and "is a bare .tflite: it has no goldens to check" in err


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([[20] * 8], "token_ids has ids from 20 to 20, the vocabulary of"),
        ([[1] * 9], "token_ids has 9 ids a row,"),
    ],
)
def test_ids_outside_the_vocabulary_never_reach_the_model(
    run: Any, tiny_artifact: Path, tmp_path: Path, ids: list[list[int]], message: str
) -> None:
    np.save(tmp_path / "ids.npy", np.array(ids))
    code, _, err = run(
        "run", tiny_artifact, "--token-ids", tmp_path / "ids.npy", "--output", tmp_path / "o.npz"
    )
    assert code == 1 and message in err
    assert not (tmp_path / "o.npz").exists()


def test_outputs_that_are_no_numbers_are_no_prediction(tiny_artifact: Path) -> None:
    runnable = open_runnable(tiny_artifact)
    with pytest.raises(ValueError, match=r"gave \[nan, .*\], expected finite probabilities"):
        runnable.decode(np.array([np.nan, 0, 0], np.float32))


def test_model_of_other_sizes_than_its_manifest_is_refused(
    run: Any, make_artifact: Callable[..., Path], convert_tiny: Callable[..., bytes]
) -> None:
    import tensorflow as tf

    two = convert_tiny(lambda ids: tf.cast(ids[:, :2], tf.float32))
    code, _, err = run("verify", make_artifact("two", model=two))
    assert code == 1
    assert "has sequence_length=8 and num_classes=2, the manifest says 8 and 3" in err


def test_memory_is_the_process_peak(run: Any, tiny_artifact: Path) -> None:
    code, value, _ = run("memory", tiny_artifact)
    assert code == 0
    assert value["peak_memory_bytes"] >= value["baseline_memory_bytes"] > 1_000_000


def test_bench_of_artifacts_and_a_bare_model(
    run: Any, make_artifact: Callable[..., Path], tiny_model: Any, texts_file: Path, tmp_path: Path
) -> None:
    paths = [make_artifact("one"), make_artifact("two"), tiny_model.path]
    code, shown, _ = run(
        *("bench", *paths, "--texts", texts_file, "--profile", "test"),
        *("--num-threads", 2, "--output", tmp_path / "b.json"),
    )
    assert code == 0
    assert "latencies_ns" not in shown["results"][0]
    one, two, bare = json.loads((tmp_path / "b.json").read_text())["results"]
    assert [one["name"], two["name"], bare["name"]] == ["one", "two", "tiny"]
    for result in (one, two, bare):
        assert result["num_runs"] == len(result["latencies_ns"]) == 135
        assert result["p50_ns"] == sorted(result["latencies_ns"])[67]
        assert result["p99_ns"] is None
        assert result["early_stopping_p90_ns"] >= result["p90_ns"]
        assert result["min_ns"] <= result["p50_ns"] <= result["max_ns"]
        assert result["num_threads"] == 2 and result["delegate"] == "cpu"
        assert result["fingerprint"]["num_cores"] == os.cpu_count()
        assert result["timer_overhead_ns"] < 100_000
    assert one["end_to_end_p50_ns"] > one["tokenize_p50_ns"] > 0
    assert (one["input_source"], one["num_inputs"]) == ("texts", 300)
    assert bare["end_to_end_p50_ns"] is None and bare["input_source"] == "zeros"
    assert bare["validity"] == "degraded"
    assert bare["validity_reasons"][:2] == [
        "not verified: a bare .tflite",
        "every input is zeros, not real text",
    ]


def test_bench_of_a_bare_model_takes_token_ids(run: Any, tiny_model: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "ids.npy", np.arange(40).reshape(5, 8) % 20)
    _, value, _ = run(
        "bench", tiny_model.path, "--token-ids", tmp_path / "ids.npy", "--profile", "test"
    )
    (result,) = value["results"]
    assert (result["input_source"], result["num_inputs"]) == ("token_ids", 5)
    assert "every input is zeros, not real text" not in result["validity_reasons"]


def test_bench_without_texts_uses_the_goldens_and_says_so(run: Any, tiny_artifact: Path) -> None:
    _, value, _ = run("bench", tiny_artifact, "--profile", "test")
    (result,) = value["results"]
    assert (result["input_source"], result["num_inputs"]) == ("goldens", 5)
    assert "the inputs are the few golden texts" in result["validity_reasons"]


def test_bench_shuffles_texts_alike_every_time(texts_file: Path, tmp_path: Path) -> None:
    first = benchmark._shuffled_texts(str(texts_file))
    assert first == benchmark._shuffled_texts(str(texts_file))
    texts = [json.loads(line)["text"] for line in texts_file.read_text().splitlines()]
    assert first != texts and sorted(first) == sorted(texts)
    # RandomState(1).permutation(300)[:3], which NumPy has promised never to change (NEP 19).
    assert first[:3] == [texts[i] for i in (189, 123, 185)]


def test_bench_tokenizer_has_not_met_the_texts_before(
    tiny_artifact: Path, texts_file: Path
) -> None:
    """Its caches would make the end-to-end time that of a text seen before."""
    runnable = open_runnable(tiny_artifact)
    contestant, _ = benchmark._feed(runnable, ["w1 w2"], None)
    assert runnable.artifact is not None and contestant.encode is not None
    assert contestant.encode.__self__ is runnable  # type: ignore[attr-defined]
    caches = [value for key, value in vars(runnable.artifact.tokenizer).items() if "cache" in key]
    assert not any(caches)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--profile", "fast"], "profile='fast' is unknown. Use one of: quick, mlperf"),
        (["--num-threads", "0"], "num_threads=0, expected 1 to 256"),
        (["--texts", "EMPTY"], "empty.jsonl has no texts, expected at least 1"),
        (["--texts", "a", "--texts", "b"], "2 files of texts for 1 models, expected one for all"),
        (["--texts", "nowhere.jsonl"], "nowhere.jsonl"),
    ],
)
def test_bench_refuses_settings_it_cannot_use(
    run: Any, tiny_artifact: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    given = [str(tmp_path / "empty.jsonl") if item == "EMPTY" else item for item in arguments]
    code, _, err = run("bench", tiny_artifact, *given)
    assert code == 1 and message in err


def test_bench_refuses_texts_for_bare_models_only(
    run: Any, tiny_model: Any, texts_file: Path
) -> None:
    code, _, err = run("bench", tiny_model.path, "--texts", texts_file)
    assert code == 1 and "but every model is a bare .tflite without a vocabulary" in err


def test_bench_takes_texts_for_each_model(
    run: Any, make_artifact: Callable[..., Path], tiny_model: Any, texts_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "few.txt").write_text("w1\nw2\n")
    _, value, _ = run(
        *("bench", make_artifact("one"), make_artifact("two"), tiny_model.path),
        *("--texts", texts_file, "--texts", tmp_path / "few.txt", "--texts", ""),
        *("--profile", "test"),
    )
    assert [result["num_inputs"] for result in value["results"]] == [300, 2, 1]


def test_bench_measures_nothing_when_a_golden_fails(run: Any, tiny_artifact: Path) -> None:
    edit_golden(tiny_artifact, lambda example: example.update(outputs=[0.9, 0.05, 0.05]))
    code, value, err = run("bench", tiny_artifact, "--profile", "test")
    assert (code, value) == (1, None)
    assert "tiny is not measured: golden 0: outputs differ" in err and "_ns" not in err


def test_changed_model_is_refused_by_every_command(
    run: Any, tiny_artifact: Path, tmp_path: Path
) -> None:
    path = tiny_artifact / "model.tflite"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    for command in (
        ["predict", tiny_artifact, "w1"],
        ["verify", tiny_artifact],
        ["bench", tiny_artifact],
        ["memory", tiny_artifact],
        ["run", tiny_artifact, "--input", "x", "--output", "y"],
    ):
        code, value, err = run(*command)
        assert (code, value) == (1, None)
        assert "model.tflite has the SHA-256" in err


def test_wrong_usage_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["fly"], ["bench"], ["run", "a", "--output", "b"]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
    capsys.readouterr()


def test_every_command_has_help_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("info", "predict", "verify", "run", "bench", "memory", "ops"):
        with pytest.raises(SystemExit) as caught:
            main([command, "--help"])
        assert caught.value.code == 0
        assert f"Example: python -m device_runner {command}" in capsys.readouterr().out


def test_interrupt_exits_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("device_runner.machine.read_fingerprint", interrupt)
    assert main(["info"]) == 130


# Standing alone.

SOURCES = sorted(Path(device_runner.__file__).parent.glob("*.py"))
RUNTIME_MODULES = {"ai_edge_litert", "tflite_runtime", "tensorflow"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_runner_imports_the_standard_library_and_numpy_only(path: Path) -> None:
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    assert names <= set(sys.stdlib_module_names) | {"numpy", "device_runner"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_runner_is_python_3_7_syntax(path: Path) -> None:
    ast.parse(path.read_text("utf-8"), feature_version=(3, 7))


def copy_runner(folder: Path) -> Path:
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(device_runner.__file__).parent, folder / "device_runner", ignore=ignore)
    return folder


def run_alone(python: str, folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs a copy of the runner with another Python, without a word of UTF-8 in the environment."""
    command = [python, "-m", "device_runner", *map(str, arguments)]
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=120
    )


def test_runner_copied_alone_works_on_python_3_7(old_python: str, tmp_path: Path) -> None:
    done = run_alone(old_python, copy_runner(tmp_path), "info")
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert value["fingerprint"]["python"].startswith("CPython 3.7.")


@pytest.mark.parametrize("which", ["this", "tflite-runtime", "3.7"])
def test_runner_copied_alone_verifies_predicts_and_measures(
    which: str, tiny_artifact: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The same labels and probabilities from each runtime, and the same token ids."""
    fixtures = {"tflite-runtime": "tflite_runtime_python", "3.7": "old_python"}
    python = sys.executable if which == "this" else request.getfixturevalue(fixtures[which])
    folder = copy_runner(tmp_path / "alone")
    info = json.loads(run_alone(python, folder, "info").stdout)
    if info["runtime"] is None:
        pytest.skip(f"{python} has no TFLite runtime: {info['message']}")
    assert info["runtime"] == ("ai-edge-litert" if which == "this" else "tflite-runtime")
    done = run_alone(python, folder, "verify", tiny_artifact)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["passed"] is True
    done = run_alone(python, folder, "predict", tiny_artifact, "--", "w1 w2")
    assert '"日本語"' in done.stdout, done.stderr
    done = run_alone(python, folder, "bench", tiny_artifact)
    (result,) = json.loads(done.stdout)["results"]
    assert result["runtime"] == info["runtime"]
    assert result["num_runs"] >= 100 and result["p99_ns"] > 0


def test_runner_starts_without_the_runtime_until_it_needs_it(tmp_path: Path) -> None:
    code = (
        "import sys; from device_runner.__main__ import main\n"
        "try: main(['bench', '--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'numpy', 'ai_edge_litert'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_reader_that_goes_away_is_no_traceback(tmp_path: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m device_runner info | true; exit ${{PIPESTATUS[0]}}",
        shell=True, executable="/bin/bash", capture_output=True, text=True,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
