"""A site and who may see it → an HTTP server that reads no path and writes nothing."""

from __future__ import annotations

import hmac
import http.server
import ipaddress
import json
import secrets
import shutil
import socket
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from tfpipe.web.site import Content, security_headers

RESULTS = "results"
# Ten minutes of calls of 20 us are 30 million samples; nobody sends that much by accident.
MAX_RESULT_BYTES = 256 << 20
_LOCAL_NAMES = ("127.0.0.1", "localhost", "::1")
_TIMEOUT_S = 60
_POLL_S = 0.05  # how long ending it takes


class PageServer:
    """Serves a site in threads of its own while its `with` block runs.

    Attributes:
        address: What to open in a browser; with the token, where there is one.

    Args:
        site: Path → what it gives.
        on_result: Called with the JSON that a page sends; what it returns is the answer, and the
            text of its ValueError goes to the page.
        host: Name or address to listen on.
        port: 0 takes a free one.
        token: Whether the address has a token, without which every path answers 403.

    Raises:
        OSError: The address is taken or is not this machine's.
    """

    def __init__(
        self,
        site: Mapping[str, Content],
        on_result: Callable[[Any], dict[str, Any]],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        token: bool = False,
    ) -> None:
        self.site, self.on_result = site, on_result
        self.token = secrets.token_urlsafe(16) if token else ""
        self.is_loopback = is_loopback(host)
        try:
            self._server = _Server((host, port), _Handler)
        except OSError as error:
            raise OSError(
                f"host={host!r} port={port} cannot be listened on: {error.strerror or error}. Use "
                "an address of this machine, and a free --port (0 takes any)."
            ) from error
        self._server.page = self
        bound = self._server.server_address[1]
        name = _reachable_name(host)
        shown = f"[{name}]" if ":" in name else name
        self.address = f"http://{shown}:{bound}/" + (f"{self.token}/" if token else "")
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=[_POLL_S], daemon=True
        )

    def __enter__(self) -> PageServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def path_of(self, target: str) -> str | None:
        """Returns what stands behind the token in a request's target; None where that is wrong."""
        path = urlsplit(target).path.removeprefix("/")
        if not self.token:
            return path
        given, slash, rest = path.partition("/")
        is_right = hmac.compare_digest(given.encode(), self.token.encode())
        return rest if is_right and slash else None


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    page: PageServer

    def __init__(self, address: tuple[str, int], handler: type[_Handler]) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle is no event."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "tfpipe"
    sys_version = ""
    timeout = _TIMEOUT_S
    server: _Server

    def do_GET(self) -> None:
        self._answer_path(with_body=True)

    def do_HEAD(self) -> None:
        self._answer_path(with_body=False)

    def do_POST(self) -> None:
        # One request a connection: a refused body is not read.
        self.close_connection = True
        path = self._allowed_path()
        if path is None:
            return
        if path != RESULTS:
            self._refuse(HTTPStatus.NOT_FOUND, "no such path")
        elif not self._is_own_page():
            self._refuse(HTTPStatus.FORBIDDEN, "only the page itself may send results, as JSON")
        else:
            self._take_result()

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: stderr belongs to the command."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answers what the base class refuses, such as other methods, as everything else."""
        self.close_connection = True
        self._refuse(HTTPStatus(code), message or "")

    def _allowed_path(self) -> str | None:
        page = self.server.page
        # A foreign name that leads to this machine would make a foreign page one of ours.
        if page.is_loopback and _host_name(self.headers.get("Host", "")) not in _LOCAL_NAMES:
            self._refuse(HTTPStatus.FORBIDDEN, "use the address that tfpipe printed")
            return None
        path = page.path_of(self.path)
        if path is None:
            self._refuse(
                HTTPStatus.FORBIDDEN,
                "wrong or missing token: use the whole address that tfpipe printed",
            )
        return path

    def _answer_path(self, *, with_body: bool) -> None:
        path = self._allowed_path()
        if path is None:
            return
        content = self.server.page.site.get(path)
        if content is None:
            self._refuse(HTTPStatus.NOT_FOUND, "no such path", with_body=with_body)
            return
        body = content.body
        size = body.stat().st_size if isinstance(body, Path) else len(body)
        self._begin(HTTPStatus.OK, content.mime_type, size)
        if with_body and isinstance(body, Path):
            with body.open("rb") as file:
                shutil.copyfileobj(file, self.wfile)
        elif with_body and isinstance(body, bytes):
            self.wfile.write(body)

    def _is_own_page(self) -> bool:
        origin = self.headers.get("Origin")
        return (
            self.headers.get_content_type() == "application/json"
            and self.headers.get("Sec-Fetch-Site", "same-origin") == "same-origin"
            and (origin is None or origin == f"http://{self.headers.get('Host')}")
        )

    def _take_result(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit() or int(length) > MAX_RESULT_BYTES:
            self._refuse(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"Content-Length is {length[:20] or 'missing'}, at most {MAX_RESULT_BYTES}",
            )
            return
        try:
            answer = self.server.page.on_result(json.loads(self.rfile.read(int(length))))
        except (ValueError, RecursionError) as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
            return
        body = json.dumps(answer).encode("ascii")
        self._begin(HTTPStatus.OK, "application/json; charset=utf-8", len(body))
        self.wfile.write(body)

    def _refuse(self, status: HTTPStatus, text: str, *, with_body: bool = True) -> None:
        body = f"{status.value} {status.phrase}: {text}\n".encode()
        self._begin(status, "text/plain; charset=utf-8", len(body))
        if with_body and self.command != "HEAD":
            self.wfile.write(body)

    def _begin(self, status: HTTPStatus, mime_type: str, size: int) -> None:
        self.send_response(status)
        self.send_header("Content-Type", mime_type)
        self.send_header("Content-Length", str(size))
        for name, value in security_headers().items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()


def is_loopback(host: str) -> bool:
    """Returns whether only this machine can reach a server on that host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host_name(header: str) -> str | None:
    try:
        return urlsplit(f"//{header}").hostname
    except ValueError:
        return None


def _reachable_name(host: str) -> str:
    """Returns the host itself, or, for all addresses of the machine, the one it sends from."""
    if host not in ("0.0.0.0", "::", ""):
        return host
    family, probe = (
        (socket.AF_INET6, "2001:db8::1") if ":" in host else (socket.AF_INET, "192.0.2.1")
    )
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as outward:
            outward.connect((probe, 9))  # a documentation address; nothing is sent
            return str(outward.getsockname()[0])
    except OSError:
        return "::1" if ":" in host else "127.0.0.1"
