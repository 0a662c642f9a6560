"""Folders: what lies under a path. Nothing that a folder holds is left out without a word."""

from __future__ import annotations

import heapq
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from fapm_cli.errors import PictureError
from fapm_cli.finding.kinds import A_BANK, A_DRAWING, DRAWN_BY, SUFFIXES, kind_of, left_out_as
from fapm_cli.stores.ahead import THREADS
from fapm_cli.stores.stored import AnyPath, StoredPath

_SHOWN_KINDS, _AT_A_TIME = 6, 1024
_COMPRESSED = (".tgz", *(f".tar.{one}" for one in ("gz", "bz2", "xz", "zst")))


@dataclass(frozen=True)
class Unreadable:
    """A picture or folder that can't be used, in its place among the others."""

    path: AnyPath
    error: PictureError


@dataclass(frozen=True)
class Search:
    """What a search found.

    Attributes:
        items: pictures, and what may hold some but can't be read; sorted by path.
        drawn: pictures that fapm drew itself, left out.
        left_out: how many files of a folder were left out, by ending or kind.
    """

    items: list[AnyPath | Unreadable] = field(default_factory=list)
    drawn: list[AnyPath] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def is_folder(path: AnyPath) -> bool:
    """Whether a path is a folder's; of what bears a picture's name elsewhere nobody is asked.

    Raises:
        PictureError: it lies elsewhere, and that can't be told.
    """
    if isinstance(path, StoredPath):
        return path.suffix.lower() not in SUFFIXES and path.is_dir()
    return os.path.isdir(path)


def exists(path: AnyPath) -> bool:
    """Whether something lies at a path; raises PictureError where that can't be told."""
    return path.exists() if isinstance(path, StoredPath) else os.path.exists(path)


def search(path: AnyPath) -> Search:
    """Find the pictures of a folder and its folders; a file stands for itself.

    A named file is found whether or not it exists or is a picture.

    Raises:
        PictureError: a folder holds no picture, or can't be reached.
    """
    if not is_folder(path):
        return Search([_named(path)])
    found = Search()
    for item, kind in _told(path, found.left_out):
        if kind is None:
            found.items.append(item)
            continue
        found.left_out[kind] += 1
        if kind == DRAWN_BY and not isinstance(item, Unreadable):
            found.drawn.append(item)
    found.items.sort(key=path_of)
    if not found.items:
        there = f"; it holds {count_kinds(found.left_out)}" if found.left_out else ""
        kinds = ", ".join(sorted(suffix[1:] for suffix in SUFFIXES))
        raise PictureError(f"folder {path} holds no picture ({kinds}){there}; check the path")
    return found


def _told(
    folder: AnyPath, left_out: Counter[str]
) -> Iterator[tuple[AnyPath | Unreadable, str | None]]:
    """What lies in a folder, and as what it is left out, by its first bytes, if it is."""
    if isinstance(folder, Path):
        for item in scan(folder, left_out):
            yield item, None if isinstance(item, Unreadable) else left_out_as(item)
        return
    items = [*_scan_stored(folder, left_out)]
    with ThreadPoolExecutor(THREADS) as threads:  # which wait for others' machines
        for first in range(0, len(items), _AT_A_TIME):
            some = items[first : first + _AT_A_TIME]
            yield from zip(some, threads.map(_left_out_as, some), strict=True)


def _left_out_as(item: AnyPath | Unreadable) -> str | None:
    return None if isinstance(item, Unreadable) else left_out_as(item)


def _scan_stored(folder: StoredPath, left_out: Counter[str]) -> Iterator[StoredPath | Unreadable]:
    """As :func:`scan`, of what lies elsewhere."""
    depth = len(folder.parts)
    for item in folder.below():
        if any(part.startswith(".") for part in item.parts[depth:]):
            continue
        if (trouble := item.trouble) is not None:
            yield Unreadable(item, trouble)
        elif (ending := _foreign_ending(item.name)) is not None:
            left_out[ending] += 1
        else:
            yield item
    left_out += folder.store.listing(folder.parts).left_out


def _named(path: AnyPath) -> AnyPath | Unreadable:
    if path.name.lower().endswith(_COMPRESSED):
        return Unreadable(path, PictureError(f"archive {path} is compressed: unpack it to a .tar"))
    kind = kind_of(path)
    if kind not in (A_BANK, A_DRAWING):
        return path
    return Unreadable(path, PictureError(f"file {path} is {kind}, not a picture of a part"))


def path_of(item: AnyPath | Unreadable) -> AnyPath:
    """Say where an item lies."""
    return item.path if isinstance(item, Unreadable) else item


def named_below(
    path: AnyPath, items: Iterable[AnyPath | Unreadable]
) -> list[tuple[AnyPath | Unreadable, str]]:
    """What was found under a path, each with its path below that folder, or the file's own name."""
    root = path if is_folder(path) else path.parent
    return [(item, below(path_of(item), root).as_posix()) for item in items]


def sorted_paths(paths: Iterable[AnyPath]) -> list[AnyPath]:
    """Paths of one folder, in their order."""
    here: Any = paths
    return sorted(here)


def below(path: AnyPath, folder: AnyPath) -> PurePath:
    """A path below a folder, both here or both in one store."""
    if isinstance(path, StoredPath) and isinstance(folder, StoredPath):
        return path.relative_to(folder)
    assert isinstance(path, Path)
    assert isinstance(folder, Path)
    return path.relative_to(folder)


def count_kinds(left_out: Counter[str]) -> str:
    """Say what was left out, the most frequent first, like ``3 .txt, 1 .db``."""
    kinds = sorted(left_out.items(), key=lambda kind: (-kind[1], kind[0]))
    shown = [f"{count} {kind}" for kind, count in kinds[:_SHOWN_KINDS]]
    rest = sum(count for _, count in kinds[_SHOWN_KINDS:])
    return ", ".join(shown + [f"{rest} others"] * (rest > 0))


def find_pictures(path: AnyPath) -> list[AnyPath]:
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


def foreign(entry: os.DirEntry[str] | AnyPath) -> str | None:
    """Say as what a file is left out by its name or nature; None if it may be a picture."""
    if (ending := _foreign_ending(entry.name)) is not None:
        return ending
    return None if entry.is_file() else "pipes or devices"


def _foreign_ending(name: str) -> str | None:
    """A name's ending, in small letters, unless it is a picture's or there is none."""
    ending = os.path.splitext(name)[1].lower()
    return ending if ending and ending not in SUFFIXES else None


def _unreadable(what: str, path: str, error: OSError) -> Unreadable:
    message = f"{what} {path} can't be followed: {error.strerror}"
    return Unreadable(Path(path), PictureError(message))
