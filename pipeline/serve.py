"""Artifacts → a page in any browser that runs and measures them; what it measured → a file."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from device_runner import schema
from device_runner.artifact import Artifact
from device_runner.benchmark import choose_texts
from device_runner.files import write_file_atomic
from device_runner.profiles import PROFILES
from tfpipe.bench.file import SAMPLES, format_record
from tfpipe.bench.subject import subject_of
from tfpipe.verb import make_callable
from tfpipe.versions import now
from tfpipe.web.measured import browser_name, describe_results, unloaded
from tfpipe.web.payload import check_result
from tfpipe.web.server import PageServer, is_loopback
from tfpipe.web.site import PAGE_PROFILES, make_site, read_for_browser

DEFAULT_PORT = 8765


@contextmanager
def serve(
    paths: Sequence[str | Path],
    *,
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    texts: Path | None = None,
    output: Path | None = None,
    announce: Callable[[dict[str, Any]], None] = lambda result: None,
) -> Iterator[PageServer]:
    """Serves verified artifacts while its `with` block runs.

    Args:
        paths: Artifact folders.
        host: Where to listen. Any but this machine's own loopback gets a token in the address, new
            at every call.
        port: 0 takes a free one.
        texts: File of texts to measure with; None takes the run's test texts, which then are what
            the page gets too.
        output: Where to keep what pages measured: `tfpipe bench`'s record, rewritten with every
            result. None keeps nothing.
        announce: Told every result, without its samples.

    Yields:
        The server; its `address` is what to open.

    Raises:
        ValueError: An artifact is not whole, not verified, or does not run in a browser.
        FileNotFoundError: The npm step was not done; the message has its command.
        OSError: The address is taken, or a file cannot be read.
    """
    subjects = [subject_of(Path(path), texts) for path in paths]
    artifacts = [read_for_browser(subject.path) for subject in subjects]
    files = [subject.texts for subject in subjects]
    chosen = choose_texts(files, [unloaded(artifact) for artifact in artifacts])
    site = make_site(artifacts, chosen, stores=output is not None)
    keeper = _Keeper(artifacts, chosen, output, announce)
    token = not is_loopback(host)
    with PageServer(site, keeper.take, host=host, port=port, token=token) as server:
        yield server


class _Keeper:
    """Makes records of what pages send, and keeps them where a file is named."""

    def __init__(
        self,
        artifacts: Sequence[Artifact],
        texts: Sequence[Sequence[str]],
        output: Path | None,
        announce: Callable[[dict[str, Any]], None],
    ) -> None:
        self._artifacts, self._texts = artifacts, texts
        self._output, self._announce = output, announce
        self._results: list[dict[str, Any]] = []
        self._created = now()
        self._lock = threading.Lock()

    def take(self, payload: Any) -> dict[str, Any]:
        """Returns the results in what a page sent, without their samples.

        Raises:
            ValueError: It is something else.
            OSError: The file cannot be written.
        """
        kinds: dict[str, schema.Kind] = {
            "profile": (" or ".join(PAGE_PROFILES), PAGE_PROFILES.__contains__),
            "artifacts": (
                f"a list of numbers below {len(self._artifacts)}",
                lambda v: schema.INTEGERS[1](v) and set(v) <= set(range(len(self._artifacts))),
            ),
        }
        asked = check_result(payload, kinds, "result")
        artifacts = [self._artifacts[index] for index in asked["artifacts"]]
        texts = [self._texts[index] for index in asked["artifacts"]]
        results = [
            place_result(result)
            for result in describe_results(payload, artifacts, texts, PROFILES[asked["profile"]])
        ]
        self._keep(results)
        shown = [
            {key: value for key, value in result.items() if key not in SAMPLES}
            for result in results
        ]
        for result in shown:
            self._announce(result)
        return {"results": shown}

    def _keep(self, results: list[dict[str, Any]]) -> None:
        with self._lock:
            self._results += results
            if self._output is None:
                return
            record = {
                "created": self._created,
                "settings": {"artifacts": [artifact.path for artifact in self._artifacts]},
                "failures": [],
                "results": self._results,
            }
            write_file_atomic(self._output, format_record(record))


def place_result(result: dict[str, Any]) -> dict[str, Any]:
    """Returns a record with where it was measured; the samples stay last."""
    kept = {key: result.pop(key) for key in SAMPLES}
    is_software = result.pop("is_software_gpu")
    return {
        **result,
        "peak_memory_bytes": None,
        "baseline_memory_bytes": None,
        "device": f"browser ({browser_name(result['browser']['user_agent'])})",
        "device_kind": "software-gpu" if is_software else "browser",
        **kept,
    }


make_callable(__name__, serve)
