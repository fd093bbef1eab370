"""An artifact and its measurement → the cell that says whether to trust them, and why not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tfpipe.report.table import Cell

Artifact = dict[str, Any]
Result = dict[str, Any]
_STATUS_TONES = {"passed": "good", "failed": "bad"}


def file_verdict(artifact: Artifact) -> Cell:
    """Returns the verdict on the file alone: verification and static check, with every reason."""
    status, reasons = artifact["verdict"]["status"], list(artifact["verdict"]["reasons"])
    short = {"failed": "FAILED", "not verified": "unverified"}.get(status, status)
    text, tone = status, _STATUS_TONES.get(status, "warn")
    check = artifact["check"] or {"ok": None}
    if check["ok"] is False:
        text, tone = f"{status}, check failed", "bad"
        reasons += [f["message"] for f in check["findings"] if f["severity"] == "error"]
    return Cell(text, note=_sentences(reasons), short=short, tone=tone)


def row_verdict(artifact: Artifact, result: Result | None) -> Cell:
    """Returns the verdict on the file and on its measurement, with every reason."""
    verdict = file_verdict(artifact)
    if result is None:
        passed = artifact["verdict"]["status"] == "passed"
        why = ["Its latency is not shown."] if artifact["latency_withheld"] else []
        why += ["Not measured."] if passed else []
        return replace(verdict, note=_sentences([verdict.note, *why]))
    if result["validity"] == "valid":
        return verdict
    validity = result["validity"] or "validity unknown"
    return Cell(
        f"{verdict.text}, {validity}",
        note=_sentences([verdict.note, *result["validity_reasons"]]),
        short=result["validity"] or "unknown",
        tone="warn",
    )


def _sentences(texts: list[str]) -> str:
    return " ".join(sentence(text) for text in texts if text)


def sentence(text: str) -> str:
    """Returns `text` with a full stop at its end."""
    return text if text.endswith((".", "!", "?")) else f"{text}."
