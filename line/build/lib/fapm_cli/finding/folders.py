"""Folders: what lies under a path. Nothing that a folder holds is left out without a word."""

from __future__ import annotations

import heapq
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fapm_cli.errors import PictureError
from fapm_cli.finding.kinds import A_BANK, A_DRAWING, DRAWN_BY, SUFFIXES, kind_of, left_out_as

_SHOWN_KINDS = 6


@dataclass(frozen=True)
class Unreadable:
    """A picture or folder that can't be used, in its place among the others."""

    path: Path
    error: PictureError


@dataclass(frozen=True)
class Search:
    """What a search found.

    Attributes:
        items: pictures, and what may hold some but can't be read; sorted by path.
        drawn: pictures that fapm drew itself, left out.
        left_out: how many files of a folder were left out, by ending or kind.
    """

    items: list[Path | Unreadable] = field(default_factory=list)
    drawn: list[Path] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def search(path: Path) -> Search:
    """Find the pictures of a folder and its folders; a file stands for itself.

    A named file is found whether or not it exists or is a picture.

    Raises:
        PictureError: a folder holds no picture.
    """
    if not os.path.isdir(path):
        return Search([_named(path)])
    found = Search()
    for item in scan(path, found.left_out):
        kind = left_out_as(item) if isinstance(item, Path) else None
        if kind is None:
            found.items.append(item)
            continue
        found.left_out[kind] += 1
        if kind == DRAWN_BY and isinstance(item, Path):
            found.drawn.append(item)
    found.items.sort(key=path_of)
    if not found.items:
        there = f"; it holds {count_kinds(found.left_out)}" if found.left_out else ""
        kinds = ", ".join(sorted(suffix[1:] for suffix in SUFFIXES))
        raise PictureError(f"folder {path} holds no picture ({kinds}){there}; check the path")
    return found


def _named(path: Path) -> Path | Unreadable:
    kind = kind_of(path)
    if kind not in (A_BANK, A_DRAWING):
        return path
    return Unreadable(path, PictureError(f"file {path} is {kind}, not a picture of a part"))


def path_of(item: Path | Unreadable) -> Path:
    """Say where an item lies."""
    return item.path if isinstance(item, Unreadable) else item


def named_below(
    path: Path, items: Iterable[Path | Unreadable]
) -> list[tuple[Path | Unreadable, str]]:
    """What was found under a path, each with its path below that folder, or the file's own name."""
    root = path if os.path.isdir(path) else path.parent
    return [(item, path_of(item).relative_to(root).as_posix()) for item in items]


def count_kinds(left_out: Counter[str]) -> str:
    """Say what was left out, the most frequent first, like ``3 .txt, 1 .db``."""
    kinds = sorted(left_out.items(), key=lambda kind: (-kind[1], kind[0]))
    shown = [f"{count} {kind}" for kind, count in kinds[:_SHOWN_KINDS]]
    rest = sum(count for _, count in kinds[_SHOWN_KINDS:])
    return ", ".join(shown + [f"{rest} others"] * (rest > 0))


def find_pictures(path: Path) -> list[Path]:
    """List what :func:`search` finds; of what can't be read, reading it will tell.

    Raises:
        PictureError: a folder holds no picture.
    """
    return [path_of(item) for item in search(path).items]


def scan(folder: str | Path, left_out: Counter[str]) -> Iterator[Path | Unreadable]:
    """Go through a folder and its folders, in no order, without a look into files.

    Links are followed, and each real folder is gone through once: where it stands, rather than
    where a link leads to it. What is hidden is left out, and so is what vanishes meanwhile.

    Args:
        folder: where to begin.
        left_out: counts what is left out, by ending or kind.

    Yields:
        Files that have a picture's ending, or none; and what can't be followed or entered.
    """
    folders, linked, seen = [os.fspath(folder)], list[str](), set[tuple[int, int]]()
    while folders or linked:
        current = folders.pop() if folders else heapq.heappop(linked)
        try:
            entries = _enter(current, seen)
        except OSError as error:
            yield _unreadable("folder", current, error)
            continue
        if entries is None:
            left_out["links to what is searched anyway"] += 1
        for entry in entries or ():
            try:
                if _is_link(entry) and entry.is_dir():
                    heapq.heappush(linked, entry.path)
                elif entry.is_dir():
                    folders.append(entry.path)
                elif (kind := foreign(entry)) is None:
                    yield Path(entry.path)
                else:
                    left_out[kind] += 1
            except OSError as error:
                yield _unreadable("link", entry.path, error)


def _enter(folder: str, seen: set[tuple[int, int]]) -> list[os.DirEntry[str]] | None:
    """List what is not hidden in a folder; None if it was seen before."""
    try:
        status = os.stat(folder)
        place = status.st_dev, status.st_ino
        if place in seen:
            return None
        seen.add(place)
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except FileNotFoundError:
        return []


def _is_link(entry: os.DirEntry[str]) -> bool:
    """Tell links; raises OSError where one leads nowhere, to itself, or beyond our rights."""
    return entry.is_symlink() and bool(entry.stat())


def foreign(entry: os.DirEntry[str] | Path) -> str | None:
    """Say as what a file is left out by its name or nature; None if it may be a picture."""
    ending = os.path.splitext(entry.name)[1].lower()
    if ending and ending not in SUFFIXES:
        return ending
    return None if entry.is_file() else "pipes or devices"


def _unreadable(what: str, path: str, error: OSError) -> Unreadable:
    message = f"{what} {path} can't be followed: {error.strerror}"
    return Unreadable(Path(path), PictureError(message))
