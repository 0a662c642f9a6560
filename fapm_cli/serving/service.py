"""The service: banks that judge what comes, and all who are told of it."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from fapm_cli.compute.resident import give_back_freed
from fapm_cli.detection.stream import Judged
from fapm_cli.errors import BankError
from fapm_cli.finding.folders import Unreadable
from fapm_cli.pictures.picture import Encoded
from fapm_cli.pictures.reading import Item
from fapm_cli.plain_values import new_id
from fapm_cli.serving.history import History, Judgement
from fapm_cli.serving.keeping import Keep, ending_of, file_of, in_memory
from fapm_cli.serving.metrics import Metrics
from fapm_cli.serving.served_bank import ServedBank
from fapm_cli.serving.settings import Settings
from fapm_cli.serving.workers import Workers
from fapm_cli.version import __version__

_LOOK_S = 0.5

Sink = Callable[[Judgement], None]
"""Takes each picture's record, in the order in which they are made; it must return at once."""


class Fed(Protocol):
    """A source that a service has beside requests: its name, its bank's, and why it gives nothing
    now, if so.
    """

    @property
    def name(self) -> str:
        """In messages."""

    @property
    def bank(self) -> str:
        """That judges what it gives."""

    @property
    def fault(self) -> str | None:
        """None where all is well."""


@dataclass(frozen=True)
class Looked:
    """A picture that was judged, and nobody was told of: ``one``; ``judged`` is for its source."""

    one: Judgement
    judged: Judged | Unreadable


class Service:
    """Banks that judge pictures in one process.

    Attributes:
        banks: by name.
        settings: what it was told.
        sinks: all who are told of each record: :meth:`publish` is the one place.
        history: the last pictures.
        keep: their copies, and decisions.
        metrics: counters.
        workers: the threads that judge.
        feeds: the sources that it has beside requests.
    """

    def __init__(
        self,
        banks: Mapping[str, Path],
        settings: Settings,
        say: Callable[[str], None] = lambda line: None,
    ):
        """Load all banks; one that can't be is waited for, while the others judge.

        Args:
            banks: their files, by name.
            settings: how to run.
            say: told what an operator should know, in lines.

        Raises:
            FapmError: no bank can be loaded, or pictures can't be kept.
        """
        self.settings, self._say = settings, say
        self.banks = {
            name: ServedBank(name, path, drift=settings.drift) for name, path in banks.items()
        }
        broken = [bank for bank in self.banks.values() if bank.fault is not None]
        if broken and len(broken) == len(self.banks):
            raise BankError(broken[0].fault)
        self.keep = Keep(settings.keep, banks)
        self.metrics = Metrics(banks)
        for bank in broken:
            self.metrics.load(bank.name, False)
            self._say_fault(bank)
        self.workers = Workers(settings.queue)
        self.history = History(settings.keep_last)
        self.sinks: list[Sink] = [self.metrics]
        self.feeds: list[Fed] = []
        self._could_keep = True

    async def judge(self, bank: ServedBank, data: bytes, path: str | None = None) -> Judgement:
        """Judge a picture, and tell of it.

        Args:
            bank: one of :attr:`banks`.
            data: the picture's file.
            path: what its record calls it; None for the name of its copy.

        Raises:
            QueueFullError: too many wait.
            BankError: nothing is loaded of it.
        """
        begun = time.perf_counter()
        id = new_id(now := time.time())
        item = Encoded(Path(path or id + ending_of(data)), data, self.settings.most_px)
        look = functools.partial(self.look, bank, item, id, now)
        one = (await self.workers.run(look)).one
        one.seconds = time.perf_counter() - begun
        self.publish(one)
        return one

    def look(
        self, bank: ServedBank, item: Item, id: str | None = None, now: float | None = None
    ) -> Looked:
        """Judge a picture in this thread, and keep a copy of it; nobody is told of it yet.

        Args:
            bank: one of :attr:`banks`.
            item: the picture.
            id: a new one; None to have one made.
            now: when it came, in seconds since 1970; None for just now.

        Raises:
            BankError: nothing is loaded of the bank.
        """
        begun, now = time.perf_counter(), now or time.time()
        item = in_memory(item)
        loaded = bank.loaded
        result = loaded.judge(item)
        one = Judgement(id or new_id(now), bank.name, now, result.record, loaded=loaded)
        data = file_of(item, good=result.error is None)
        if data is not None:
            self._keep_copy(one, data)
        if result.error is None and one.file is not None:
            one.result = result.with_file(b"")
        one.seconds = time.perf_counter() - begun
        return Looked(one, result.judged)

    async def tell(self, one: Judgement) -> None:
        """Tell all of a record, as :meth:`publish` does, asked for by another thread."""
        self.publish(one)

    def publish(self, one: Judgement) -> None:
        """Tell all who want to know of a record; in one thread, one record after another."""
        follow = None if one.loaded is None else one.loaded.follow
        if follow is not None and "error" not in one.record:
            one.record["drift"] = follow.add(one.record)
        if one.loaded is not self.banks[one.bank].loaded:  # replaced meanwhile
            one.result = one.loaded = None
        self.keep.drop(self.history.add(one))
        for sink in self.sinks:
            sink(one)

    def _keep_copy(self, one: Judgement, data: bytes) -> None:
        try:
            one.file, one.num_bytes = self.keep.write(one.bank, one.id, data), len(data)
        except OSError as error:
            self.metrics.not_kept.inc()
            if self._could_keep:
                self._say(f"note: no copies of pictures can be kept: {error.strerror}")
        self._could_keep = one.file is not None

    async def watch(self) -> None:
        """Look for new files of banks, for ever."""
        replaced = False
        while True:
            await asyncio.sleep(_LOOK_S)
            if replaced:  # and what was being judged by the old one is done
                await asyncio.to_thread(give_back_freed)
                replaced = False
            for bank in self.banks.values():
                done = await asyncio.to_thread(bank.look)
                if done is None:
                    continue
                self.metrics.load(bank.name, done)
                if done:
                    self.history.let_go(bank.name, bank.loaded)
                    replaced = True
                    self._say(f"bank {bank.name}: loaded anew, {bank.loaded.digest[:12]}")
                else:
                    self._say_fault(bank)

    def _say_fault(self, bank: ServedBank) -> None:
        goes_on = (
            "the one loaded goes on" if bank.is_loaded else "judges nothing until that is mended"
        )
        self._say(f"bank {bank.name}: {goes_on}: {bank.fault}")

    def health(self) -> dict[str, Any]:
        """Whether all is well, and what judges."""
        sources = [
            {"name": feed.name, "bank": feed.bank, "fault": feed.fault} for feed in self.feeds
        ]
        faults = [bank.fault for bank in self.banks.values()] + [feed.fault for feed in self.feeds]
        return {
            "status": "degraded" if any(faults) else "ok",
            "version": __version__,
            "banks": {name: bank.to_json() for name, bank in self.banks.items()},
            "sources": sources,
        }

    def close(self) -> None:
        """Stop."""
        self.workers.close()
        self.keep.close()
