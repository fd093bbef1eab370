"""RUN/exports/* and the bench results → one plain dict for each artifact, with its verdict."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from device_runner.files import sha256_of_file
from tfpipe.report.benches import Bench
from tfpipe.report.read import Node, read_json, require_schema

STATUSES = ("passed", "failed", "not verified", "stale", "changed")
_SCHEMES = ("float32", "float16", "dynamic_int8", "int8", "dynamic_int4", "int16x8")
# 95 % of a normal distribution lie within this many standard deviations.
_Z = 1.959964


def collect_artifacts(
    exports: Path, bench: Bench, run_name: str
) -> tuple[list[dict[str, Any]], list[str]]:
    """Reads every artifact folder.

    Latencies are given for artifacts with a passed verification of this very file, and for no
    other, whatever the bench folder says.

    Args:
        exports: RUN/exports.
        bench: Results by model digest.
        run_name: Name of the run folder, for the commands in messages.

    Returns:
        The artifacts, ordered by variant, scheme and name; and notes on what was left out.

    Raises:
        ValueError: A file is damaged; the message names it.
    """
    artifacts: list[dict[str, Any]] = []
    notes: list[str] = []
    # A name with a dot before it is what an export that was killed left behind.
    folders = sorted(p for p in exports.glob("[!.]*") if p.is_dir())
    for folder in folders:
        if folder.name.startswith("."):  # a write that was cut off
            continue
        if not (folder / "manifest.json").is_file():
            notes.append(
                f"exports/{folder.name} has no manifest.json and is left out; export it again."
            )
            continue
        artifacts.append(_artifact(folder, bench, run_name))
    artifacts.sort(key=_order)
    return artifacts, notes + _strangers(artifacts, bench)


def _order(artifact: dict[str, Any]) -> tuple[str, int, str]:
    scheme = artifact["scheme"]
    rank = _SCHEMES.index(scheme) if scheme in _SCHEMES else len(_SCHEMES)
    return artifact["variant"] or "", rank, artifact["name"]


def _strangers(artifacts: list[dict[str, Any]], bench: Bench) -> list[str]:
    """Returns a note on results of files that the exports folder does not hold."""
    known = {artifact["model_sha256"] for artifact in artifacts}
    count = sum(len(results) for sha, results in bench.results.items() if sha not in known)
    if not count:
        return []
    what = "1 result is" if count == 1 else f"{count} results are"
    return [f"{what} of files that exports/ does not hold (any more) and not shown."]


def _artifact(folder: Path, bench: Bench, run_name: str) -> dict[str, Any]:
    again = "Run `tfpipe export` again with --overwrite."
    manifest = read_json(folder / "manifest.json", again)
    require_schema(manifest, 1)
    model_file = manifest.text("model_file") or "model.tflite"
    entry = manifest.child("files").child(model_file)
    sha256 = entry.text("sha256")
    check = _optional(folder / "check.json", again)
    name = os.fsencode(folder.name).decode("utf-8", "replace")
    path = f"{run_name}/exports/{name}"
    verify = _optional(folder / "verify.json", f"Run `tfpipe verify {path}` again.")
    status, reasons = _verdict(folder / model_file, sha256, verify, path)
    shown = bench.results.get(sha256 or "", [])
    size = check.integer("model_size_bytes")
    return {
        "name": name,
        "variant": manifest.text("variant"),
        "scheme": manifest.text("scheme"),
        "lowering": manifest.text("lowering") or check.text("lowering"),
        "target": manifest.text("target"),
        "min_runtime": manifest.text("min_runtime") or check.text("min_runtime"),
        "buckets": check.integers("buckets"),
        "runtime": check.child("proof").text("wanted"),
        "num_segments": check.integer("num_segments"),
        "sequence_length": manifest.integer("sequence_length"),
        "created": manifest.text("created"),
        "model_sha256": sha256,
        "model_size_bytes": entry.integer("bytes") if size is None else size,
        "zip_size_bytes": check.integer("zip_size_bytes"),
        "zstd_size_bytes": check.integer("zstd_size_bytes"),
        "verdict": {"status": status, "reasons": reasons},
        "accuracy": _accuracy(verify) if status in ("passed", "failed") else None,
        "check": _check(check) if check.values else None,
        "latency": shown if status == "passed" else [],
        "latency_withheld": bool(shown) and status != "passed",
    }


def _optional(path: Path, fix: str) -> Node:
    """Returns the file's object; an empty one where there is no file."""
    return read_json(path, fix) if path.is_file() else Node({}, str(path), fix)


def _verdict(model: Path, sha256: str | None, verify: Node, path: str) -> tuple[str, list[str]]:
    """Returns one of `STATUSES` and the reasons; only "passed" lets latencies be shown."""
    passed = verify.flag("passed")
    verified = verify.text("model_sha256")
    if model.is_file() and sha256 != sha256_of_file(model):
        return "changed", [f"{model.name} was changed after the export; export it again."]
    if passed is None:
        return "not verified", [f"never verified: run `tfpipe verify {path}`."]
    if verified != sha256:
        return "stale", [f"another file was verified: run `tfpipe verify {path}` again."]
    failures = verify.texts("failures")
    if not passed:
        return "failed", failures or ["verify.json gives no reason."]
    return "passed", failures


def _accuracy(verify: Node) -> dict[str, Any]:
    metric = verify.text("metric")
    value, count = verify.number("artifact"), verify.integer("num_examples")
    interval = None
    # An F1 score is not a share of independent trials: no interval of this kind for it.
    if metric == "accuracy" and value is not None and count:
        interval = list(wilson_interval(value, count))
    return {
        "metric": metric,
        "artifact": value,
        "interval_95": interval,
        "keras": verify.number("keras"),
        "agreement": verify.number("agreement"),
        "max_abs_error": verify.number("max_abs_error"),
        "mean_abs_error": verify.number("mean_abs_error"),
        "num_examples": count,
        "threshold": verify.child("threshold").values,
        "runtime": verify.text("runtime"),
        "runtime_version": verify.text("runtime_version"),
        "created": verify.text("created"),
    }


def wilson_interval(fraction: float, count: int) -> tuple[float, float]:
    """Returns the 95 % Wilson score interval of a share of `count` examples.

    Source: E. B. Wilson, JASA 22 (1927), 209–212.
    """
    centre = fraction + _Z**2 / (2 * count)
    spread = _Z * math.sqrt(fraction * (1 - fraction) / count + _Z**2 / (4 * count**2))
    scale = 1 + _Z**2 / count
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def _check(check: Node) -> dict[str, Any]:
    return {
        "ok": check.flag("ok"),
        "ops": check.counts("ops"),
        "bytes_by_dtype": check.counts("bytes_by_dtype"),
        "bytes_by_kind": check.counts("bytes_by_kind"),
        "duplicate_bytes": check.integer("duplicate_bytes"),
        "findings": [
            {key: finding.text(key) for key in ("code", "severity", "message", "fix")}
            for finding in check.children("findings")
        ],
    }
