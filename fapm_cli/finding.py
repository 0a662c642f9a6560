"""Finding: what lies under a path. Nothing that a folder holds is left out without a word."""

from __future__ import annotations

import heapq
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from fapm_cli.errors import PictureError

# Pillow's name of each format that is read: its endings, and what its first 16 bytes are like.
FORMATS: dict[str, tuple[tuple[str, ...], bytes]] = {
    "PNG": ((".png", ".apng"), rb"\x89PNG\r\n\x1a\n"),
    "JPEG": ((".jpg", ".jpeg", ".jpe", ".jfif"), rb"\xff\xd8\xff"),
    "BMP": ((".bmp",), rb"BM.{4}\0{4}"),
    "TIFF": ((".tif", ".tiff"), rb"II[*+]\0|MM\0[*+]"),
    "WEBP": ((".webp",), rb"RIFF.{4}WEBP"),
    "PPM": ((".ppm", ".pgm", ".pbm", ".pnm"), rb"P[1-6]\s+[#\d]"),
    "JPEG2000": ((".jp2", ".j2k"), rb"\0{3}\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"),
    "GIF": ((".gif",), rb"GIF8[79]a"),
    "AVIF": ((".avif",), rb".{4}ftypavi[fs]"),
}
SUFFIXES = frozenset(suffix for suffixes, _ in FORMATS.values() for suffix in suffixes)
_START = re.compile(b"|".join(start for _, start in FORMATS.values()), re.DOTALL)

DRAWN_BY = "drawn by fapm"
"""What pictures that fapm draws name as their ``Software``, so that none is taken for a part's."""
A_BANK, A_DRAWING = "a bank", f"a picture {DRAWN_BY}"
_DRAWN_NAME = "_heatmap.png"
_MARKED = (".png", ".apng", ".tif", ".tiff")  # in these, texts stand before the pixels
_HEAD_BYTES = 512
_BANK_START = b'{"__metadata__":{"fapm-bank":'
GOOD = frozenset(("good", "ok", "normal"))
"""What good pictures' labels and folders are called, in any case."""
MASK_ENDINGS = ("_mask", "_gt", "_label")
"""What a mask's name may end in, in any case, behind its picture's."""
_TRUTH = frozenset(("ground_truth", "groundtruth", "gt"))
_NOT_GOOD = _TRUTH.union(
    (
        *("test", "test_public", "test_private", "test_private_mixed"),
        *("mask", "masks"),
        *("anomaly", "anomalous", "abnormal", "bad", "ko", "ng", "defect", "defects", "defective"),
    )
)
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


def left_out_as(path: Path) -> str | None:
    """Say as what a file of a folder is left out, by its first bytes; None for a picture."""
    ending = path.suffix.lower()
    if path.name.lower().endswith(_DRAWN_NAME) or (ending in _MARKED and is_drawn(path)):
        return DRAWN_BY
    if ending:
        return None
    try:
        return None if _START.match(_first_bytes(path, 16)) else "without ending"
    except OSError:
        return None  # reading it will tell


def is_drawn(path: str | Path) -> bool:
    """Tell by a text before its pixels whether fapm drew a picture."""
    with suppress(OSError):
        return DRAWN_BY.encode() in _first_bytes(path, _HEAD_BYTES)
    return False


def kind_of(path: Path) -> str:
    """Say what a path is, by its first bytes, as the end of a sentence; empty if nothing known."""
    if os.path.isdir(path):
        return "a folder"
    if not os.path.isfile(path):  # a pipe can be read but once
        return ""
    try:
        start = _first_bytes(path, _HEAD_BYTES)
    except OSError:
        return ""
    if start[8:].startswith(_BANK_START):
        return A_BANK
    if DRAWN_BY.encode() in start:
        return A_DRAWING
    if _START.match(start):
        return "a picture"
    if start.lstrip().startswith((b"{", b"[")):
        return "JSON"
    return "text" if re.fullmatch(rb"[\t\n\r -\xff]+", start) else ""


def _first_bytes(path: str | Path, count: int) -> bytes:
    with open(path, "rb") as file:
        return file.read(count)


def not_learnable(folder: Path, files: Iterable[Path]) -> str | None:
    """Say why a folder's pictures are not of good parts alone, by folders' names, if so."""
    if folder.resolve().name.casefold() in _TRUTH:
        return f"folder {folder} is of masks, by its name: give the folders of good parts alone"
    inside = Counter(file.relative_to(folder).parent.parts for file in files)
    others = [parts for parts in inside if _others(parts)]
    good = [parts for parts in inside if parts[-1:] and _is_good(parts[-1]) and not _others(parts)]
    others += [parts for parts in inside if any(_beside(parts, one) for one in good)]
    if not others:
        return None
    count = sum(inside[parts] for parts in set(others))
    shown = folder.joinpath(*min(others))
    trained = [parts for parts in good if "train" in map(str.casefold, parts)] or good
    advice = (
        f"give {folder.joinpath(*min(trained))}" + " (or one like it)" * (len(trained) > 1)
        if trained
        else "give the folders of good parts alone"
    )
    return (
        f"{count} of {sum(inside.values())} pictures in folder {folder} are not of good parts, "
        f"by their folders' names (such as {shown}): {advice}"
    )


def masks_beside(files: Sequence[Path]) -> list[Path]:
    """List those files that are masks, by their names, of others in the same folder."""
    names = {(file.parent, file.stem.casefold()) for file in files}
    masks = {(parent, stem + ending) for parent, stem in names for ending in MASK_ENDINGS}
    return [file for file in files if (file.parent, file.stem.casefold()) in masks]


def _is_good(name: str) -> bool:
    return name.casefold() in GOOD


def _others(parts: tuple[str, ...]) -> bool:
    """Whether a folder's name, or one above it, says that its pictures are no good parts'."""
    return any(name.casefold() in _NOT_GOOD for name in parts)


def _beside(parts: tuple[str, ...], good: tuple[str, ...]) -> bool:
    """Whether a folder lies beside a good one, or below such a one."""
    depth = len(good)
    return parts[: depth - 1] == good[:-1] and parts[depth - 1 : depth] not in ((), good[-1:])
