"""The server: a service on the network, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Iterator

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from fapm_cli.serving.http.app import make_app
from fapm_cli.serving.http.events import Events
from fapm_cli.serving.http.guard import MOST_HEAD_BYTES
from fapm_cli.serving.service import Service

_HEAD_S = 10  # in which a request's head has to come
_MOST_CONNECTIONS = 256
_STOP_S = 10


class PatientProtocol(H11Protocol):
    """HTTP/1.1 whose requests have their heads come in time, or are let go."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Wait on, as long as no head is whole."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop_waiting()
        elif self._waiting is None and not self.transport.is_closing():
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(_HEAD_S, self._give_up)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _give_up(self) -> None:
        self._waiting = None
        if self.conn.their_state is h11.IDLE:
            self.transport.close()


class _Server(uvicorn.Server):
    """A server that ends its events first, and leaves signals to whoever runs it."""

    def __init__(self, config: uvicorn.Config, events: Events, until: Callable[[], bool]):
        super().__init__(config)
        self._events, self._until = events, until

    async def on_tick(self, counter: int) -> bool:
        """Say, ten times a second, whether to stop."""
        return await super().on_tick(counter) or self._until()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take none."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop."""
        self._events.close()
        await super().shutdown(sockets)


async def run(
    service: Service,
    listening: socket.socket,
    say: Callable[[str], None],
    ready: Callable[[str], None],
    until: Callable[[], bool],
) -> None:
    """Serve until it is told to stop; what is being judged then comes to its end.

    Args:
        service: that judges.
        listening: the socket.
        say: told what an operator should know, in lines.
        ready: told the address, once pictures are taken.
        until: asked ten times a second whether to stop.
    """
    events = Events()
    service.sinks.append(events)
    for name in ("uvicorn.error", "uvicorn.asgi"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what matters is said here
    config = uvicorn.Config(
        make_app(service, events, say),
        http=PatientProtocol,
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=_MOST_CONNECTIONS,
        h11_max_incomplete_event_size=MOST_HEAD_BYTES,
        timeout_graceful_shutdown=_STOP_S,
    )
    server = _Server(config, events, until)
    with _told_to_stop(server):
        watching = asyncio.ensure_future(service.watch())
        host, port = listening.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        ready(f"http://{shown}:{port}")
        try:
            await server.serve([listening])
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


@contextlib.contextmanager
def _told_to_stop(server: uvicorn.Server) -> Iterator[None]:
    """Have the first SIGTERM or Ctrl-C stop a server, and a second one stop it at once."""

    def stop(number: int, frame: object) -> None:
        server.force_exit = server.should_exit
        server.should_exit = True

    before = {}
    with contextlib.suppress(ValueError):  # not in the main thread
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
