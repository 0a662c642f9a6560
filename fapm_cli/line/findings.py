"""Findings: what is said of each entry of a line's file, and how an entry is taken."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fapm_cli.line.keys import Kind, Table, WrongError, shown


@dataclass(frozen=True)
class Finding:
    """What is to be said of an entry.

    Attributes:
        entry: its place in the file: ``banks.part``, ``sources.1``, ``service.port``.
        ok: whether it is in order.
        said: what it is, or what is wrong, and what to do.
    """

    entry: str
    ok: bool
    said: str

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return dict(vars(self))


class Findings(dict[str, Finding]):
    """Findings by their entries, in the file's order."""

    def __init__(self, folder: Path):
        """Begin with none; paths are looked for from a folder."""
        super().__init__()
        self.folder = folder

    @property
    def faults(self) -> list[Finding]:
        """Those of entries that are wrong."""
        return [one for one in self.values() if not one.ok]

    def good(self, entry: str, said: str) -> None:
        """Find an entry good."""
        self[entry] = Finding(entry, True, said)

    def wrong(self, entry: str, said: str) -> None:
        """Find an entry wrong."""
        self[entry] = Finding(entry, False, said)

    def take(self, entry: str, kind: Kind, value: Any, put: Callable[[Any], object]) -> None:
        """Take a value, if it is of a kind, and ``put`` it."""
        try:
            taken = kind.take(value, self.folder)
        except WrongError as error:
            self.wrong(entry, str(error))
        else:
            put(taken)
            self.good(entry, str(taken).lower() if isinstance(taken, bool) else str(taken))

    def table(self, entry: str, value: Any) -> Table:
        """Take a section; an empty one in place of what is none."""
        if isinstance(value, Mapping):
            return value
        self.wrong(entry, f"{shown(value)}: wanted a section [{entry}]")
        return {}

    def options(self, section: str, table: Table, known: Mapping[str, Kind]) -> dict[str, Any]:
        """Take the keys of a section, by the names of Python; what is wrong is left out."""
        values: dict[str, Any] = {}
        for key, value in table.items():
            entry, name = f"{section}.{key}", key.replace("-", "_")
            if key not in known:
                self.wrong(entry, unknown("key", key, known))
            else:
                self.take(entry, known[key], value, functools.partial(values.__setitem__, name))
        return values


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Say that there is no such key, and which one may be meant."""
    typed = name.replace("_", "-")
    near = difflib.get_close_matches(typed, [*known], 3)
    near.sort(key=lambda one: sorted(one) != sorted(typed))  # two letters changed places
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    return f"no such {what}: {hint}"
