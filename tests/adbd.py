"""A small adbd: the device's side of adb's wire protocol over TCP, for the real adb client.

Connections, shell with and without protocol 2, exec and sync (push, pull), as described in
https://android.googlesource.com/platform/packages/modules/adb/+/refs/heads/main/protocol.txt,
SERVICES.TXT and SYNC.TXT of the same folder. Not for use outside of tests: it asks for no key.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shlex
import signal
import struct
from collections.abc import Iterator

CNXN, OPEN, OKAY, CLSE, WRTE = (
    struct.unpack("<I", name)[0] for name in (b"CNXN", b"OPEN", b"OKAY", b"CLSE", b"WRTE")
)
VERSION, MAX_DATA = 0x01000001, 256 * 1024
STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)


class Stream:
    """One opened service: bytes both ways, each write answered by an OKAY."""

    def __init__(self, connection: Connection, local: int, remote: int) -> None:
        self.connection, self.local, self.remote = connection, local, remote
        self.acknowledged = asyncio.Event()
        self.received: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.rest = b""
        self.closed = False

    async def write(self, data: bytes) -> None:
        for at in range(0, len(data), self.connection.max_data):
            if self.closed:
                return
            self.acknowledged.clear()
            chunk = data[at : at + self.connection.max_data]
            await self.connection.send(WRTE, self.local, self.remote, chunk)
            await self.acknowledged.wait()

    async def read(self, size: int) -> bytes:
        while len(self.rest) < size:
            data = await self.received.get()
            if data is None:
                raise EOFError
            self.rest += data
        data, self.rest = self.rest[:size], self.rest[size:]
        return data

    def end(self) -> None:
        self.closed = True
        self.acknowledged.set()
        self.received.put_nowait(None)

    async def close(self) -> None:
        if not self.closed:
            self.closed = True
            await self.connection.send(CLSE, self.local, self.remote, b"")


class Connection:
    """One adb server that has connected."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, phone: Phone
    ) -> None:
        self.reader, self.writer, self.phone = reader, writer, phone
        self.max_data = 4096
        self.streams: dict[int, Stream] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.count = 0
        self.lock = asyncio.Lock()

    async def send(self, command: int, first: int, second: int, data: bytes) -> None:
        head = (command, first, second, len(data), sum(data) & 0xFFFFFFFF, command ^ 0xFFFFFFFF)
        async with self.lock:
            self.writer.write(struct.pack("<6I", *head) + data)
            await self.writer.drain()

    async def serve(self) -> None:
        try:
            while True:
                head = struct.unpack("<6I", await self.reader.readexactly(24))
                data = await self.reader.readexactly(head[3]) if head[3] else b""
                await self.handle(head[0], head[1], head[2], data)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            for stream in self.streams.values():
                stream.end()
            self.writer.close()

    async def handle(self, command: int, first: int, second: int, data: bytes) -> None:
        if command == CNXN:
            self.max_data = min(second, MAX_DATA)
            await self.send(CNXN, VERSION, MAX_DATA, self.phone.banner())
        elif command == OPEN:
            self.count += 1
            stream = self.streams[self.count] = Stream(self, self.count, first)
            task = asyncio.create_task(self.run(stream, data.rstrip(b"\0").decode()))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        elif command == OKAY and second in self.streams:
            self.streams[second].acknowledged.set()
        elif command == WRTE and second in self.streams:
            self.streams[second].received.put_nowait(data)
            await self.send(OKAY, second, first, b"")
        elif command == CLSE and second in self.streams:
            self.streams.pop(second).end()

    async def run(self, stream: Stream, service: str) -> None:
        kind, _, argument = service.partition(":")
        with contextlib.suppress(EOFError, ConnectionError):
            await self.send(OKAY, stream.local, stream.remote, b"")
            if kind == "sync":
                await self.phone.sync(stream)
            elif kind.split(",")[0] in ("shell", "exec"):
                await self.phone.shell(stream, argument, framed="v2" in kind.split(","))
        with contextlib.suppress(ConnectionError):
            await stream.close()


class Phone:
    """A folder that is the phone's root for push and pull, and a shell."""

    def __init__(self, root: str, wrapper: list[str]) -> None:
        self.root, self.wrapper = os.path.abspath(root), wrapper

    def banner(self) -> bytes:
        features = "shell_v2,cmd,stat_v2,fixed_push_mkdir"
        return (
            f"device::ro.product.name=test;ro.product.model=Test_Phone;features={features}".encode()
        )

    async def shell(self, stream: Stream, script: str, *, framed: bool) -> None:
        pipe = asyncio.subprocess.PIPE
        path = f"{self.root}/system/bin:{os.environ['PATH']}"
        process = await asyncio.create_subprocess_exec(
            *self.wrapper,
            "/bin/sh",
            "-c",
            script or "cat",
            stdin=pipe,
            stdout=pipe,
            stderr=pipe if framed else asyncio.subprocess.STDOUT,
            env={**os.environ, "PATH": path, "ANDROID_ROOT": f"{self.root}/system"},
            start_new_session=True,
        )

        async def pump(source: asyncio.StreamReader, number: int) -> None:
            while data := await source.read(65536):
                head = struct.pack("<BI", number, len(data)) if framed else b""
                await stream.write(head + data)

        feeding = asyncio.create_task(self.feed(stream, process, framed=framed))
        assert process.stdout is not None
        pumps = [pump(process.stdout, STDOUT)]
        if process.stderr is not None:
            pumps.append(pump(process.stderr, STDERR))
        await asyncio.gather(*pumps)
        code = await process.wait()
        feeding.cancel()
        if framed:
            code = code & 255 if code >= 0 else 128 - code
            await stream.write(struct.pack("<BIB", EXIT, 1, code))

    async def feed(
        self, stream: Stream, process: asyncio.subprocess.Process, *, framed: bool
    ) -> None:
        """As adbd does: a client that goes is a hangup (daemon/shell_service.cpp)."""
        assert process.stdin is not None
        try:
            while True:
                kind, size = struct.unpack("<BI", await stream.read(5)) if framed else (STDIN, 1)
                data = await stream.read(size)
                if kind == STDIN:
                    process.stdin.write(data)
                    await process.stdin.drain()
                elif kind == CLOSE_STDIN:
                    process.stdin.close()
        except (EOFError, ConnectionError):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGHUP)
            process.stdin.close()

    def path(self, name: str) -> str:
        return self.root + os.path.normpath("/" + name)

    async def sync(self, stream: Stream) -> None:
        while True:
            name, size = struct.unpack("<4sI", await stream.read(8))
            if name == b"QUIT":
                return
            argument = (await stream.read(size)).decode()
            if name in (b"STAT", b"STA2", b"LST2"):
                await stream.write(self.status(name, self.path(argument)))
            elif name == b"RECV":
                for part in self.content(self.path(argument)):
                    await stream.write(part)
            elif name == b"SEND":
                await stream.write(await self.receive(stream, argument))
            else:
                await stream.write(failure(f"unknown {name!r}"))

    def status(self, name: bytes, path: str) -> bytes:
        try:
            found = os.stat(path)
            error = 0
        except OSError as problem:
            found, error = os.stat_result([0] * 10), problem.errno or 1
        times = (int(found.st_atime), int(found.st_mtime), int(found.st_ctime))
        if name == b"STAT":
            return struct.pack("<4s3I", name, found.st_mode, found.st_size, times[1])
        numbers = (found.st_dev, found.st_ino, found.st_mode, found.st_nlink, found.st_uid)
        return struct.pack(
            "<4sIQQIIIIQqqq", name, error, *numbers, found.st_gid, found.st_size, *times
        )

    def content(self, path: str) -> Iterator[bytes]:
        try:
            with open(path, "rb") as file:
                while data := file.read(65536):
                    yield struct.pack("<4sI", b"DATA", len(data)) + data
            yield struct.pack("<4sI", b"DONE", 0)
        except OSError as error:
            yield failure(str(error))

    async def receive(self, stream: Stream, argument: str) -> bytes:
        name, _, mode = argument.rpartition(",")
        path, problem, parts = self.path(name), "", []
        while True:
            kind, size = struct.unpack("<4sI", await stream.read(8))
            if kind != b"DATA":
                break
            parts.append(await stream.read(size))
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.writelines(parts)
            os.chmod(path, int(mode) & 0o777)
        except OSError as error:
            problem = str(error)
        return failure(problem) if problem else struct.pack("<4sI", b"OKAY", 0)


def failure(text: str) -> bytes:
    return struct.pack("<4sI", b"FAIL", len(text.encode())) + text.encode()


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--root", required=True)
    parser.add_argument("--wrapper", default="")
    options = parser.parse_args()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # an ignored one hides exit codes
    phone = Phone(options.root, shlex.split(options.wrapper))

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await Connection(reader, writer, phone).serve()

    server = await asyncio.start_server(connect, "127.0.0.1", options.port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
