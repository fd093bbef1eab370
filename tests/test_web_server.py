"""The server of the page: what it answers, to whom, and what it must never answer."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tfpipe.web import server as server_module
from tfpipe.web.server import PageServer, is_loopback
from tfpipe.web.site import MIME_TYPES, Content

TOP_SECRET = "not for browsers"


@pytest.fixture
def site(tmp_path: Path) -> dict[str, Content]:
    (tmp_path / "engine.wasm").write_bytes(b"\0asm")
    (tmp_path / "secret.txt").write_text(TOP_SECRET)
    return {
        "": Content(MIME_TYPES[".html"], b"<!DOCTYPE html><title>page</title>"),
        "page.mjs": Content(MIME_TYPES[".mjs"], b"export {};"),
        "packages/engine.wasm": Content(MIME_TYPES[".wasm"], tmp_path / "engine.wasm"),
    }


def take(payload: Any) -> dict[str, Any]:
    if "artifacts" not in payload:
        raise ValueError("artifacts=None, expected a list. Load the page again.")
    return {"results": payload["artifacts"]}


@pytest.fixture
def served(site: dict[str, Content]) -> Iterator[PageServer]:
    with PageServer(site, take) as server:
        yield server


@pytest.fixture
def guarded(site: dict[str, Content]) -> Iterator[PageServer]:
    with PageServer(site, take, host="0.0.0.0", token=True) as server:
        yield server


def ask(
    server: PageServer, path: str, method: str = "GET", body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body; the path is sent as it stands."""
    port = urlsplit(server.address).port
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body=body, headers=named)
    response = connection.getresponse()
    found = response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
    connection.close()
    return found


@pytest.mark.parametrize(
    ("path", "mime_type", "body"),
    [
        ("/", "text/html; charset=utf-8", b"<!DOCTYPE html><title>page</title>"),
        ("/page.mjs", "text/javascript; charset=utf-8", b"export {};"),
        ("/packages/engine.wasm", "application/wasm", b"\0asm"),
        ("/page.mjs?x=1", "text/javascript; charset=utf-8", b"export {};"),
    ],
)
def test_page_is_served_isolated(
    served: PageServer, path: str, mime_type: str, body: bytes
) -> None:
    status, headers, found = ask(served, path)
    assert (status, headers["content-type"], found) == (200, mime_type, body)
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-embedder-policy"] == "require-corp"
    assert headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in headers["content-security-policy"]
    status, headers, found = ask(served, path, "HEAD")
    assert (status, headers["content-length"], found) == (200, str(len(body)), b"")


@pytest.mark.parametrize(
    "path",
    [
        "/secret.txt",
        "/packages/secret.txt",
        "/packages/../secret.txt",
        "/packages/%2e%2e/secret.txt",
        "/packages/..%2fsecret.txt",
        "/..%5csecret.txt",
        "//secret.txt",
        "/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/../../../../../../etc/passwd",
        "/packages/engine.wasm/../secret.txt",
        "/packages/engine.wasm%00.txt",
        "/packages/",
        "/packages",
        "http://127.0.0.1/secret.txt",
    ],
)
def test_nothing_else_is_served(served: PageServer, path: str) -> None:
    status, _, body = ask(served, path)
    assert status == 404
    assert TOP_SECRET.encode() not in body and b"root:" not in body


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_nothing_can_be_written(served: PageServer, method: str) -> None:
    assert ask(served, "/page.mjs", method)[0] == 501
    assert ask(served, "/page.mjs")[2] == b"export {};"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_a_foreign_name_for_this_machine_is_refused(served: PageServer, host: str) -> None:
    status, _, body = ask(served, "/", Host=host)
    assert (status, body.decode().strip()) == (
        403,
        "403 Forbidden: use the address that tfpipe printed",
    )


@pytest.mark.parametrize("host", ["localhost", "localhost:8765", "127.0.0.1:1", "[::1]:8765"])
def test_a_forwarded_port_is_welcome(served: PageServer, host: str) -> None:
    assert ask(served, "/", Host=host)[0] == 200


def test_token_opens_and_nothing_else_does(guarded: PageServer) -> None:
    path = urlsplit(guarded.address).path
    assert len(path) > 20
    assert ask(guarded, path)[0] == 200
    assert ask(guarded, path + "page.mjs")[0] == 200
    assert ask(guarded, path + "page.mjs", Host="192.168.1.5:8765")[0] == 200
    wrong = ["/", "/page.mjs", "/x" + path[1:], path[:-1], path[:-2] + "/", path.swapcase()]
    wrong += ["/%ff/", "//"]
    for other in wrong:
        status, _, body = ask(guarded, other)
        assert status == 403, other
        assert b"wrong or missing token" in body
    body = json.dumps({"artifacts": []}).encode()
    assert ask(guarded, "/results", "POST", body, Content_Type="application/json")[0] == 403


def test_token_is_another_at_every_start(site: dict[str, Content]) -> None:
    tokens = set()
    for _ in range(3):
        with PageServer(site, take, token=True) as server:
            tokens.add(server.token)
    assert len(tokens) == 3


def test_result_of_the_page_is_answered(served: PageServer) -> None:
    body = json.dumps({"artifacts": [0]}).encode()
    origin = served.address.rstrip("/")
    status, _, found = ask(
        served, "/results", "POST", body, Content_Type="application/json", Origin=origin
    )
    assert (status, json.loads(found)) == (200, {"results": [0]})


@pytest.mark.parametrize(
    "headers",
    [
        {"Content_Type": "text/plain"},
        {},
        {"Content_Type": "application/json", "Origin": "http://evil.example"},
        {"Content_Type": "application/json", "Origin": "null"},
        {"Content_Type": "application/json", "Sec_Fetch_Site": "cross-site"},
    ],
)
def test_result_of_a_foreign_page_is_refused(served: PageServer, headers: dict[str, str]) -> None:
    status, _, body = ask(served, "/results", "POST", b'{"artifacts": [0]}', **headers)
    assert status == 403
    assert b"only the page itself may send results, as JSON" in body


@pytest.mark.parametrize(
    ("body", "length", "status", "message"),
    [
        (b"{", "1", 400, "Expecting property name"),
        (b"[" * 100_000, "100000", 400, ""),
        (b"\xff", "1", 400, ""),
        (b"{}", "2", 400, "artifacts=None, expected a list. Load the page again."),
        (b"", "99999999999999", 413, "Content-Length is 99999999999999, at most 268435456"),
        (b"", "-1", 413, "Content-Length is -1"),
        (b"", "x", 413, "Content-Length is x"),
    ],
)
def test_bad_results_are_refused(
    served: PageServer, body: bytes, length: str, status: int, message: str
) -> None:
    found, _, said = ask(
        served, "/results", "POST", body, Content_Type="application/json", Content_Length=length
    )
    assert found == status
    assert message in said.decode()
    assert ask(served, "/")[0] == 200


def test_results_are_posted_to_one_path(served: PageServer) -> None:
    assert ask(served, "/page.mjs", "POST", b"{}", Content_Type="application/json")[0] == 404


def test_only_this_machine_is_listened_to_by_default(served: PageServer) -> None:
    parts = urlsplit(served.address)
    assert (parts.hostname, parts.path) == ("127.0.0.1", "/")
    with socket.socket() as other:  # any other address of the loopback net stands for a foreign one
        other.settimeout(2)
        with pytest.raises(OSError):
            other.connect(("127.0.0.2", parts.port))


def test_taken_port_is_one_clear_error(served: PageServer, site: dict[str, Content]) -> None:
    port = urlsplit(served.address).port
    with pytest.raises(OSError, match=rf"port={port} cannot be listened on: .* free --port"):
        PageServer(site, take, port=int(port or 0))
    with pytest.raises(OSError, match="host='192.0.2.7' port=0 cannot be listened on"):
        PageServer(site, take, host="192.0.2.7")


@pytest.mark.parametrize(
    ("host", "is_local"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.5", False),
        ("board.local", False),
    ],
)
def test_loopback_is_told_from_the_rest(host: str, is_local: bool) -> None:
    assert is_loopback(host) is is_local


def test_address_for_all_is_one_that_others_can_use(monkeypatch: pytest.MonkeyPatch) -> None:
    class Outward:
        def __init__(self, *_: Any) -> None: ...

        def __enter__(self) -> Outward:
            return self

        def __exit__(self, *_: Any) -> None: ...

        def connect(self, _: Any) -> None: ...

        def getsockname(self) -> tuple[str, int]:
            return "192.168.1.5", 4711

    monkeypatch.setattr(server_module.socket, "socket", Outward)
    assert server_module._reachable_name("0.0.0.0") == "192.168.1.5"
    assert server_module._reachable_name("192.168.7.7") == "192.168.7.7"
