"""report.json dict → the answer in a few sentences: what was trained, how good, big and fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tfpipe.report.groups import device_name, groups_of
from tfpipe.report.units import (
    UNKNOWN,
    format_bytes,
    format_count,
    format_latency,
    format_percent,
    format_points,
)
from tfpipe.report.verdict import Artifact, Result
from tfpipe.variant import IMPORTED_MODELS


@dataclass(frozen=True)
class Best:
    """One artifact worth a sentence: its name, what it is best at, and what it does."""

    name: str
    role: str
    sentence: str


def trained_sentence(report: dict[str, Any]) -> str:
    """Returns what was trained on what."""
    run, data = report["run"], report["data"]
    if run["model"] in IMPORTED_MODELS:
        return imported_sentence(report)
    splits, labels = data["splits"], data["label_counts"].get("train")
    model = (run["model"] or "unknown model").capitalize()
    model = {"Lstm": "LSTM", "Bilstm": "BiLSTM"}.get(model, model)
    size = f" with {format_count(run['parameters'])} parameters" if run["parameters"] else ""
    kind = "labels, several to a text" if run["multi_label"] else "classes"
    classes = f" in {len(labels)} {kind}" if labels else ""
    source = data["source"] or "an unknown data set"
    count = f"{format_count(splits['train'])} texts" if "train" in splits else "texts"
    return f"{model}{size}, trained on {count} of {source}{classes}."


def imported_sentence(report: dict[str, Any]) -> str:
    """Returns what was imported, and on what it is verified."""
    run, data = report["run"], report["data"]
    made = run["recipe"].get("model", {})
    size = f" with {format_count(run['parameters'])} parameters" if run["parameters"] else ""
    kind = "labels, several to a text" if run["multi_label"] else "classes"
    return (
        f"{made.get('file', 'A Keras model')} of Keras {made.get('keras_version', UNKNOWN)}{size}, "
        f"imported; verified on texts of {data['source'] or 'an unknown data set'} in "
        f"{len(data['label_counts'].get('test', {}))} {kind}."
    )


def baseline_sentence(report: dict[str, Any]) -> str:
    """Returns what the Keras model and the honest baselines reach on the same test split."""
    run, metric = report["run"], report["run"]["metric"]
    test, baselines = run["metrics"]["test"], report["baselines"]
    keras = test[metric]
    tfidf = baselines["tfidf_logistic_regression"][metric]
    majority = baselines["majority"][metric]
    count = test["num_examples"] or report["data"]["splits"].get("test")
    name = {"accuracy": "accuracy", "micro_f1": "micro-F1"}[metric]
    told = [
        "unknown" if score is None else format_percent(score) for score in (keras, tfidf, majority)
    ]
    if run["model"] in IMPORTED_MODELS:
        return (
            f"On the texts for verification (n={format_count(count)}) the Keras model has {name} "
            f"{told[0]}, always answering the most frequent label {told[2]}."
        )
    gain = ""
    if keras is not None and tfidf is not None:
        gain = f" ({format_points(keras - tfidf)} for the model)"
    return (
        f"On the test split (n={format_count(count)}) the Keras model has {name} "
        f"{told[0]}, TF-IDF + logistic regression {told[1]}{gain}, "
        f"always answering the most frequent label {told[2]}."
    )


def best_artifacts(report: dict[str, Any]) -> list[Best]:
    """Returns the most accurate, the smallest and, in the first group, the fastest artifact.

    Only verified artifacts compete, and of the measurements only those that are not invalid. An
    artifact that is best at several things has one entry.
    """
    verified = [
        artifact
        for artifact in report["artifacts"]
        if artifact["verdict"]["status"] == "passed"
        and artifact["accuracy"]["artifact"] is not None
    ]
    measured = _usable_results(report)

    def speed(artifact: Artifact) -> float:
        result = measured.get(artifact["name"])
        return result["p50_ns"] if result else float("inf")

    def size(artifact: Artifact) -> float:
        value = artifact["model_size_bytes"]
        return float("inf") if value is None else value

    def accuracy(artifact: Artifact) -> float:
        return float(artifact["accuracy"]["artifact"])

    roles: dict[str, list[str]] = {}
    if verified:
        best = min(verified, key=lambda a: (-accuracy(a), speed(a), size(a)))
        roles.setdefault(best["name"], []).append("most accurate")
        best = min(verified, key=lambda a: (size(a), -accuracy(a), speed(a)))
        roles.setdefault(best["name"], []).append("smallest")
    if measured:
        best = min(verified, key=lambda a: (speed(a), -accuracy(a), size(a)))
        roles.setdefault(best["name"], []).append("fastest")
    by_name = {artifact["name"]: artifact for artifact in verified}
    only = "the only verified one" if len(verified) == 1 else ""
    return [
        Best(name, only or _listing(held), _sentence(by_name[name], measured.get(name)))
        for name, held in roles.items()
    ]


def _usable_results(report: dict[str, Any]) -> dict[str, Result]:
    """Returns artifact → its result in the first group, if that is not invalid."""
    return {
        artifact["name"]: result
        for group in groups_of(report)[:1]
        for artifact, result in group.rows
        if result["validity"] != "invalid" and result["p50_ns"] is not None
    }


def _listing(roles: list[str]) -> str:
    if len(roles) == 1:
        return roles[0]
    return f"{', '.join(roles[:-1])} and {roles[-1]}"


def _sentence(artifact: Artifact, result: Result | None) -> str:
    scores = artifact["accuracy"]
    count = format_count(scores["num_examples"])
    value = format_percent(scores["artifact"])
    interval = scores["interval_95"]
    span = ""
    if interval:
        span = f" (95 % interval {format_percent(interval[0])} to {format_percent(interval[1])})"
    quality = f"reaches micro-F1 {value} on {count} test texts"
    if scores["metric"] == "accuracy":
        quality = f"labels {value} of {count} test texts correctly{span}"
    size = f"takes {format_bytes(artifact['model_size_bytes'])}"
    packed = [
        f"{format_bytes(artifact[key])} as {way}"
        for way, key in (("zip", "zip_size_bytes"), ("zstd", "zstd_size_bytes"))
        if artifact[key] is not None
    ]
    size += f" ({', '.join(packed)})" if packed else ""
    return f"{quality}, {size}, and {_speed(result)}."


def _speed(result: Result | None) -> str:
    if result is None:
        return "has not been measured"
    p90 = format_latency(result["p90_ns"])
    tail = "" if p90 == UNKNOWN else f"; p90 {p90}"
    device = device_name(result)
    note = "" if result["validity"] == "valid" else f"; {result['validity'] or 'validity unknown'}"
    return (
        f"answers in {format_latency(result['p50_ns'])} (p50{tail}; "
        f"n={format_count(result['num_runs'])}{note}) on {device}"
    )
