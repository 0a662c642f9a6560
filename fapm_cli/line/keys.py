"""What ``fapm.toml`` may hold: its sections, their keys, and what each takes.

Keys of ``[sinks]`` and ``[service]`` are the options of ``fapm serve`` without ``--``; a test holds
names, bounds and defaults together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fapm_cli.sources.genicam import SCHEME as GENICAM

Table = Mapping[str, Any]


class WrongError(ValueError):
    """A value that a key does not take; what is wrong with it."""


@dataclass(frozen=True)
class Text:
    """A text that is not empty, one of some if they are named."""

    choices: tuple[str, ...] = ()

    def take(self, value: Any, folder: Path) -> str:
        """Check a value.

        Raises:
            WrongError: it is another kind.
        """
        if not isinstance(value, str) or not value or "\0" in value:
            raise WrongError(f"{shown(value)}: wanted a text in quotes")
        if self.choices and value not in self.choices:
            raise WrongError(f"{shown(value)}: use {' or '.join(map(repr, self.choices))}")
        return value


@dataclass(frozen=True)
class File:
    """A path; from the file's own folder, unless it is absolute."""

    def take(self, value: Any, folder: Path) -> Path:
        """Check a value, and say where it leads.

        Raises:
            WrongError: it is another kind.
        """
        return folder / Text().take(value, folder)


@dataclass(frozen=True)
class Number:
    """A number within bounds, that belong to it; a whole one, unless said otherwise."""

    least: float
    most: float | None = None
    whole: bool = True

    def take(self, value: Any, folder: Path) -> Any:
        """Check a value.

        Raises:
            WrongError: it is another kind, or out of bounds.
        """
        right = type(value) is int or (type(value) is float and not self.whole)
        if not right or not self.least <= value <= (self.most or float("inf")):
            kind = "a whole number" if self.whole else "a number"
            to = "up" if self.most is None else f"to {self.most:g}"
            raise WrongError(f"{shown(value)}: wanted {kind} from {self.least:g} {to}")
        return value


@dataclass(frozen=True)
class Switch:
    """true or false."""

    def take(self, value: Any, folder: Path) -> bool:
        """Check a value.

        Raises:
            WrongError: it is another kind.
        """
        if not isinstance(value, bool):
            raise WrongError(f"{shown(value)}: wanted true or false")
        return value


@dataclass(frozen=True)
class Camera:
    """A camera's number, or a GenICam camera with its producer's path."""

    def take(self, value: Any, folder: Path) -> int | str:
        """Check a value, and say where its path leads.

        Raises:
            WrongError: it is another kind.
        """
        if isinstance(value, str) and value.removeprefix(GENICAM).partition("#")[0]:
            if value.startswith(GENICAM):
                return f"{GENICAM}{folder / value.removeprefix(GENICAM)}"
        elif type(value) is int and value >= 0:
            return value
        raise WrongError(
            f"{shown(value)}: wanted a number from 0 up, or {GENICAM}PRODUCER.cti#SERIAL"
        )


Kind = Text | File | Number | Switch | Camera
LOG = Text(("text", "json"))
SOURCE_KINDS = ("watch", "camera", "video")
SOURCES: dict[str, Kind] = {
    "bank": Text(),
    "watch": File(),
    "camera": Camera(),
    "video": File(),
    "only-new": Switch(),
    "every": Number(1),
}
SINKS: dict[str, Kind] = {"queue": File(), "queue-size": Number(1)}
SERVICE: dict[str, Kind] = {
    "host": Text(),
    "port": Number(0, 65535),
    "token-file": File(),
    "root": File(),
    "keep": File(),
    "keep-last": Number(1, 10_000),
    "drift": Switch(),
    "max-waiting": Number(0, 10_000),
    "max-mb": Number(1, 1024),
    "max-megapixels": Number(1, 200),
    "body-timeout": Number(0.1, 3600, whole=False),
    "threads": Number(1, 1024),
}
SECTIONS = ("log", "banks", "sources", "sinks", "service")


def shown(value: Any) -> str:
    """A value as a message shows it."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
