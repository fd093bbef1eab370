"""report.json dict → its measurements in groups that may be compared: one device, one setting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tfpipe.report.benches import DEVICE_KINDS, LOADS
from tfpipe.report.verdict import Artifact, Result

_KIND_TEXTS = {
    "native": "Native: measured on the device itself.",
    "browser": "Browser: WebAssembly or WebGPU in a page.",
    "emulated": "Emulated: says nothing about the speed of the real hardware.",
    "software-gpu": "Software GPU: a CPU stands in for the GPU; says nothing about a real one.",
}


@dataclass(frozen=True)
class Group:
    """The results of one device and one setting; numbers compare only within a group.

    Attributes:
        title: Device and kind; also the setting, where the device has several.
        caption: What the kind means, the setting, and whether the rows were interleaved.
        rows: Artifacts with their results, in the order of the artifacts.
    """

    title: str
    caption: str
    rows: tuple[tuple[Artifact, Result], ...]


def groups_of(report: dict[str, Any]) -> list[Group]:
    """Returns the groups of all results shown: native first, then those with most results."""
    found: dict[tuple[str, str, str], list[tuple[Artifact, Result]]] = {}
    for artifact in report["artifacts"]:
        for result in artifact["latency"]:
            kind = result["device_kind"] or "unknown kind"
            key = kind, device_name(result), setting_text(result)
            found.setdefault(key, []).append((artifact, result))
    kinds = list(DEVICE_KINDS)

    def rank(key: tuple[str, str, str]) -> tuple[int, int, tuple[str, str, str]]:
        position = kinds.index(key[0]) if key[0] in kinds else len(kinds)
        return position, -len(found[key]), key

    devices = [key[1] for key in found]
    groups = []
    for key in sorted(found, key=rank):
        kind, device, setting = key
        several = devices.count(device) > 1
        title = f"{device}, {setting}" if several else device
        caption = _caption(kind, "" if several else f"{setting}.", found[key])
        groups.append(Group(title, caption, tuple(found[key])))
    return groups


def _caption(kind: str, setting: str, rows: list[tuple[Artifact, Result]]) -> str:
    sentences = [_KIND_TEXTS.get(kind, "Kind of device unknown."), setting]
    files = {result["file"] for _, result in rows}
    if len(files) > 1:
        sentences.append(
            f"The rows come from {len(files)} separate measurements, not from one interleaved one."
        )
    return " ".join(filter(None, sentences))


def device_name(result: Result) -> str:
    """Returns "NAME (KIND)"."""
    return f"{result['device'] or 'unknown device'} ({result['device_kind'] or 'unknown kind'})"


def setting_text(result: Result) -> str:
    """Returns runtime, delegate and threads of a result, and its load, as one phrase."""
    runtime = " ".join(filter(None, (result["runtime"], result["runtime_version"])))
    threads = result["num_threads"]
    parts = [
        runtime or "unknown runtime",
        f"delegate {result['delegate'] or 'unknown'}",
        "unknown threads" if threads is None else f"{threads} thread{'s' * (threads != 1)}",
        *(load for load in LOADS if result["profile"] == load),
    ]
    return ", ".join(parts)
