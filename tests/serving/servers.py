"""What the tests of the service share: a server in a thread of this process, and asking it."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from queue import Queue
from typing import Any

from fapm_cli.serving.feeding import Inlet
from fapm_cli.serving.serve import serve
from fapm_cli.serving.settings import Settings

JPEG = {"Content-Type": "image/jpeg"}
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Answer:
    """What a request got."""

    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        """Its body, read as JSON."""
        return json.loads(self.body)


@dataclass
class Server:
    """A server that runs; what it said, and what its sink was told."""

    host: str
    port: int
    said: list[str] = field(default_factory=list)
    told: list[Any] = field(default_factory=list)

    def ask(
        self,
        path: str,
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        method: str | None = None,
    ) -> Answer:
        """Send one request on a connection of its own."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=20)
        try:
            way = method or ("GET" if body is None else "POST")
            connection.request(way, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def score(self, picture: Path | bytes, query: str = "", bank: str = "bank") -> Answer:
        """Have a picture judged."""
        data = picture if isinstance(picture, bytes) else picture.read_bytes()
        return self.ask(f"/banks/{bank}/score{query}", data, JPEG)


def until(found: Callable[[], bool]) -> None:
    """Wait for something, 20 s at most."""
    end = time.monotonic() + 20
    while not found():
        assert time.monotonic() < end
        time.sleep(0.01)


@contextmanager
def serving(
    banks: Mapping[str, Path],
    sources: Sequence[Inlet] = (),
    alive: Callable[[], None] = lambda: None,
    **settings: Any,
) -> Iterator[Server]:
    """Run a server on a free port."""
    ready: Queue[str | BaseException] = Queue()
    over = threading.Event()
    server = Server("127.0.0.1", 0)

    def run() -> None:
        try:
            serve(
                banks,
                Settings(port=0, **settings),
                say=server.said.append,
                ready=ready.put,
                until=over.is_set,
                sinks=[server.told.append],
                sources=sources,
                alive=alive,
            )
        except BaseException as error:
            ready.put(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        address = ready.get(timeout=60)
        if isinstance(address, BaseException):
            raise address
        server.port = int(address.rpartition(":")[2])
        yield server
    finally:
        over.set()
        thread.join(30)
        assert not thread.is_alive()
