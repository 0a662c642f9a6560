"""``fapm serve`` as a function."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fapm_cli.compute.cores import usable_cores
from fapm_cli.compute.resident import share_pools
from fapm_cli.errors import OptionError
from fapm_cli.packages import need
from fapm_cli.serving.settings import Settings

if TYPE_CHECKING:
    from fapm_cli.detection.record import Record
    from fapm_cli.serving.feeding import Feed, Inlet
    from fapm_cli.serving.history import Judgement
    from fapm_cli.serving.service import Sink

PACKAGES = ("starlette", "uvicorn", "prometheus_client")  # of the extra fapm[serve]
_BACKLOG = 256
_STOP_S = 10.0


def serve(
    banks: Mapping[str, str | Path],
    settings: Settings | None = None,
    *,
    say: Callable[[str], None] = lambda line: None,
    ready: Callable[[str], None] = lambda address: None,
    until: Callable[[], bool] = lambda: False,
    sinks: Sequence[Sink] = (),
    publish: Callable[[Record], Record] | None = None,
    sources: Sequence[Inlet] = (),
    alive: Callable[[], None] = lambda: None,
) -> None:
    """Serve banks until SIGTERM or Ctrl-C; what is being judged then comes to its end.

    Args:
        banks: files by the names they have in addresses.
        settings: how; None for this machine alone, on port 8000.
        say: told what an operator should know, in lines.
        ready: told the address, once pictures are taken.
        until: asked ten times a second whether to stop.
        sinks: each is told of every picture's
            :class:`fapm_cli.serving.history.Judgement`, and must return at once.
        publish: given every picture's record, and in it ``id`` and ``time`` as the service tells
            them, and the name of its ``bank``; such as :meth:`fapm_cli.Delivery.publish`. It must
            return at once, too.
        sources: whose pictures are judged, shown and told as those of requests are.
        alive: called ten times a second, unless a source hangs.

    Raises:
        OptionError: packages are missing, the settings make no sense, the address can't be had, or
            a source's bank is not there.
        FapmError: a bank can't be loaded, or a source not opened.
    """
    for package in PACKAGES:
        need(package, "serve")
    from fapm_cli.serving.feeding import Feed
    from fapm_cli.serving.http.server import run
    from fapm_cli.serving.service import Service

    settings = settings or Settings()
    settings.check()
    for one in sources:
        if one.bank not in banks:
            raise OptionError(f"source {one.name}: there is no bank {one.bank!r}")
    share_pools(usable_cores())  # one for each thread that judges: memory is used again
    listening = _listen(settings)
    with contextlib.closing(listening):
        service = Service({name: Path(path) for name, path in banks.items()}, settings, say)
        with contextlib.closing(service):
            service.sinks += sinks
            if publish is not None:
                service.sinks.append(_publisher(publish))
            feeds = [Feed(one, service, say) for one in sources]
            service.feeds += feeds

            def over() -> bool:
                if all(feed.moves for feed in feeds):
                    alive()
                return until()

            _run(_feeding(feeds, run(service, listening, say, ready, over)))


async def _feeding(feeds: Sequence[Feed], serving: Coroutine[Any, Any, None]) -> None:
    """Serve, with sources that run beside it; their pictures in hand come to their end."""
    for feed in feeds:
        feed.begin()
    try:
        await serving
    finally:
        until = time.monotonic() + _STOP_S
        for feed in feeds:
            feed.end()
        for feed in feeds:  # one that hangs is left to the end of the process
            await asyncio.to_thread(feed.join, max(0.0, until - time.monotonic()))


def _publisher(publish: Callable[[Record], Record]) -> Sink:
    """A sink that publishes the record of each picture, with what finds it again here."""

    def tell(one: Judgement) -> None:
        told = one.to_json()
        publish({"id": told["id"], "time": told["time"], "bank": one.bank, **one.record})

    return tell


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run some work; by uvloop, where it is there, which halves what a request costs."""
    try:
        import uvloop
    except ImportError:  # as on Windows
        asyncio.run(work)
    else:
        uvloop.run(work)


def _listen(settings: Settings) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM
        )[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        raise OptionError(
            f"can't listen on {settings.host}, port {settings.port}: {error}; is another running?"
        ) from error
