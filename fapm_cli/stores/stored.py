"""Stored paths: what :class:`pathlib.Path` is to a folder, for what lies in no folder here."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TypeAlias

from fapm_cli.errors import PictureError
from fapm_cli.stores.store import Listing, Parts, Store


@dataclass(frozen=True, order=True)
class StoredPath:
    """Where something lies in a store.

    Attributes:
        parts: names of folders, and of the file, below the root.
        store: that it lies in.
    """

    parts: Parts = field(compare=True)
    store: Store = field(compare=False, repr=False)

    def __init__(self, store: Store, parts: Parts = ()):
        """Name what lies at these parts below a store's root."""
        object.__setattr__(self, "store", store)
        object.__setattr__(self, "parts", parts)

    def __eq__(self, other: object) -> bool:
        """Whether it is the same place of the same store."""
        same = isinstance(other, StoredPath) and self.store.shown == other.store.shown
        return same and isinstance(other, StoredPath) and self.parts == other.parts

    def __hash__(self) -> int:
        """As equality has it."""
        return hash((self.store.shown, self.parts))

    def __reduce__(self) -> tuple[Any, ...]:
        """What is sent to another process is its address, and nothing that opens it."""
        return _named, (str(self),)

    def __str__(self) -> str:
        """Its address, without what is secret."""
        return self.store.shown_path(self.parts)

    def __truediv__(self, name: str) -> StoredPath:
        """What lies at a path below."""
        return self.joinpath(*PurePosixPath(name).parts)

    def joinpath(self, *parts: str) -> StoredPath:
        """What lies at these parts below."""
        return StoredPath(self.store, self.parts + parts)

    @property
    def name(self) -> str:
        """Its last part."""
        return self.parts[-1] if self.parts else self.store.shown.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """Its last part without its ending."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """Its ending, with the dot."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> StoredPath:
        """The folder that it lies in; of a root itself."""
        return StoredPath(self.store, self.parts[:-1])

    def relative_to(self, folder: StoredPath) -> PurePosixPath:
        """Its path below a folder.

        Raises:
            ValueError: it does not lie there.
        """
        depth = len(folder.parts)
        if self.store is not folder.store or self.parts[:depth] != folder.parts:
            raise ValueError(f"{self} is not below {folder}")
        return PurePosixPath(*self.parts[depth:])

    def resolve(self) -> StoredPath:
        """Itself: there are no links."""
        return self

    def is_file(self) -> bool:
        """Whether it is known to be a file; raises PictureError where that can't be asked."""
        known = self.store.listing(self.parts)
        return self.parts in known.files or self.parts in known.troubles

    def is_dir(self) -> bool:
        """Whether something lies below it; raises PictureError where that can't be asked."""
        return not self.is_file() and any(True for _ in self.below())

    def exists(self) -> bool:
        """Whether it is a file or a folder."""
        return self.is_file() or self.is_dir()

    def below(self) -> Iterator[StoredPath]:
        """All files below it, also those with troubles, in no order."""
        known, depth = self.store.listing(self.parts), len(self.parts)
        for parts in (*known.files, *known.troubles):
            if len(parts) > depth and parts[:depth] == self.parts:
                yield StoredPath(self.store, parts)

    def iterdir(self) -> Iterator[StoredPath]:
        """The files and folders right below it."""
        depth = len(self.parts) + 1
        yield from {StoredPath(self.store, one.parts[:depth]): None for one in self.below()}

    def glob(self, pattern: str) -> Iterator[StoredPath]:
        """Those right below it of which the name fits a pattern."""
        return (one for one in self.iterdir() if PurePosixPath(one.name).match(pattern))

    @property
    def trouble(self) -> PictureError | None:
        """Why it can't be read, where its listing tells."""
        found = self.store.listing(self.parts).troubles.get(self.parts)
        return None if found is None else PictureError(f"picture {self} {found}")

    def head(self, count: int) -> bytes:
        """Its first bytes; raises PictureError."""
        return self.store.head(self.parts, count)

    def read_bytes(self) -> bytes:
        """All of its bytes; raises PictureError."""
        return self.store.read(self.parts)

    def open(self, mode: str = "rb") -> BinaryIO:
        """Open a file to read; raises PictureError."""
        return io.BytesIO(self.read_bytes())

    def read_text(self, encoding: str) -> str:
        """A file's text; raises PictureError, or ValueError where it is none."""
        return self.read_bytes().decode(encoding)


class _Named(Store):
    """A store of another process: its name, and no more."""

    def _list(self, parts: Parts) -> Listing:
        raise PictureError(f"{self.shown} is open in another process, and read there")

    def _read(self, parts: Parts, size: int | None) -> bytes:
        raise PictureError(f"{self.shown} is open in another process, and read there")


def _named(shown: str) -> StoredPath:
    return StoredPath(_Named(shown))


AnyPath: TypeAlias = Path | StoredPath
"""Where a picture lies."""
