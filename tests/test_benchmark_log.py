"""Tests of reading benchmark_model's log, on logs of the tool's versions from 2018 to today."""

from __future__ import annotations

import pytest

from tfpipe.bench.benchmark_log import parse_delegate, parse_log

# tensorflow/tensorflow issue 42507 (2020)
LOG_2020 = """STARTING!
Num threads: [4]
Loaded model /data/local/tmp/espcn.tflite
The input model file size (MB): 0.004448
Initialized session in 0.855ms.
Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150
count=15 first=49060 curr=33682 min=32825 max=49060 avg=34825.1 std=3930

Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150
count=50 first=32891 curr=33978 min=32641 max=34005 avg=33209.4 std=450

Inference timings in us: Init: 855, First inference: 49060, Warmup (avg): 34825.1, \
Inference (avg): 33209.4
Peak memory footprint (MB): init=0 overall=12.8672
"""
# of 2024 on: with levels, and with percentiles
LOG_2024 = """INFO: STARTING!
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
INFO: Initialized session in 5.579ms.
INFO: count=1 curr=1357602 p5=1357602 median=1357602 p95=1357602

INFO: count=50 first=1249964 curr=1240143 min=1238588 max=1252566 avg=1.24027e+06 std=2565 \
p5=1238753 median=1239807 p95=1247415

INFO: Inference timings in us: Init: 5579, First inference: 1357602, Warmup (avg): 1.3576e+06, \
Inference (avg): 1.24027e+06
"""
LOG_2018 = """STARTING!
Initialized session in 9.933ms
count=7 first=127425 curr=66709 min=66709 max=127425 avg=76605.9 std=20944

count=15 first=66753 curr=66800 min=66699 max=66838 avg=66767.6 std=39

Average inference timings in us: Warmup: 76605.9, Init: 9933, no stats: 66767.6
"""


def test_log_of_2020_is_read() -> None:
    assert parse_log(LOG_2020) == {
        "init_ns": 855_000,
        "first_invoke_ns": 49_060_000,
        "warmup_runs": 15,
        "num_runs": 50,
        "p50_ns": None,
        "mean_ns": 33_209_400,
        "standard_deviation_ns": 450_000,
        "min_ns": 32_641_000,
        "max_ns": 34_005_000,
    }


def test_log_of_2024_has_a_median() -> None:
    found = parse_log(LOG_2024)
    assert (found["p50_ns"], found["mean_ns"]) == (1_239_807_000, 1_240_270_000)
    assert (found["warmup_runs"], found["num_runs"]) == (1, 50)
    assert found["first_invoke_ns"] == 1_357_602_000


def test_log_of_2018_is_read() -> None:
    found = parse_log(LOG_2018)
    assert (found["init_ns"], found["mean_ns"]) == (9_933_000, 66_767_600)
    assert found["first_invoke_ns"] == 127_425_000


def test_one_run_is_its_own_mean() -> None:
    text = LOG_2024.replace(LOG_2024.split("\n\n")[1], "INFO: count=1 curr=7")
    found = parse_log(text)
    assert (found["num_runs"], found["mean_ns"], found["min_ns"]) == (1, 7000, 7000)
    assert found["standard_deviation_ns"] is None


@pytest.mark.parametrize("text", ["", "Failed to load model", LOG_2024.split("INFO: count=50")[0]])
def test_log_without_a_summary_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="benchmark_model ended without a summary"):
        parse_log(text)


def test_delegate_is_the_cpu_unless_the_log_names_another() -> None:
    assert parse_delegate(LOG_2024) == "cpu"
    assert parse_delegate("INFO: GPU delegate created.") == "unknown"
