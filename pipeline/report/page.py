"""report.json dict → one self-contained HTML page: no network, no script, no fonts to load."""

from __future__ import annotations

from typing import Any

from tfpipe.report import curves, facts, measured, plots, rounding_tables, variant_tables
from tfpipe.report.confusion import caption_of, confusion_map, worst_pairs
from tfpipe.report.contents import contents_table
from tfpipe.report.groups import groups_of
from tfpipe.report.headline import baseline_sentence, best_artifacts, trained_sentence
from tfpipe.report.html_table import html_table, scroll_box
from tfpipe.report.markdown import missing_parts
from tfpipe.report.markup import Html, join, tag
from tfpipe.report.op_tables import op_reasons, op_tables
from tfpipe.report.results import result_tables
from tfpipe.report.style import STYLE
from tfpipe.report.table import Table
from tfpipe.report.time_parts import time_parts
from tfpipe.report.tradeoff import accuracy_latency_plot
from tfpipe.report.units import keep_units
from tfpipe.report.verdict import sentence

# Longer tables are folded away; a click opens them, and paper shows them open.
_OPEN_ROWS = 12
# The page could not reach the network even if a hole in the escaping let markup in.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def render_page(report: dict[str, Any]) -> str:
    """Returns the page.

    Args:
        report: What `tfpipe.report.collect.collect` returns.
    """
    name = report["run"]["name"]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("title", f"{name}: tfpipe report"),
        tag("style", Html(STYLE)),
    )
    sections = [
        _results(report),
        _section("Model and baselines", html_table(facts.score_table(report))),
        _variants(report),
        _plots(report),
        _contents(report),
        _time_parts(report),
        _verification(report),
        _training(report),
        _confusion(report),
        _choices(report),
        _data(report),
        _bench(report),
        _provenance(report),
    ]
    main = tag("main", _headline(report), *sections)
    return f"<!DOCTYPE html>\n{tag('html', head, tag('body', main), lang='en')}\n"


def _headline(report: dict[str, Any]) -> Html:
    best = [
        tag(
            "li", tag("b", one.name), tag("span", one.role, class_="role"), keep_units(one.sentence)
        )
        for one in best_artifacts(report)
    ]
    missing = [tag("li", note) for note in missing_parts(report)]
    return join(
        [
            tag("h1", report["run"]["name"]),
            tag("p", trained_sentence(report), class_="lead"),
            tag("p", keep_units(baseline_sentence(report)), class_="lead"),
            tag("ul", *best, class_="best") if best else "",
            tag("ul", *missing, class_="notice") if missing else "",
        ]
    )


def _section(title: str, *parts: str) -> Html:
    """Returns a section; nothing at all if it has no content."""
    content = join(parts)
    return tag("section", tag("h2", title), content) if content else Html("")


def _results(report: dict[str, Any]) -> Html:
    parts = []
    for table in result_tables(report):
        parts.append(tag("h3", table.title))
        parts.append(html_table(table, "wide cards results"))
    return _section("Results", *(parts or [tag("p", "Nothing is exported yet.")]))


def _variants(report: dict[str, Any]) -> Html:
    """Returns the comparison of the variants and, folded away where long, what each cost."""
    compared = variant_tables.comparison_table(report)
    if not compared.rows:
        return Html("")
    weights = variant_tables.weights_table(report)
    parts = [html_table(compared, "wide cards"), tag("h3", weights.title)]
    parts.append(html_table(weights, "wide cards"))
    for table in rounding_tables.cost_tables(report):
        parts += [tag("h3", table.title), _foldable(table, "cards")]
    return _section("Variants", *parts)


def _plots(report: dict[str, Any]) -> Html:
    groups = [
        [
            accuracy_latency_plot(report, group, f"tradeoff-{index}"),
            plots.latency_plot(group, f"latency-{index}"),
        ]
        for index, group in enumerate(groups_of(report))
    ]
    drawn = [[figure for figure in group if figure is not None] for group in groups]
    size = plots.size_plot(report)
    drawn += [[size]] if size is not None else []
    return _section("Plots", *(tag("div", *group, class_="plots") for group in drawn if group))


def _contents(report: dict[str, Any]) -> Html:
    table = contents_table(report)
    return _section(table.title, html_table(table, "wide cards")) if table.rows else Html("")


def _time_parts(report: dict[str, Any]) -> Html:
    drawn = time_parts(report)
    parts = [tag("div", *drawn, class_="plots")] if drawn else []
    for table in op_tables(report):
        parts += [tag("h3", table.title), _foldable(table)]
    parts += _remark_list(op_reasons(report))
    return _section("Where the time goes", *parts)


def _verification(report: dict[str, Any]) -> Html:
    table = measured.verification_table(report)
    if not table.rows:
        return Html("")
    remarks = _remark_list(measured.remarks(report))
    return _section("Verification", html_table(table, "wide cards"), *remarks)


def _remark_list(remarks: list[tuple[str, str]]) -> list[Html]:
    listed = [tag("li", tag("b", name), f": {remark}") for name, remark in remarks]
    return [tag("ul", *listed)] if listed else []


def _training(report: dict[str, Any]) -> Html:
    drawn = curves.training_plots(report)
    return _section(
        "Training",
        tag("div", *drawn, class_="plots") if drawn else "",
        html_table(facts.training_table(report), "facts"),
    )


def _confusion(report: dict[str, Any]) -> Html:
    confusion = report["confusion_matrix"]
    if confusion is None:
        several = report["run"]["multi_label"]
        why = "it is not defined for several labels to a text" if several else "run.json has none"
        return _section("Confusion matrix", tag("p", f"None: {why}."))
    pairs = worst_pairs(confusion)
    return _section(
        "Confusion matrix",
        caption_of(confusion),
        scroll_box(confusion_map(confusion), "Confusion matrix"),
        tag("h3", pairs.title),
        html_table(pairs) if pairs.rows else tag("p", "No mistakes."),
    )


def _choices(report: dict[str, Any]) -> Html:
    table = facts.choice_table(report)
    return _section(table.title, html_table(table, "cards") if table.rows else tag("p", "Nothing."))


def _data(report: dict[str, Any]) -> Html:
    warnings = [tag("li", sentence(warning)) for warning in report["data"]["warnings"]]
    labels = facts.label_table(report)
    return _section(
        "Data",
        tag("ul", *warnings, class_="notice") if warnings else "",
        html_table(facts.data_table(report), "facts"),
        tag("h3", "Labels"),
        _foldable(labels) if labels.rows else tag("p", "Unknown."),
    )


def _bench(report: dict[str, Any]) -> Html:
    details = measured.latency_table(report)
    if not details.rows:
        return Html("")
    parts = [html_table(details, "wide cards")]
    for table in measured.bench_tables(report):
        parts += [tag("h3", table.title), _foldable(table, "facts")]
    failures = [tag("li", error) for error in measured.failures(report)]
    parts += [tag("h3", "Could not be measured"), tag("ul", *failures)] if failures else []
    return _section("Benchmark settings", *parts)


def _provenance(report: dict[str, Any]) -> Html:
    digests = facts.digest_table(report)
    parts = [
        tag("p", "In the folder that holds the run, these commands make it again beside it:"),
        tag("pre", tag("code", "\n".join(report["run"]["commands"])), tabindex="0"),
        html_table(digests) if digests.rows else "",
        html_table(facts.provenance_table(report), "facts"),
    ]
    recipe = facts.recipe_table(report)
    if recipe.rows:
        parts += [tag("h3", "Recipe"), _foldable(recipe, "facts")]
    return _section("Provenance", *parts)


def _foldable(table: Table, kind: str = "") -> Html:
    """Returns the table, folded away if it is long."""
    if len(table.rows) <= _OPEN_ROWS:
        return html_table(table, kind)
    return tag("details", tag("summary", f"{len(table.rows)} rows"), html_table(table, kind))
