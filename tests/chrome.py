"""A headless Chromium for tests, spoken to over its debugging pipe: open, type, look, evaluate."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless=new --no-sandbox --no-first-run --disable-dev-shm-usage --disable-quic "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--remote-debugging-pipe --hide-scrollbars"
)


class Tab:
    """One open page; `errors` are what its console and its exceptions said."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._buffer, self._last, self._session = b"", 0, ""
        self.errors: list[str] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> Any:
        """Sends a command and returns its result; events that come first are looked through."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            event = self._read()
            if event.get("id") == self._last:
                assert "error" not in event, event
                return event["result"]
            self._note(event)

    def open(self, address: str) -> None:
        self.send("Page.navigate", url=address)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression; promises are waited for."""
        found = self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait_for(self, expression: str, seconds: float = 120) -> Any:
        """The value of an expression as soon as it is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            value = self.evaluate(expression)
            if value:
                return value
            time.sleep(0.1)
        shown = self.evaluate("document.body.innerText")
        raise AssertionError(f"{expression} was never true; errors: {self.errors}; page: {shown}")

    def type(self, selector: str, text: str) -> None:
        self.evaluate(f"document.querySelector({json.dumps(selector)}).focus()")
        self.send("Input.insertText", text=text)

    def resize(self, width: int, height: int, *, dark: bool = False) -> None:
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, path: Path) -> None:
        taken = self.send("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(taken["data"]))

    def _read(self) -> Any:
        while b"\0" not in self._buffer:
            data = os.read(self._from, 1 << 16)
            assert data, "the browser has gone"
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(line)

    def _note(self, event: Any) -> None:
        parameters = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(parameters["exceptionDetails"])[:500])
        if event.get("method") == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.errors.append(parameters["entry"]["text"])


@contextmanager
def open_tab(program: str, profile: Path, *flags: str) -> Iterator[Tab]:
    """A tab of a browser that is ended with the block."""
    read_here, write_there = os.pipe()
    read_there, write_here = os.pipe()

    def as_3_and_4() -> None:
        os.dup2(read_there, 3)
        os.dup2(write_there, 4)

    # High numbers: the copies to 3 and 4 must not overwrite one that is still needed.
    kept = [os.dup(pipe) for pipe in (read_there, write_there)]
    process = subprocess.Popen(
        [program, *FLAGS.split(), *flags, f"--user-data-dir={profile}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        close_fds=False,
        preexec_fn=as_3_and_4,
    )
    for pipe in (read_there, write_there, *kept):
        os.close(pipe)
    try:
        yield Tab(write_here, read_here)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(write_here)
        os.close(read_here)
