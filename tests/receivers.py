"""Real receivers for the sinks' tests: an HTTP server, Mosquitto; and a record."""

from __future__ import annotations

import getpass
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

RECORD: dict[str, Any] = {
    "path": "inbox/1.jpg",
    "score": 1.5,
    "peak": {"x": 3, "y": 4},
    "nearest": {"name": "good.jpg", "picture": 0, "input_x": 1, "input_y": 2},
    "regions": [{}],
    "threshold": 1.0,
    "verdict": "anomalous",
    "p_value": 0.25,
}
MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
NO_MOSQUITTO = "Mosquitto is not installed (Debian: apt install mosquitto)"


def wait_until(true: Callable[[], object], seconds: float = 30) -> None:
    """Wait until something is so, and fail if it never is."""
    over = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < over, "it never came to be"
        time.sleep(0.005)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Receiver:
    """A webhook's receiver on this machine.

    Attributes:
        posts: headers and body of each request that was answered with 200.
        answer: decides the code of the next answer; 0 for none at all.
    """

    def __init__(self, port: int = 0) -> None:
        self.posts: list[tuple[dict[str, str], bytes]] = []
        self.answer: Callable[[], int] = lambda: 200
        self._connections: list[socket.socket] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                receiver._connections.append(self.connection)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                code = receiver.answer()
                if code == 200:
                    receiver.posts.append((dict(self.headers), body))
                if code == 0:
                    self.close_connection = True
                    return
                self.send_response(code)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def records(self) -> list[dict[str, Any]]:
        return [record for _, body in list(self.posts) for record in json.loads(body)]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/results"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self.hang_up()

    def hang_up(self) -> None:
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class Relay:
    """A way to a server, which can be cut: as if the server were gone."""

    def __init__(self, port: int, target: int) -> None:
        self._ends: list[socket.socket] = []
        self._server = socket.create_server(("127.0.0.1", port))
        self._target = target
        self._run(self._accept)

    def _run(self, work: Callable[..., None], *arguments: object) -> None:
        def quietly() -> None:
            with suppress(OSError):  # it is cut
                work(*arguments)

        threading.Thread(target=quietly, daemon=True).start()

    def _accept(self) -> None:
        while True:
            near, _ = self._server.accept()
            far = socket.create_connection(("127.0.0.1", self._target))
            self._ends += [near, far]
            self._run(self._pass, near, far)
            self._run(self._pass, far, near)

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        while data := one.recv(65536):
            other.sendall(data)
        other.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def mosquitto(folder: Path, port: int, *lines: str) -> Iterator[None]:
    """A broker on a port, until the end; further lines are its configuration."""
    assert MOSQUITTO is not None
    config = folder / "mosquitto.conf"
    usual = (f"user {getpass.getuser()}", f"listener {port} 127.0.0.1", "allow_anonymous true")
    config.write_text("\n".join((*usual, *lines)))
    with subprocess.Popen([MOSQUITTO, "-c", config], stderr=subprocess.DEVNULL) as broker:
        try:
            wait_until(lambda: _listens(port))
            yield
        finally:
            broker.kill()


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0
