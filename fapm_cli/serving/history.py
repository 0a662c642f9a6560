"""The last pictures: what was said of them, and what it takes to show them."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fapm_cli.api.result import Result
from fapm_cli.detection.record import Record
from fapm_cli.plain_values import utc_text
from fapm_cli.serving.served_bank import Loaded

_MOST_BYTES = 256 * 2**20  # of maps, in memory
_MOST_FILE_BYTES = 2**30


@dataclass(eq=False)
class Judgement:
    """A picture, and what was said of it.

    Attributes:
        id: of it alone, wherever records of several services and runs meet; it sorts by time.
        bank: that judged it, by name.
        time: when, in seconds since 1970.
        record: that of ``fapm score``.
        seconds: from the picture's last byte to the record.
        loaded: what judged it, as long as that is in place.
        result: what it takes to draw it; None where that was given up.
        file: a copy of the picture; None where there is none.
        num_bytes: of that copy.
        decision: the operator's: ``good``, ``defect``, ``unsure``; None for none.
    """

    id: str
    bank: str
    time: float
    record: Record
    seconds: float = 0.0
    loaded: Loaded | None = field(default=None, repr=False)
    result: Result | None = field(default=None, repr=False)
    file: Path | None = None
    num_bytes: int = 0
    decision: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As programs and the page are told of it."""
        return {
            "id": self.id,
            "bank": self.bank,
            "time": utc_text(self.time),
            "record": self.record,
            "decision": self.decision,
            "shown": self.file is not None,
            "drawn": self.file is not None and self.result is not None,
        }


class History:
    """The last pictures, as many as there is room for."""

    def __init__(self, most: int):
        """Begin with none, and room for ``most``."""
        self._most = most
        self._all: OrderedDict[str, Judgement] = OrderedDict()
        self._held_bytes = self._file_bytes = 0

    def add(self, one: Judgement) -> list[Path]:
        """Take the next, and give up old ones: their files, which nobody needs any more."""
        self._all[one.id] = one
        self._file_bytes += one.num_bytes
        self._held_bytes += 0 if one.result is None else one.result.num_bytes
        gone: list[Path] = []
        while len(self._all) > self._most or self._file_bytes > _MOST_FILE_BYTES:
            _, old = self._all.popitem(last=False)
            self._let_go(old)
            self._file_bytes -= old.num_bytes
            if old.file is not None:
                gone.append(old.file)
                old.file = None
        for old in self._all.values():
            if self._held_bytes <= _MOST_BYTES:
                break
            self._let_go(old)
        return gone

    def find(self, bank: str, id: str) -> Judgement | None:
        """One of them; None if it is not among them."""
        found = self._all.get(id)
        return found if found is not None and found.bank == bank else None

    def newest(self, number: int, bank: str | None = None) -> list[Judgement]:
        """The newest, of one bank or of all, the newest first."""
        found = [one for one in reversed(self._all.values()) if bank in (None, one.bank)]
        return found[:number]

    def after(self, id: str) -> list[Judgement]:
        """What came after one of them, oldest first; nothing where it is not known any more."""
        if id not in self._all:
            return []
        names = [*self._all]
        return [self._all[name] for name in names[names.index(id) + 1 :]]

    def let_go(self, bank: str, loaded: Loaded) -> None:
        """Give up what it takes to draw pictures that a bank judged before what is loaded now."""
        for one in self._all.values():
            if one.bank == bank and one.loaded is not loaded:
                self._let_go(one)

    def _let_go(self, one: Judgement) -> None:
        self._held_bytes -= 0 if one.result is None else one.result.num_bytes
        one.result = one.loaded = None
