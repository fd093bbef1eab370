"""Records of compressed variants → the report's tables and commands."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from test_report import (
    Page,
    bench_result,
    make_run,
    write_artifact,
    write_bench,
    write_json,
    write_run_json,
    write_verification,
)

from tfpipe.report import write_report
from tfpipe.report.rounding_tables import cost_tables
from tfpipe.report.table import Table
from tfpipe.report.variant_tables import comparison_table, weights_table

OPTIONS = {"source": "base", "shrink": 0.0, "prune": 0.0, "scan": True, "cluster": 0}
OPTIONS |= {"qat": False, "epochs": 5, "learning_rate": 0.0, "block_size": 1, "scheme": "int8"}
SIZES = {
    "before": {"plain": 2_000_000, "zip": 1_900_000, "zstd": 1_880_000},
    "after": {"plain": 500_000, "zip": 152_000, "zstd": 141_000},
    "efficiency": {"plain": 0.75, "zip": 0.92, "zstd": 0.925},
}
SCAN = {
    "metric": "accuracy",
    "num_examples": 660,
    "score": 0.91,
    "limit": 0.011,
    "asked": 0.8,
    "seconds": 1.2,
    "together": {"score": 0.902, "drop": 0.008, "sparsity": 0.61},
    "layers": [
        {"name": "embedding/embeddings", "num_weights": 320_000, "decision": "less",
         "sparsity": 0.6, "tried": [{"sparsity": 0.8, "score": 0.88, "drop": 0.03},
                                    {"sparsity": 0.6, "score": 0.905, "drop": 0.005}]},
        {"name": "lstm_0/kernel", "num_weights": 16_384, "decision": "pruned",
         "sparsity": 0.8, "tried": [{"sparsity": 0.8, "score": 0.912, "drop": -0.002}]},
        {"name": "logits/kernel", "num_weights": 1_536, "decision": "left alone",
         "sparsity": 0.0, "tried": [{"sparsity": 0.8, "score": 0.7, "drop": 0.21},
                                    {"sparsity": 0.6, "score": 0.8, "drop": 0.11},
                                    {"sparsity": 0.2, "score": 0.89, "drop": 0.02}]},
    ],
}  # fmt: skip
ERRORS = {"mean_error": 0.00123, "max_error": 0.00456, "signal_to_noise_db": 41.25}
COST = {"score": 0.909, "drop": 0.001, "agreement": 0.998, "signal_to_noise_db": 38.7}
ROUNDING = {
    "metric": "accuracy",
    "num_examples": 500,
    "score": 0.91,
    "all": {**COST, "agreement": 0.99, "signal_to_noise_db": 31.0},
    "layers": [
        {"name": "embedding", **COST},
        {"name": "dropout", **COST, "signal_to_noise_db": None},
    ],
}


def write_record(run: Path, name: str, **changes: Any) -> None:
    """Writes the compress.json of a variant; its options come over the defaults."""
    options = {**OPTIONS, **changes.pop("options", {})}
    value = {
        "schema_version": 1,
        "created": "2026-11-20T09:50:00Z",
        "from": options["source"],
        "methods": [key for key in ("shrink", "prune", "cluster", "qat") if options[key]],
        "options": options,
        "teaching": None,
        "parameters": 353_540,
        "training": [{"method": "prune", "epochs": 5, "best_epoch": 4, "seconds": 61.5}],
        "sizes": SIZES,
        "tensors": [{"name": "logits/kernel", "shape": [256, 6], "zeros": 0.5,
                     "distinct_values": 700}],
        "values": [],
        "rounding": None,
        "metrics": {"test": {"accuracy": 0.9, "macro_f1": 0.89, "num_examples": 1140},
                    "from_test": {"accuracy": 0.9079, "macro_f1": 0.9}},
        "weights_sha256": "0" * 64,
        **changes,
    }  # fmt: skip
    write_json(run / "variants" / name / "compress.json", value)


def add_variants(run: Path) -> Path:
    """Adds a pruned variant with a measured file, one of it that rounds, and one without a file."""
    pruned = [{"method": "prune", "epochs": 5, "best_epoch": 4, "seconds": 61.5, "scan": SCAN}]
    write_record(run, "sparse", options={"prune": 0.8}, training=pruned)
    tensor = {"name": "logits/kernel", "shape": [256, 6], "zeros": 0.02, "distinct_values": 251}
    write_record(
        run,
        "rounded",
        options={"source": "sparse", "qat": True, "epochs": 3},
        methods=["prune", "qat"],
        tensors=[
            {**tensor, "range": [-0.5, 0.62], "scale": [0.0031, 0.0049], "num_scales": 6, **ERRORS},
            {"name": "logits/bias", "shape": [6], "zeros": 0.0, "distinct_values": 6},
        ],
        values=[{"name": "logits/output", "range": [-7.5, 8.0], "scale": 0.0608, **ERRORS}],
        rounding=ROUNDING,
    )
    write_record(run, "half", options={"shrink": 0.5}, parameters=140_000)
    write_artifact(run, "sparse-cpu-dynamic_int8", "dynamic_int8", variant="sparse")
    changes = {"artifact": 0.8996, "keras": 0.9, "agreement": 0.9991}
    write_verification(run, "sparse-cpu-dynamic_int8", passed=True, **changes)
    results = [bench_result("sparse-cpu-dynamic_int8", 71_000)]
    write_bench(run, "local-20261120T120500Z.json", "2026-11-20T12:05:00Z", results)
    return run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return add_variants(make_run(tmp_path / "lstm-topics"))


def texts(table: Table) -> list[list[str]]:
    return [[f"{cell.text} ({cell.note})" if cell.note else cell.text for cell in row]
            for row in table.rows]  # fmt: skip


def test_variants_are_compared_file_by_file(run: Path) -> None:
    table = comparison_table(write_report(run))
    assert [column.heading for column in table.columns] == [
        "Variant", "Exported as", "Keras accuracy", "Accuracy", "Change", "Agreement",
        "Size", "Zip size", "Zstd size", "p50",
    ]  # fmt: skip
    rows = {(row[0].split(" ")[0], row[1]): row for row in texts(table)}
    assert len(rows) == 5 + 3
    base = rows["base", "lstm-float32"]
    assert base[2:6] == ["90.8 %", "90.8 % (n=1,140)", "±0.0 points", "99.8 %"]
    assert base[6] == "1.42 MB (× 1.00)"
    row = rows["sparse", "sparse-cpu-dynamic_int8"]
    assert row[0] == "sparse (prune 0.8)"
    assert row[2:6] == ["90.0 %", "90.0 % (n=1,140)", "−0.8 points", "99.9 %"]
    # 358,208 of 1,415,976 bytes, and so of both packed: the fixture packs all alike.
    assert row[6:9] == ["358 kB (× 0.25)", "312 kB (× 0.25)", "304 kB (× 0.25)"]
    assert row[9].endswith("µs (n=400)")
    assert rows["rounded", "not exported"][0] == "rounded (qat, from sparse)"
    assert rows["half", "not exported"][3:] == ["–"] * 7
    assert "AMD EPYC 7B13 (native)" in table.caption


def test_weights_are_compared_in_three_sizes(run: Path) -> None:
    rows = {row[0]: row[1:] for row in texts(weights_table(write_report(run)))}
    assert rows["half (shrink 0.5)"] == [
        "prune: 5 epochs, best 4 (1 min 02 s)",
        "140,000",
        "500 kB (efficiency 0.750)",
        "152 kB (efficiency 0.920)",
        "141 kB (efficiency 0.925)",
    ]


def test_scan_says_what_each_layer_cost_and_what_was_done(run: Path) -> None:
    (table,) = [
        t for t in cost_tables(write_report(run)) if t.title == "What pruning costs: sparse"
    ]
    assert texts(table) == [
        ["embedding/embeddings", "320,000", "88.0 %", "−3.0 points",
         "pruned to 60 % (60 %: −0.5 points)"],
        ["lstm_0/kernel", "16,384", "91.2 %", "+0.2 points", "pruned to 80 %"],
        ["logits/kernel", "1,536", "70.0 %", "−21.0 points",
         "left alone (60 %: −11.0 points, 20 %: −2.0 points)"],
    ]  # fmt: skip
    for told in ("660 validation texts", "alone to 80 %", "1.1 points", "61 % zeros, −0.8 points"):
        assert told in table.caption


def test_rounding_has_a_table_of_layers_of_weights_and_of_values(run: Path) -> None:
    tables = {table.title: texts(table) for table in cost_tables(write_report(run))}
    assert tables["What rounding costs: rounded"] == [
        ["embedding", "90.9 %", "−0.1 points", "99.8 %", "38.7 dB"],
        ["dropout", "90.9 %", "−0.1 points", "99.8 %", "–"],
        ["all layers", "90.9 %", "−0.1 points", "99.0 %", "31.0 dB"],
    ]
    assert tables["Weights, tensor by tensor: rounded"] == [
        ["logits/kernel", "256 × 6", "2.0 %", "251", "−0.5 to 0.62",
         "0.0031 to 0.0049 (6 scales)", "0.00123", "0.00456", "41.2 dB"],
        ["logits/bias", "6", "0.0 %", "6", *["–"] * 5],
    ]  # fmt: skip
    assert tables["Values, op by op: rounded"] == [
        ["logits/output", "−7.5 to 8", "0.0608", "0.00123", "0.00456", "41.2 dB"]
    ]
    assert tables["Weights, tensor by tensor: half"] == [
        ["logits/kernel", "256 × 6", "50.0 %", "700"]
    ]


def test_page_and_markdown_have_the_variants(run: Path) -> None:
    write_report(run)
    text = " ".join(Page((run / "report.html").read_text("utf-8")).text)
    markdown = (run / "report.md").read_text("utf-8")
    for told in ("Variants", "Weights of the variants", "What pruning costs: sparse"):
        assert told in text and told in markdown
    headings = re.findall(r"^## (.*)$", markdown, re.M)
    assert headings.index("Variants") == headings.index("Model and baselines") + 1


def test_run_without_variants_has_no_such_section(tmp_path: Path) -> None:
    report = write_report(make_run(tmp_path / "run"))
    assert report["variants"] == [] and not comparison_table(report).rows
    assert "Variants" not in (tmp_path / "run" / "report.md").read_text("utf-8")


def test_commands_make_variants_again_each_after_its_source(run: Path) -> None:
    write_record(
        run,
        "old",
        options={
            "prune": 0.5, "scan": None, "learning_rate": 0.0005, "block_size": None, "scheme": None,
        },
        teaching={"teachers": ["big one"], "unlabelled": None, "teachers_sha256": ["0"]},
    )  # fmt: skip
    columns = {"method": "low_rank", "epochs": 5, "columns": {"before": 64, "after": 8}}
    write_record(run, "narrow", options={"low_rank": "auto"}, training=[columns])
    blocks = {"prune": 0.8, "block_size": 16, "qat": True, "scheme": "dynamic_int4"}
    write_record(run, "blocks", options=blocks)
    folder = run / "exports" / "sparse-cpu-dynamic_int8"
    check = json.loads((folder / "check.json").read_text("utf-8"))
    check |= {"buckets": [16, 32], "proof": {"wanted": "tflite-runtime==2.14.0"}}
    write_json(folder / "check.json", check)
    report = write_report(run)
    assert "narrow (8 of 64 columns)" in {row[0] for row in texts(weights_table(report))}
    commands = report["run"]["commands"]
    again = "lstm-topics-again"
    assert commands[1:7] == [
        f"tfpipe compress {again} --as blocks --prune 0.8 --epochs 5 --block-size 16 --qat "
        "--scheme dynamic_int4",
        f"tfpipe compress {again} --as half --shrink 0.5 --epochs 5",
        f"tfpipe compress {again} --as narrow --low-rank auto --epochs 5",
        f"tfpipe compress {again} --as old --prune 0.5 --epochs 5 --learning-rate 0.0005 --no-scan "
        "--teacher 'big one'",
        f"tfpipe compress {again} --as sparse --prune 0.8 --epochs 5",
        f"tfpipe compress {again} --as rounded --from sparse --epochs 3 --qat",
    ]
    (export,) = [c for c in commands if c.startswith(f"tfpipe export {again} --as sparse-")]
    assert export.endswith("--variant sparse --buckets 16,32 --runtime tflite-runtime==2.14.0")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"options": {"prune": "much"}, "methods": []}, "options: prune='much' is not a number"),
        ({"sizes": {"after": 3}}, "sizes: after=3 is not an object"),
        ({"values": [{"name": "x", "range": ["low"]}]}, r"values[0]: range=['low'] is not a list"),
        ({"schema_version": 2}, "schema_version=2, but this tfpipe reads 1"),
    ],
)
def test_damaged_record_is_named(changes: dict[str, Any], problem: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    write_run_json(run, ["a", "b"])
    write_record(run, "one", **changes)
    with pytest.raises(ValueError, match=re.escape(problem)) as caught:
        write_report(run)
    assert "compress.json" in str(caught.value)
