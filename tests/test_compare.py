"""Tests of `tfpipe compare`: the interval's coverage, the verdicts, what is not compared."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from device_runner.artifact import read_artifact
from device_runner.profiles import choose_profile
from tfpipe import devices
from tfpipe.cli import cli
from tfpipe.compare import MeasureOptions, bootstrap, compare, judge
from tfpipe.compare.bootstrap import Ratio, ratio_of_medians

# The interval.


def stretches(random: np.random.Generator, count: int) -> np.ndarray:
    """Slowness of 60 stretches of 15 calls: what other processes do to neighbours alike."""
    return np.repeat(np.exp(random.normal(0, 0.1, count // 15)), 15)


def calls(random: np.random.Generator, median: float, slowness: np.ndarray) -> list[int]:
    """Latencies with a heavy right tail."""
    tail = np.exp(np.abs(random.standard_cauchy(len(slowness))).clip(0, 5) * 0.02)
    return (median * tail * slowness).astype(int).tolist()


@pytest.mark.parametrize("paired", [True, False])
def test_interval_covers_the_true_ratio(paired: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """95 % of intervals should; 150 of them have a standard error of 1.8 points."""
    monkeypatch.setattr(bootstrap, "REPLICATES", 300)
    covered = 0
    for seed in range(150):
        random = np.random.default_rng(seed)
        slow = stretches(random, 900)
        a = calls(random, 100_000, slow)
        b = calls(random, 110_000, slow if paired else stretches(random, 900))
        found = ratio_of_medians(a, b, paired=paired)
        covered += found.low <= 1.1 <= found.high
    assert 0.88 <= covered / 150 <= 1


def test_resampling_single_calls_would_cover_far_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same calls in an order that hides their stretches: why blocks are what is drawn."""
    monkeypatch.setattr(bootstrap, "REPLICATES", 300)
    covered = 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        a = calls(random, 100_000, stretches(random, 900))
        b = calls(random, 110_000, stretches(random, 900))
        found = ratio_of_medians(random.permutation(a), random.permutation(b), paired=False)
        covered += found.low <= 1.1 <= found.high
    assert covered / 60 < 0.75


def test_pairing_takes_out_what_slowed_both() -> None:
    random = np.random.default_rng(0)
    slow = stretches(random, 900)
    a, b = calls(random, 100_000, slow), calls(random, 110_000, slow)
    paired, unpaired = (ratio_of_medians(a, b, paired=choice) for choice in (True, False))
    assert paired.high - paired.low < 0.5 * (unpaired.high - unpaired.low)
    assert (paired.num_units, paired.paired, unpaired.paired) == (50, True, False)


def test_ratio_is_that_of_the_nearest_rank_medians() -> None:
    a, b = list(range(1, 101)), list(range(101, 301, 2))
    found = ratio_of_medians(a, b, paired=False)
    assert found.ratio == 199 / 50
    assert found.low < 199 / 50 < found.high


def test_pairs_are_cut_to_the_time_that_both_ran() -> None:
    """B went on alone, and was faster then."""
    found = ratio_of_medians([100] * 100, [110] * 100 + [50] * 5000, paired=True)
    assert (found.ratio, found.low, found.high) == (1.1, 1.1, 1.1)


def test_weighted_median_is_that_of_the_repeated_samples() -> None:
    random = np.random.default_rng(3)
    samples = random.integers(1, 50, 97)
    counts = random.multinomial(10, [0.1] * 10, size=20)
    parts = np.array_split(samples, 10)
    expected = []
    for row in counts:
        copied = sorted(np.concatenate([np.tile(p, k) for p, k in zip(parts, row, strict=True)]))
        expected.append(copied[(len(copied) + 1) // 2 - 1])
    assert bootstrap._medians(samples, counts).tolist() == expected


def test_many_samples_are_thinned_evenly() -> None:
    assert len(bootstrap._thin(np.arange(50_000))) == 50_000
    thinned = bootstrap._thin(np.arange(120_001))
    assert len(thinned) == 40_001 and thinned[-1] == 120_000


def test_too_few_and_unusable_samples_are_refused() -> None:
    with pytest.raises(ValueError, match=r"49 calls were measured, expected at least 50 of each"):
        ratio_of_medians([1] * 49, [1] * 100, paired=False)
    with pytest.raises(ValueError, match=r"medians=\[0, 1\] ns, expected both above 0"):
        ratio_of_medians([0] * 60, [1] * 60, paired=False)


# The verdict.


@pytest.mark.parametrize(
    ("ratio", "low", "high", "noise", "verdict", "reason"),
    [
        (1.00, 0.98, 1.02, 0.02, "pass", ""),
        (0.50, 0.45, 0.55, 0.02, "pass", ""),
        (1.20, 1.15, 1.25, 0.02, "fail", "B takes 1.200 times as long as A, at least 1.150; 1.050"),
        (1.04, 1.00, 1.08, 0.02, "warn", "the interval reaches 1.080, above the allowed 1.050"),
        (1.08, 1.04, 1.12, 0.02, "warn", "the interval reaches 1.120, above the allowed 1.050"),
        (1.00, 0.98, 1.02, 0.07, "warn", "the noise floor is 7.0%, above the allowed 5.0%"),
        # Above the limit, but A differs from itself by as much.
        (1.08, 1.06, 1.10, 0.09, "warn", "the interval reaches 1.100"),
    ],
)
def test_verdict_weighs_interval_and_noise(
    ratio: float, low: float, high: float, noise: float, verdict: str, reason: str
) -> None:
    found, reasons = judge(Ratio(ratio, low, high, 50, True), noise, 0.05)
    assert found == verdict
    assert reasons[0].startswith(reason) if reason else reasons == []


# Files of results.


def result(name: str = "one", *, slower: float = 1.0, seed: int = 0, **changes: Any) -> Any:
    random = np.random.default_rng(seed)
    samples = (random.normal(100_000, 1_000, 900) * slower).astype(int).tolist()
    found = {
        "artifact": f"exports/{name}",
        "name": name,
        "model_sha256": "0" * 64,
        "num_runs": 900,
        "p50_ns": sorted(samples)[449],
        "p90_ns": sorted(samples)[809],
        "device": "local",
        "device_kind": "native",
        "runtime": "ai-edge-litert",
        "runtime_version": "2.3.0",
        "delegate": "cpu",
        "num_threads": 1,
        "profile": "quick",
        "fingerprint": {"governors": ["performance"] * 2, "cpu_model": "A72"},
        "validity": "valid",
        "validity_reasons": [],
        "end_to_end_latencies_ns": [],
        "latencies_ns": samples,
    }
    return {**found, **changes}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def make(name: str, *results: Any) -> Path:
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps({"results": results}))
        return path

    return make


def test_slower_results_fail_and_equal_ones_pass(write: Callable[..., Path]) -> None:
    a, same = write("a", result()), write("same", result(seed=1))
    slow = write("slow", result(slower=1.2, seed=1))
    passed, failed = compare(a, same), compare(a, slow)
    assert passed["verdict"] == "pass" and failed["verdict"] == "fail"
    (item,) = failed["comparisons"]
    assert item["ratio"] == pytest.approx(1.2, abs=0.005)
    assert item["interval"][0] < 1.2 < item["interval"][1]
    assert item["noise_floor_source"].startswith("the two halves of A")
    assert not item["interleaved"]
    assert compare(a, slow, max_regression=0.3)["verdict"] == "pass"


def test_results_are_matched_by_name_and_the_worst_verdict_counts(
    write: Callable[..., Path],
) -> None:
    a = write("a", result("x"), result("y"), result("gone"))
    b = write("b", result("y", slower=1.2), result("new"), result("x"))
    record = compare(a, b)
    assert [item["name"] for item in record["comparisons"]] == ["x", "y"]
    assert [item["verdict"] for item in record["comparisons"]] == ["pass", "fail"]
    assert record["verdict"] == "fail"


def test_two_results_of_different_names_are_compared(write: Callable[..., Path]) -> None:
    record = compare(write("a", result("old")), write("b", result("new")))
    assert record["comparisons"][0]["name"] == "old → new"


DIFFERENT: dict[str, tuple[dict[str, Any], str]] = {
    "device_kind": ({"device_kind": "emulated"}, "device_kind is 'native' and 'emulated'"),
    "num_threads": ({"num_threads": 4}, "num_threads is 1 and 4"),
    "runtime": ({"runtime": "tflite-runtime"}, "runtime is 'ai-edge-litert' and 'tflite-runtime'"),
    "runtime_version": ({"runtime_version": "2.2.0"}, "runtime_version is '2.3.0' and '2.2.0'"),
    "delegate": ({"delegate": "gpu"}, "delegate is 'cpu' and 'gpu'"),
    "profile": ({"profile": "paced"}, "profile is 'quick' and 'paced'"),
    "inputs_sha256": ({"inputs_sha256": "ab"}, "inputs_sha256 is None and 'ab'"),
    "mean_tokens": ({"mean_tokens": 7.5}, "mean_tokens is None and 7.5"),
    "governors": (
        {"fingerprint": {"governors": ["powersave"] * 2, "cpu_model": "A72"}},
        r"governors is \['performance'\] and \['powersave'\]",
    ),
    "cpu_model": (
        {"fingerprint": {"governors": ["performance"] * 8, "cpu_model": "A53"}},
        "cpu_model is 'A72' and 'A53'",
    ),
}


@pytest.mark.parametrize("field", DIFFERENT)
def test_different_settings_are_not_compared_unless_told(
    field: str, write: Callable[..., Path]
) -> None:
    changes, told = DIFFERENT[field]
    a, b = write("a", result()), write("b", result(**changes))
    message = rf"one and one do not compare: {told}. .* --allow-different {field}"
    with pytest.raises(ValueError, match=message):
        compare(a, b)
    record = compare(a, b, allow_different=[field])
    assert record["verdict"] == "pass" and record["allowed_differences"] == [field]


def test_same_texts_in_another_number_of_tokens_are_compared_and_told(
    write: Callable[..., Path],
) -> None:
    """As of a model with a smaller vocabulary."""
    a = write("a", result(inputs_sha256="ab", mean_tokens=7.5))
    record = compare(a, write("b", result(inputs_sha256="ab", mean_tokens=9.0)))
    assert record["comparisons"][0]["notes"] == [
        "a text has 7.5 tokens in A and 9.0 in B, in the mean"
    ]


def test_every_difference_is_named(write: Callable[..., Path]) -> None:
    a, b = write("a", result()), write("b", result(num_threads=2, delegate="gpu"))
    with pytest.raises(ValueError, match=r"--allow-different delegate --allow-different num_thr"):
        compare(a, b, allow_different=["governors"])


def test_what_cannot_be_compared_is_refused(write: Callable[..., Path], tmp_path: Path) -> None:
    a = write("a", result())
    doubtful = result(validity="degraded", validity_reasons=["load average 9"])
    record = compare(a, write("doubtful", doubtful))
    assert record["comparisons"][0]["notes"] == ["B: load average 9"]
    invalid = write("invalid", result(validity="invalid", validity_reasons=["10 runs"]))
    other = write("other", result("x"), result("y"))
    (tmp_path / "bad.json").write_text("{")
    cases: list[tuple[Path, Path, dict[str, Any], str]] = [
        (a, invalid, {}, r"B, one, is invalid \(10 runs\), expected a valid or degraded"),
        (a, other, {}, r"A has one and B has x, y: no name stands in both"),
        (other, write("twice", result("x"), result("x")), {}, r"B has several results called x"),
        (a, tmp_path / "bad.json", {}, r"bad.json is not JSON: .* Give a file that `tfpipe bench"),
        (a, write("empty"), {}, r"empty.json has no results, expected at least 1"),
        (a, write("thin", {"name": "one"}), {}, r"thin.json: results\[0\] has no latencies_ns"),
        (a, write("anonymous", {"latencies_ns": [1]}), {}, r"results\[0\] has no name"),
        (a, tmp_path, {}, r"one is a file of results, the other is not"),
        (a, a, {"max_regression": -0.1}, r"max_regression=-0.1, expected 0 to 10"),
        (a, a, {"max_regression": float("nan")}, r"max_regression=nan, expected 0 to 10"),
        (a, a, {"allow_different": ["moon"]}, r"allow_different=moon is unknown. Use some of: d"),
    ]
    for first, second, options, message in cases:
        with pytest.raises(ValueError, match=message):
            compare(first, second, **options)


# Artifacts.


def verified(folder: Path) -> Path:
    found = {"passed": True, "model_sha256": read_artifact(folder).manifest.model_sha256}
    (folder / "verify.json").write_text(json.dumps(found))
    return folder


class FakeDevice:
    """Answers as the runner does; a path with "slow" in its name takes 1.3 times as long."""

    name, kind = "fake", "emulated"

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.told: dict[str, Any] = {}

    def run(self, arguments: Sequence[str], *, time_limit_s: float) -> Any:
        self.commands.append(list(arguments))
        paths = arguments[arguments.index("--") + 1 :]
        return {
            "results": [
                result(
                    Path(path).name, slower=1.3 if "slow" in path else 1.0, seed=seed, **self.told
                )
                for seed, path in enumerate(paths)
            ]
        }


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    device = FakeDevice()
    monkeypatch.setitem(devices.DEVICES, "fake", lambda name: device)
    return device


def test_artifacts_are_measured_with_the_noise_beside_them(
    fake: FakeDevice, make_artifact: Callable[..., Path], tmp_path: Path
) -> None:
    a, b = verified(make_artifact("good")), verified(make_artifact("slow"))
    output = tmp_path / "comparison.json"
    record = compare(a, b, options=MeasureOptions("fake", "mlperf", 2), output=output)
    (command,) = fake.commands
    assert command[-3:] == [str(a), str(a), str(b)]
    assert command[:5] == ["bench", "--num-threads", "2", "--profile", "mlperf"]
    (item,) = record["comparisons"]
    assert (record["verdict"], item["interleaved"]) == ("fail", True)
    assert item["noise_floor_source"] == "A against itself, measured in turn with B"
    assert item["noise_floor"] < 0.01 < item["ratio"] - 1
    assert item["a"]["device_kind"] == "emulated"
    written = json.loads(output.read_text("utf-8"))
    assert [len(entry["latencies_ns"]) for entry in written["results"]] == [900] * 3
    assert written["comparisons"] == record["comparisons"]


def test_delegate_is_passed_on_and_a_software_gpu_is_called_that(
    fake: FakeDevice, make_artifact: Callable[..., Path]
) -> None:
    fake.told = {"is_software_gpu": True, "delegate": "gpu"}
    a, b = verified(make_artifact("a")), verified(make_artifact("b"))
    record = compare(a, b, options=MeasureOptions("fake", delegate="gpu"))
    assert fake.commands[0][:5] == ["bench", "--num-threads", "1", "--delegate", "gpu"]
    assert record["comparisons"][0]["a"]["device_kind"] == "software-gpu"


def test_artifact_that_is_not_verified_is_not_compared(
    fake: FakeDevice, make_artifact: Callable[..., Path]
) -> None:
    with pytest.raises(ValueError, match=r"has no verify.json"):
        compare(verified(make_artifact("a")), make_artifact("b"), options=MeasureOptions("fake"))
    assert fake.commands == []


def test_identical_artifacts_are_no_regression(
    make_artifact: Callable[..., Path], texts_file: Path
) -> None:
    """Measured for real; on a busy machine the verdict may be a warning, never a failure."""
    a, b = verified(make_artifact("a")), verified(make_artifact("b"))
    profile = choose_profile("paced", rate_hz=500, duration_s=1)
    options = MeasureOptions(profile=profile, texts=texts_file)
    record = compare(a, b, options=options, max_regression=0.5)
    assert record["verdict"] in ("pass", "warn")
    (item,) = record["comparisons"]
    assert item["a"]["num_runs"] == item["b"]["num_runs"] == 500
    assert 0.6 < item["ratio"] < 1.5


# The command.


def test_command_exits_with_the_verdict(write: Callable[..., Path]) -> None:
    a, slow = write("a", result()), write("slow", result(slower=1.2))
    done = CliRunner().invoke(cli, ["compare", str(a), str(slow)])
    assert done.exit_code == 1
    assert json.loads(done.stdout)["verdict"] == "fail"
    assert "Error: B takes 1.200 times as long as A" in done.stderr
    done = CliRunner().invoke(
        cli, ["compare", str(a), str(slow), "--max-regression", "25%", "--format", "text"]
    )
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0].startswith("PASS  one: 1.200 times as long (95 % interval 1.19")
    assert lines[0].endswith("25.0% slower is allowed")
    assert lines[1].startswith("  A: exports/one, p50 100.0 us of 900 calls, local (native), ai-")
    assert lines[3].startswith("  noise floor ") and len(lines) == 4


@pytest.mark.parametrize(
    ("share", "message"),
    [("5", "'5' is ambiguous, expected 5% or a number below 1"), ("x", "'x' is not a share")],
)
def test_share_without_a_meaning_is_wrong_usage(
    share: str, message: str, write: Callable[..., Path]
) -> None:
    a = write("a", result())
    done = CliRunner().invoke(cli, ["compare", str(a), str(a), "--max-regression", share])
    assert done.exit_code == 2 and message in done.stderr
    done = CliRunner().invoke(cli, ["compare", str(a), str(a), "--max-regression", "0.05"])
    assert json.loads(done.stdout)["max_regression"] == 0.05
