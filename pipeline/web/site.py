"""Artifacts, their texts and a job → every path that the server answers, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from device_runner.artifact import Artifact, read_artifact
from device_runner.latency import BLOCK_RUNS, DROPPED_RUNS
from device_runner.manifest import GOLDEN_FILE, LABELS_FILE, MANIFEST_FILE, VOCABULARY_FILE
from device_runner.profiles import PROFILES, Profile
from tfpipe import __version__
from tfpipe.check import check
from tfpipe.thresholds import MAX_GPU_ERROR
from tfpipe.web.characters import character_table
from tfpipe.web.package import RUNTIME, pinned_version, served_files

PAGE_FOLDER = Path(__file__).resolve().parent / "page"
MIME_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".tflite": "application/octet-stream",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
}
# Relative: the page may lie below a token.
IMPORT_MAP = json.dumps(
    {
        "imports": {
            RUNTIME: f"./packages/{RUNTIME}/dist/index.js",
            "@litertjs/wasm-utils": "./packages/@litertjs/wasm-utils/dist/index.js",
        }
    }
)
# What page/tokenizer.mjs has.
PAGE_TOKENIZERS = ("word", "wordpiece", "char")
# How a browser can measure: it has no clock of its own for requests, and no thermometer.
PAGE_PROFILES = ("quick", "mlperf")


@dataclass(frozen=True)
class Content:
    """What one path gives.

    Attributes:
        mime_type: Of the body.
        body: The bytes, or the file that holds them.
    """

    mime_type: str
    body: bytes | Path


def read_for_browser(path: str | Path) -> Artifact:
    """Reads an artifact folder and refuses what no browser can run.

    Raises:
        ValueError: Not an artifact, not whole, or its model's kind, types or ops do not run in a
            browser.
        OSError: It cannot be read.
    """
    if not Path(path).is_dir():
        raise ValueError(
            f"{path} is no artifact folder, and the page needs vocabulary, labels and goldens "
            "beside the model. Make one with: tfpipe export RUN --target web"
        )
    artifact = read_artifact(path)
    if not artifact.model_path.endswith(".tflite") or artifact.manifest.target == "edgetpu":
        raise ValueError(
            f"{path} was exported for target {artifact.manifest.target}: a browser runs whole "
            ".tflite files with float input and output. Use: tfpipe export RUN --target web"
        )
    kind = artifact.tokenizer.spec.kind
    if kind not in PAGE_TOKENIZERS:
        raise ValueError(
            f"{path} has tokenizer.kind={kind!r}, the page has only {', '.join(PAGE_TOKENIZERS)}. "
            "Run it on --device local, or train with one of these."
        )
    findings = check(artifact.model_path, target="web")["findings"]
    errors = [entry for entry in findings if entry["severity"] == "error"]
    if errors:
        raise ValueError(
            f"{path} does not run in a browser: "
            + " ".join(f"{entry['code']}: {entry['message']}" for entry in errors)
            + " Export it with float input and output: tfpipe export RUN --target web"
        )
    return artifact


def make_site(
    artifacts: Sequence[Artifact],
    texts: Sequence[Sequence[str]],
    *,
    job: dict[str, Any] | None = None,
    stores: bool = False,
) -> dict[str, Content]:
    """Returns what each path gives, "" being the page.

    Artifacts are read into memory here: what is served is what was checked.

    Args:
        artifacts: Of `read_for_browser`.
        texts: What each is measured or run on.
        job: What the page does by itself; None lets a person use it.
        stores: Whether the host keeps the results.

    Raises:
        FileNotFoundError: The npm step was not done.
        ValueError: Another version of the JavaScript package is installed.
        OSError: A file cannot be read.
    """
    folders = [f"artifacts/{index}" for index in range(len(artifacts))]
    page = {
        "version": __version__,
        "runtime": RUNTIME,
        "runtime_version": pinned_version(),
        "artifacts": folders,
        "job": job,
        "stores": stores,
        "gpu_tolerance": MAX_GPU_ERROR,
        "profiles": {name: describe_profile(PROFILES[name]) for name in PAGE_PROFILES},
    }
    site: dict[str, Content] = {
        "page.json": _json(page),
        "characters.json": _json(character_table()),
    }
    for name, path in served_files().items():
        site[f"packages/{name}"] = Content(MIME_TYPES[path.suffix], path)
    for path in PAGE_FOLDER.iterdir():
        site[path.name] = Content(MIME_TYPES[path.suffix], path.read_bytes())
    html = site.pop("index.html").body
    site[""] = Content(
        MIME_TYPES[".html"], bytes(html).replace(b"{{import_map}}", IMPORT_MAP.encode())
    )
    for folder, artifact, own in zip(folders, artifacts, texts, strict=True):
        names = (MANIFEST_FILE, VOCABULARY_FILE, LABELS_FILE, GOLDEN_FILE)
        for name in (*names, artifact.manifest.model_file):
            path = Path(artifact.path) / name
            site[f"{folder}/{name}"] = Content(MIME_TYPES[path.suffix], path.read_bytes())
        site[f"{folder}/texts.json"] = _json(list(own))
    return site


def describe_profile(profile: Profile) -> dict[str, Any]:
    """Returns a profile with the sizes of its blocks, as the page measures with it."""
    blocks = {"block_runs": BLOCK_RUNS, "dropped_runs_per_block": DROPPED_RUNS}
    return {**asdict(profile), **blocks}


def security_headers() -> dict[str, str]:
    """Returns the headers of every answer: isolation, which threads need, and nothing foreign."""
    digest = base64.b64encode(hashlib.sha256(IMPORT_MAP.encode()).digest()).decode()
    return {
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Embedder-Policy": "require-corp",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Content-Security-Policy": (
            "default-src 'none'; connect-src 'self'; style-src 'self'; img-src data:; "
            f"script-src 'self' 'wasm-unsafe-eval' 'sha256-{digest}'; worker-src 'self' blob:; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }


def _json(value: Any) -> Content:
    return Content(MIME_TYPES[".json"], json.dumps(value).encode("ascii"))
