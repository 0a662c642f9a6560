"""``fapm serve`` as a function."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fapm_cli.errors import OptionError
from fapm_cli.packages import need
from fapm_cli.serving.settings import Settings

if TYPE_CHECKING:
    from fapm_cli.detection.record import Record
    from fapm_cli.serving.history import Judgement
    from fapm_cli.serving.service import Sink

PACKAGES = ("starlette", "uvicorn", "prometheus_client")  # of the extra fapm[serve]
_BACKLOG = 256


def serve(
    banks: Mapping[str, str | Path],
    settings: Settings | None = None,
    *,
    say: Callable[[str], None] = lambda line: None,
    ready: Callable[[str], None] = lambda address: None,
    until: Callable[[], bool] = lambda: False,
    sinks: Sequence[Sink] = (),
    publish: Callable[[Record], Record] | None = None,
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

    Raises:
        OptionError: packages are missing, the settings make no sense, or the address can't be had.
        FapmError: a bank can't be loaded.
    """
    for package in PACKAGES:
        need(package, "serve")
    from fapm_cli.serving.http.server import run
    from fapm_cli.serving.service import Service

    settings = settings or Settings()
    settings.check()
    listening = _listen(settings)
    with contextlib.closing(listening):
        service = Service({name: Path(path) for name, path in banks.items()}, settings, say)
        with contextlib.closing(service):
            service.sinks += sinks
            if publish is not None:
                service.sinks.append(_publisher(publish))
            _run(run(service, listening, say, ready, until))


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
