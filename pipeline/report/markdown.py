"""report.json dict → report.md: the sentences and tables of the page, without its plots."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tfpipe.report import facts, measured, rounding_tables, variant_tables
from tfpipe.report.contents import contents_table
from tfpipe.report.headline import baseline_sentence, best_artifacts, trained_sentence
from tfpipe.report.op_tables import op_reasons, op_tables
from tfpipe.report.results import result_tables
from tfpipe.report.table import Table, escape_markdown, markdown_table, one_line
from tfpipe.report.verdict import sentence

NO_EXPORTS = "Nothing is exported yet: run `tfpipe export {name} --target cpu --scheme float32`."
NO_BENCH = "Nothing is measured yet: run `tfpipe bench {name}/exports/NAME`."


def missing_parts(report: dict[str, Any]) -> list[str]:
    """Returns a sentence for each part that the run folder does not have (yet), and its notes."""
    name = report["run"]["name"]
    parts = []
    if not report["artifacts"]:
        parts.append(NO_EXPORTS.format(name=name))
    elif not any(a["latency"] or a["latency_withheld"] for a in report["artifacts"]):
        parts.append(NO_BENCH.format(name=name))
    if report["history"] is None:
        parts.append("There is no train/history.csv, hence no training curves.")
    return [*parts, *report["notes"]]


def render_markdown(report: dict[str, Any]) -> str:
    """Returns the whole report as Markdown."""
    return "\n".join(_blocks(report))


def _blocks(report: dict[str, Any]) -> Iterator[str]:
    yield f"# {escape_markdown(report['run']['name'])}\n"
    yield escape_markdown(f"{trained_sentence(report)} {baseline_sentence(report)}") + "\n"
    best = best_artifacts(report)
    if best:
        yield "".join(
            f"- **{escape_markdown(one.name)}** ({one.role}) {escape_markdown(one.sentence)}\n"
            for one in best
        )
    missing = missing_parts(report)
    if missing:
        yield "".join(f"- {escape_markdown(note)}\n" for note in missing)
    yield "## Results\n"
    for table in result_tables(report):
        yield _block(table, 3)
    yield _block(facts.score_table(report), 2)
    yield from _variants(report)
    yield _block(measured.verification_table(report), 2)
    yield _remarks(measured.remarks(report))
    contents = contents_table(report)
    if contents.rows:
        yield _block(contents, 2)
    for table in op_tables(report):
        yield _block(table, 2)
    yield _remarks(op_reasons(report))
    yield _block(facts.training_table(report), 2)
    yield _block(facts.choice_table(report), 2)
    yield _block(facts.data_table(report), 2)
    yield from (f"- {escape_markdown(sentence(w))}\n" for w in report["data"]["warnings"])
    yield _block(facts.label_table(report), 2)
    yield _confusion(report)
    yield _block(measured.latency_table(report), 2)
    for table in measured.bench_tables(report):
        yield _block(table, 3)
    yield from (f"- {escape_markdown(error)}\n" for error in measured.failures(report))
    yield _block(facts.recipe_table(report), 2)
    yield _block(facts.digest_table(report), 2)
    yield _block(facts.provenance_table(report), 2)
    yield "## Make it again\n\nIn the folder that holds the run:\n"
    yield "".join(f"    {one_line(line)}\n" for line in report["run"]["commands"])


def _variants(report: dict[str, Any]) -> Iterator[str]:
    compared = variant_tables.comparison_table(report)
    if compared.rows:
        yield _block(compared, 2)
        yield _block(variant_tables.weights_table(report), 3)
        for table in rounding_tables.cost_tables(report):
            yield _block(table, 3)


def _remarks(remarks: list[tuple[str, str]]) -> str:
    return "".join(
        f"- **{escape_markdown(name)}**: {escape_markdown(remark)}\n" for name, remark in remarks
    )


def _block(table: Table, level: int) -> str:
    body = markdown_table(table) if table.rows else "None.\n"
    return f"{'#' * level} {escape_markdown(table.title)}\n\n{body}"


def _confusion(report: dict[str, Any]) -> str:
    confusion = report["confusion_matrix"]
    if confusion is None:
        return (
            "## Confusion matrix\n\nNone: it is not defined for several labels to a text.\n"
            * bool(report["run"]["multi_label"])
        )
    labels = [escape_markdown(label) for label in confusion["labels"]]
    lines = [
        f"| true ↓, predicted → | {' | '.join(labels)} |",
        f"| --- |{' ---: |' * len(labels)}",
        *(
            f"| {label} | {' | '.join(map(str, row))} |"
            for label, row in zip(labels, confusion["counts"], strict=True)
        ),
    ]
    body = "\n".join(lines)
    return f"## Confusion matrix\n\nKeras model, test split, counts.\n\n{body}\n"
