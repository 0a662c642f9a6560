"""Servers of pictures that tests start: the web, with its faults; SFTP; and S3, by moto."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Answer = Callable[["Handler", bytes], None]


class Web:
    """A server of files in memory.

    Attributes:
        files: by path, without the slash before it.
        faults: what answers in place of a file, by path; each takes the rest of the answers.
        asked: how often each path was asked for, and with what query and headers at last.
    """

    def __init__(self, port: int) -> None:
        self.root = f"http://127.0.0.1:{port}"
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[Answer]] = {}
        self.asked: Counter[str] = Counter()
        self.last: dict[str, Any] = {}


class Handler(BaseHTTPRequestHandler):
    """Answers GET."""

    protocol_version = "HTTP/1.1"

    def __init__(self, web: Callable[[], Web], *arguments: Any) -> None:
        self.web = web
        super().__init__(*arguments)

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Send a file, or the next fault for it."""
        web, (path, _, query) = self.web(), self.path[1:].partition("?")
        web.asked[path] += 1
        web.last = {"query": query, "headers": dict(self.headers)}
        data = web.files.get(path)
        try:
            if web.faults.get(path):
                web.faults[path].pop(0)(self, data or b"")
            elif data is None:
                status(404)(self, b"")
            else:
                self.send(data)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def send(self, data: bytes, *, length: int | None = None, code: int = 200) -> None:
        """Send bytes, and say that there are so many."""
        self.send_response(code)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        self.end_headers()
        self.wfile.write(data)


def status(code: int) -> Answer:
    """Answer with a status."""
    return lambda handler, data: handler.send(b"no", code=code)


def drop(handler: Handler, data: bytes) -> None:
    """Break off in the middle."""
    handler.send(data[: len(data) // 2], length=len(data))
    handler.close_connection = True
    handler.connection.close()


def cut(handler: Handler, data: bytes) -> None:
    """Send half, as if that were all."""
    handler.send(data[: len(data) // 2])


def garbled(handler: Handler, data: bytes) -> None:
    """Answer with what is no answer."""
    handler.wfile.write(b"no\r\n\r\n")
    handler.close_connection = True


def endless(handler: Handler, data: bytes) -> None:
    """Send on and on, in chunks, without a length."""
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    part = bytes(2**16)
    while True:
        handler.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))


def untold(handler: Handler, data: bytes) -> None:
    """Say no length, and close at the end."""
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.wfile.write(data)
    handler.close_connection = True


def huge(handler: Handler, data: bytes) -> None:
    """Promise more than anyone takes."""
    handler.send(data, length=2**50)
    handler.close_connection = True


def led_to(address: str) -> Answer:
    """Lead on to another address."""

    def answer(handler: Handler, data: bytes) -> None:
        handler.send_response(302)
        handler.send_header("Location", address)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


@contextmanager
def web_server() -> Iterator[Web]:
    """Start a server of the web."""
    known: list[Web] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, lambda: known[0]))
    server.daemon_threads = True
    known.append(web := Web(server.server_address[1]))
    thread = threading.Thread(target=partial(server.serve_forever, 0.02), daemon=True)
    thread.start()
    yield web
    server.shutdown()
    server.server_close()


@contextmanager
def sftp_server(folder: Path, keys: Path) -> Iterator[tuple[int, Callable[[], object]]]:
    """Start a server that gives a folder to user ``line`` with password ``p4ssw0rd``.

    Gives its port, and what breaks all connections to it.

    Args:
        folder: its root.
        keys: where the line of ``known_hosts`` is written.
    """
    import asyncssh

    def password_is_right(self: object, username: str, password: str) -> bool:
        return (username, password) == ("line", "p4ssw0rd")

    does = {
        "connection_made": lambda self, connection: connections.append(connection),
        "password_auth_supported": lambda self: True,
        "validate_password": password_is_right,
    }
    kind = type("Server", (asyncssh.SSHServer,), does)
    key = asyncssh.generate_private_key("ssh-ed25519")
    loop, started, ports = asyncio.new_event_loop(), threading.Event(), list[int]()
    connections: list[Any] = []

    async def start() -> None:
        server = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[key],
            server_factory=kind,
            sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=str(folder).encode()),
        )
        ports.append(server.sockets[0].getsockname()[1])
        started.set()

    def serve() -> None:
        asyncio.set_event_loop(loop)
        loop.create_task(start())
        loop.run_forever()

    threading.Thread(target=serve, daemon=True).start()
    assert started.wait(10)
    public = key.export_public_key().decode().strip()
    keys.write_text(f"[127.0.0.1]:{ports[0]} {public}\n")

    def break_off() -> None:
        for one in connections:
            loop.call_soon_threadsafe(one.abort)

    yield ports[0], break_off

    async def stop() -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
