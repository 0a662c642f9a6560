"""Pictures as a program has them, and the names they get in a bank."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fapm_cli.api.listener import Listener
from fapm_cli.errors import OptionError
from fapm_cli.finding.folders import Unreadable, named_below, search
from fapm_cli.finding.learnable import Kind, check_kind, check_no_masks
from fapm_cli.pictures.picture import image_pixels
from fapm_cli.pictures.reading import Item, PartOf
from fapm_cli.stores.locating import keep, located
from fapm_cli.stores.stored import AnyPath, StoredPath

Picture: TypeAlias = "str | AnyPath | Image.Image | NDArray[np.uint8]"
"""A path or address, a PIL picture, or an array (height, width, 3) uint8 RGB."""
_One: TypeAlias = "Item | Image.Image"
Pictures: TypeAlias = "str | AnyPath | Iterable[_One]"
"""A folder, here or elsewhere, searched through, or any pictures."""
GoodPictures: TypeAlias = "str | AnyPath | Iterable[_One | tuple[_One, str]]"
"""A folder, or pictures of good parts: each alone, or with the name it gets in a bank."""


def item_of(picture: _One) -> Item:
    """What the stages take of a picture: a path, or its pixels."""
    if isinstance(picture, Image.Image):
        return image_pixels(picture)
    return located(picture) if isinstance(picture, str) else picture


def named(pictures: GoodPictures, of: Kind = "good") -> list[tuple[Item, str]]:
    """Pictures of good parts, or defective ones, each with its name in a bank.

    Those of a folder are named by their paths below it, others by their files or numbers.

    Raises:
        PictureError: a folder holds none, or not such parts alone.
    """
    if not isinstance(pictures, str | AnyPath):
        return [_named(one, number) for number, one in enumerate(pictures)]
    root = located(pictures)
    keep(root)
    found = search(root)
    check_kind(root, found, of)
    check_no_masks([item for item in found.items if not isinstance(item, Unreadable)], of)
    return [*named_below(root, found.items)]


def _named(picture: _One | tuple[_One, str], number: int) -> tuple[Item, str]:
    if isinstance(picture, tuple):
        return item_of(picture[0]), picture[1]
    item = item_of(picture)
    if isinstance(item, StoredPath):
        keep(item)
    return item, located(item).name if isinstance(item, str | AnyPath) else f"{number:04}"


def part_namer(group: str | None) -> PartOf | None:
    """Make of ``folder``, or a regular expression, what names the part that a picture shows.

    Raises:
        OptionError: it is no regular expression; or, later, a picture's name does not match it.
    """
    if group is None:
        return None
    if group == "folder":
        return lambda path, name: str(path.parent)
    try:
        pattern = re.compile(group, re.DOTALL)
    except re.error as error:
        raise OptionError(
            f"--group {group!r} is neither folder nor a regular expression: {error}"
        ) from error

    def part_of(path: AnyPath, name: str) -> str:
        found = pattern.search(name)
        if found is None:
            raise OptionError(f"--group {group!r} finds no part in the name {name!r}")
        part = found[1] if pattern.groups else found[0]
        if not part:
            raise OptionError(f"--group {group!r} finds an empty part in the name {name!r}")
        return part

    return part_of


def fetched(files: Sequence[tuple[Item, str]], listener: Listener) -> Iterator[Item]:
    """The files; where some lie elsewhere, the listener is told how many of them were fetched."""
    far = any(isinstance(file, StoredPath) for file, _ in files)
    for done, (file, _) in enumerate(files, start=1):
        yield file
        if far:
            listener.on_stage("fetch", done, len(files))
