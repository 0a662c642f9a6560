"""The stream of results: server-sent events, to as many as may listen."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from fapm_cli.serving.history import Judgement
from fapm_cli.serving.http.refusing import busy

_MOST_LISTENERS = 32
_MOST_WAITING = 256  # a listener who is slower than that is let go, and may ask again
_BEAT_S = 15.0
_SEND_S = 30.0


class Listener:
    """One who listens: to all banks, or to one."""

    def __init__(self, bank: str | None):
        """Begin with nothing to tell."""
        self.bank = bank
        self.waiting: asyncio.Queue[bytes | None] = asyncio.Queue()

    def tell(self, event: bytes | None) -> bool:
        """Tell of an event; False where too many wait already."""
        if self.waiting.qsize() >= _MOST_WAITING:
            self.waiting = asyncio.Queue()
            event = None
        self.waiting.put_nowait(event)
        return event is not None


class Events:
    """All who listen; a sink of a service."""

    def __init__(self) -> None:
        """Begin with none."""
        self._listeners: set[Listener] = set()

    def __call__(self, one: Judgement) -> None:
        """Tell all of a record."""
        self.tell(one, "record")

    def tell(self, one: Judgement, kind: str) -> None:
        """Tell all of something new of a picture: its ``record``, or a ``decision``."""
        if not self._listeners:
            return
        event = event_of(one, kind)
        for listener in [*self._listeners]:
            if listener.bank in (None, one.bank) and not listener.tell(event):
                self._listeners.discard(listener)

    def listen(self, bank: str | None, missed: Sequence[Judgement]) -> EventStream:
        """Begin to tell someone, first of what was missed.

        Raises:
            RefusedError: too many listen.
        """
        if len(self._listeners) >= _MOST_LISTENERS:
            raise busy()
        listener = Listener(bank)
        for one in missed:
            if bank in (None, one.bank):
                listener.waiting.put_nowait(event_of(one, "record"))
        self._listeners.add(listener)
        return EventStream(listener, self)

    def leave(self, listener: Listener) -> None:
        """End it for one."""
        self._listeners.discard(listener)

    def close(self) -> None:
        """End it for all."""
        for listener in self._listeners:
            listener.tell(None)
        self._listeners.clear()


class EventStream(Response):
    """An answer that goes on until either side has enough."""

    media_type = "text/event-stream"

    def __init__(self, listener: Listener, events: Events):
        """For one who listens."""
        super().__init__()
        del self.headers["content-length"]
        self._listener, self._events = listener, events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events as they come, and a comment where none does."""
        telling = asyncio.ensure_future(self._tell(send))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait({telling, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._events.leave(self._listener)
            for task in (telling, leaving):
                task.cancel()
            await asyncio.gather(telling, leaving, return_exceptions=True)

    async def _tell(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        event: bytes | None = b": listening\n\n"
        while event is not None:
            body = {"type": "http.response.body", "body": event, "more_body": True}
            await asyncio.wait_for(send(body), _SEND_S)
            try:
                event = await asyncio.wait_for(self._listener.waiting.get(), _BEAT_S)
            except asyncio.TimeoutError:
                event = b":\n\n"
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def event_of(one: Judgement, kind: str) -> bytes:
    """A picture as an event."""
    return f"id: {one.id}\nevent: {kind}\ndata: {json.dumps(one.to_json())}\n\n".encode()
