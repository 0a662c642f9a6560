"""Feeding: the pictures of a source go through a service as those of requests do."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fapm_cli.compute.cores import usable_cores
from fapm_cli.errors import FapmError
from fapm_cli.pictures.read_ahead import in_order
from fapm_cli.pictures.reading import Item
from fapm_cli.serving.history import Judgement
from fapm_cli.serving.service import Looked, Service
from fapm_cli.sources.source import Source

AGAIN_S = 2.0
"""After so long a source that failed is opened again."""
STILL_S = 30.0
"""A source that gives no sign of life for so long hangs."""


@dataclass(frozen=True)
class Inlet:
    """A source of a service.

    Attributes:
        name: in messages.
        bank: that judges what it gives, by name.
        open: opens it, at first and after each fault; a source may be given again, to go on.
        ends: whether it is done once it gives nothing more, as a video is; else that is a fault.
    """

    name: str
    bank: str
    open: Callable[[], Source]
    ends: bool = False


class Feed(threading.Thread):
    """Reads a source, has its pictures judged by the service's threads, and tells of them in order.

    Attributes:
        bank: that judges, by name.
        fault: why it gives nothing now; None while it does.
    """

    fault: str | None = None

    def __init__(self, inlet: Inlet, service: Service, say: Callable[[str], None]):
        """Open the source.

        Args:
            inlet: the source; its bank is one of the service's.
            service: that judges, and is told.
            say: told of faults, in lines.

        Raises:
            FapmError: it can't be opened.
        """
        super().__init__(name=inlet.name, daemon=True)
        self.bank, self._inlet, self._service, self._say = inlet.bank, inlet, service, say
        self._banked = service.banks[inlet.bank]
        self._source: Source | None = inlet.open()
        self._over, self._seen_at = threading.Event(), time.monotonic()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def moves(self) -> bool:
        """Whether it gave a sign of life: also that nothing comes for now, or that it failed."""
        return not self.is_alive() or time.monotonic() - self._seen_at < STILL_S

    def begin(self) -> None:
        """Begin, in a thread beside the loop that runs here."""
        self._loop = asyncio.get_running_loop()
        self.start()

    def end(self) -> None:
        """End, after the pictures in hand; :meth:`join` waits for that."""
        self._over.set()

    def run(self) -> None:
        """Go on until told to end, or until the source is at its end."""
        while not self._over.is_set():
            try:
                _ = self._banked.loaded  # else nothing is taken from the source
                source, self._source = self._source or self._inlet.open(), None
                self._pass_on(source)
                if self._inlet.ends:
                    self._say(f"source {self.name}: at its end")
                    return
                failed = "it gives nothing more"
            except FapmError as error:
                failed = str(error)
            except Exception as error:  # whatever a driver raises: other sources go on
                failed = f"unforeseen {type(error).__name__}: {error}"
            if self._over.is_set():
                return
            if self.fault is None:
                self._say(f"note: source {self.name}: {failed}; it is tried again")
            self.fault, self._seen_at = failed, time.monotonic()
            self._over.wait(AGAIN_S)

    def _pass_on(self, source: Source) -> None:
        judge = functools.partial(self._judge)
        for looked in in_order(self._items(source), judge, usable_cores()):
            if source.wants(looked.judged):
                self._tell(looked.one)
            elif looked.one.file is not None:
                self._service.keep.drop([looked.one.file])

    def _items(self, source: Source) -> Iterator[Item | None]:
        for item in source.items:
            self._seen_at = time.monotonic()
            if self._over.is_set():
                return
            if self.fault is not None:
                self._say(f"source {self.name} works again")
                self.fault = None
            yield item

    def _judge(self, item: Item) -> Looked:
        return self._service.workers.do(functools.partial(self._service.look, self._banked, item))

    def _tell(self, one: Judgement) -> None:
        """Have the loop tell of a picture, and wait until it has: no more are judged than told."""
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self._service.tell(one), self._loop).result()
