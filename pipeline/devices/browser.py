"""A headless Chromium of this machine as a device: the page of tfpipe serve does the work."""

from __future__ import annotations

import io
import queue
import time
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_runner import machine, validity
from device_runner.__main__ import make_parser
from device_runner.artifact import Artifact
from device_runner.benchmark import choose_texts
from device_runner.files import write_file_atomic
from device_runner.profiles import choose_profile
from device_runner.texts import read_texts, read_token_ids
from tfpipe.devices.address import Address
from tfpipe.devices.chromium import WEBGPU_FLAGS, open_chromium
from tfpipe.devices.session import DeviceLostError
from tfpipe.web.measured import Machine, describe_results, loaded, unloaded
from tfpipe.web.payload import read_engine, read_outputs
from tfpipe.web.server import PageServer
from tfpipe.web.site import PAGE_PROFILES, describe_profile, make_site, read_for_browser

# What may follow "browser:" → the accelerator, and the flags that Chromium needs for it.
ACCELERATORS: dict[str, tuple[str, tuple[str, ...]]] = {
    "wasm": ("wasm", ()),
    "webgpu": ("webgpu", WEBGPU_FLAGS),
}
_POLL_S = 0.1


class BrowserDevice:
    """Chromium on this machine, without a window.

    Attributes:
        name: "browser:wasm" or "browser:webgpu".
        kind: "browser": its times compare with no other kind's.
    """

    kind = "browser"

    def __init__(self, address: Address) -> None:
        chosen = address.name.partition(":")[2] or "wasm"
        if chosen not in ACCELERATORS:
            raise ValueError(
                f"device={address.name!r} names no accelerator of a browser. Use one of: "
                f"{', '.join(f'browser:{name}' for name in ACCELERATORS)}."
            )
        self.name = f"browser:{chosen}"
        self._accelerator, self._flags = ACCELERATORS[chosen]

    def run(self, arguments: Sequence[str], *, time_limit_s: float) -> Any:
        """Does what a command of device_runner does; see `tfpipe.devices.Device`.

        Raises:
            FileNotFoundError: No Chromium, or the npm step was not done.
        """
        commands = {
            "bench": self._bench,
            "memory": self._memory,
            "predict": self._predict,
            "run": self._run,
            "verify": self._verify,
        }
        command = arguments[0]
        if command not in commands:
            raise ValueError(
                f"command={command!r} is not one that a browser does: {', '.join(commands)}. Use "
                "--device local for it."
            )
        options = make_parser().parse_args(arguments)
        if options.delegate is not None:
            raise ValueError(
                f"delegate={options.delegate!r} is not for {self.name}: what a browser runs models "
                f"on is part of its name. Use --device "
                f"{' or '.join(f'browser:{name}' for name in ACCELERATORS)}, without --delegate."
            )
        return commands[command](options, time_limit_s)

    def _memory(self, options: Namespace, _: float) -> dict[str, Any]:
        artifact = read_for_browser(options.artifact)
        return {
            "artifact": options.artifact,
            "model_sha256": artifact.manifest.model_sha256,
            "peak_memory_bytes": None,  # a browser does not tell
            "baseline_memory_bytes": None,
        }

    def _bench(self, options: Namespace, time_limit_s: float) -> dict[str, Any]:
        profile = choose_profile(options.profile, duration_s=options.duration, rate_hz=options.rate)
        if profile.name not in PAGE_PROFILES:
            raise ValueError(
                f"profile={profile.name!r} is not measured in a browser, which has no thermometer "
                f"and no exact alarm clock. Use one of: {', '.join(PAGE_PROFILES)}."
            )
        artifacts = [read_for_browser(path) for path in options.artifacts]
        texts = choose_texts(options.texts, [unloaded(artifact) for artifact in artifacts])
        job = {
            "command": "bench",
            "num_threads": options.num_threads,
            "profile": describe_profile(profile),
        }
        before = validity.read_state()
        payload = self._do(artifacts, texts, job, time_limit_s)
        known = Machine(
            machine.read_fingerprint(),
            before,
            validity.read_state(),
            machine.count_usable_cores(),
        )
        return {"results": describe_results(payload, artifacts, texts, profile, known)}

    def _run(self, options: Namespace, time_limit_s: float) -> dict[str, Any]:
        artifact = read_for_browser(options.artifact)
        rows = None
        if options.token_ids:
            rows = read_token_ids(options.token_ids)
            unloaded(artifact).check_token_ids(rows)
        texts = [] if rows is not None else list(read_texts(options.input))
        payload = self._outputs(artifact, texts, rows, options.num_threads, time_limit_s)
        token_ids, outputs = read_outputs(payload, artifact)
        buffer = io.BytesIO()
        np.savez(buffer, token_ids=token_ids, outputs=outputs)
        write_file_atomic(options.output, buffer.getvalue())
        model = loaded(artifact, read_engine(payload), 0).model
        return {
            "artifact": options.artifact,
            "output": options.output,
            "num_examples": len(token_ids),
            "model_sha256": artifact.manifest.model_sha256,
            "runtime": model.runtime,
            "runtime_version": model.runtime_version,
            "delegate": model.delegate,
            "adapter": model.adapter,
        }

    def _verify(self, options: Namespace, time_limit_s: float) -> dict[str, Any]:
        """The page refuses an artifact whose goldens differ, whatever it is asked."""
        artifact = read_for_browser(options.artifact)
        payload = self._outputs(artifact, [], None, options.num_threads, time_limit_s)
        engine = read_engine(payload)
        return {
            "artifact": options.artifact,
            "model_sha256": artifact.manifest.model_sha256,
            "delegate": engine["accelerator"],
            "passed": True,
            "num_examples": len(artifact.golden["examples"]),
        }

    def _predict(self, options: Namespace, time_limit_s: float) -> dict[str, Any]:
        artifact = read_for_browser(options.artifact)
        texts = list(read_texts(options.file)) if options.file else options.texts
        payload = self._outputs(artifact, texts, None, options.num_threads, time_limit_s)
        outputs = read_outputs(payload, artifact)[1]
        decode = unloaded(artifact).decode
        return {
            "predictions": [
                {"text": text, **decode(row)} for text, row in zip(texts, outputs, strict=True)
            ]
        }

    def _outputs(
        self,
        artifact: Artifact,
        texts: Sequence[str],
        rows: NDArray[np.int32] | None,
        num_threads: int,
        time_limit_s: float,
    ) -> Any:
        token_ids = None if rows is None else rows.tolist()
        job = {"command": "run", "num_threads": num_threads, "token_ids": token_ids}
        return self._do([artifact], [texts], job, time_limit_s)

    def _do(
        self,
        artifacts: Sequence[Artifact],
        texts: Sequence[Sequence[str]],
        job: dict[str, Any],
        time_limit_s: float,
    ) -> Any:
        """Opens the page with a job and returns what it sends.

        Raises:
            DeviceLostError: The browser ended before.
            ValueError: The page failed, or took too long.
        """
        site = make_site(artifacts, texts, job={"accelerator": self._accelerator, **job})
        results: queue.Queue[Any] = queue.Queue()

        def take(payload: Any) -> dict[str, Any]:
            results.put(payload)
            return {}

        deadline = time.monotonic() + time_limit_s
        # With a token: other users of this machine can reach its loopback too.
        with (
            PageServer(site, take, token=True) as server,
            open_chromium(server.address, self._flags) as browser,
        ):
            while True:
                try:
                    payload = results.get(timeout=_POLL_S)
                    break
                except queue.Empty:
                    ending = browser.ended()
                if ending is not None:
                    raise DeviceLostError(
                        f"{self.name}: {browser.program} {ending}. Look whether it starts by itself"
                    )
                if time.monotonic() > deadline:
                    raise ValueError(
                        f"{self.name}: the page was not done after {time_limit_s:.0f} s and was "
                        "closed. Measure fewer artifacts at once, or with --profile quick."
                    )
        if isinstance(payload, dict) and "error" in payload:
            raise ValueError(f"{self.name}: {payload['error']}")
        return payload
