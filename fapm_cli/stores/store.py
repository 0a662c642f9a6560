"""A store: what lies below one root, listed and read when it is asked for."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from fapm_cli.errors import PictureError
from fapm_cli.stores.keeping import Kept, kept

Parts: TypeAlias = tuple[str, ...]
MOST_FILES = 1_000_000  # below one address
MOST_BYTES = 2**30  # of a file


@dataclass
class Listing:
    """What lies below a path.

    Attributes:
        files: the size in bytes of each file; None where only reading it will tell.
        troubles: of names that can't be read, why not, as the end of a sentence.
        left_out: how many are no files, by kind.
    """

    files: dict[Parts, int | None] = field(default_factory=dict)
    troubles: dict[Parts, str] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, size: int | None) -> None:
        """Add a file by its name below the root; one that leads elsewhere is a trouble.

        Raises:
            PictureError: there are too many.
        """
        parts = tuple(name.split("/"))
        if len(self.files) + len(self.troubles) >= MOST_FILES:
            raise PictureError(f"more than {MOST_FILES:,} files: give parts of it")
        if any(part in ("", ".", "..") or "\\" in part or "\0" in part for part in parts):
            shown = name.replace("/", "|")  # in one part, which is not hidden
            shown = f"|{shown}" if shown.startswith(".") else shown
            self.troubles[(shown,)] = "has a name that leads elsewhere"
        elif parts in self.files or parts in self.troubles:
            self.files.pop(parts, None)
            self.troubles[parts] = "is there more than once"
        elif size is not None and size > MOST_BYTES:
            self.troubles[parts] = f"has {size:,} bytes; at most {MOST_BYTES:,} work"
        else:
            self.files[parts] = size


class Store(ABC):
    """What lies at one root; nothing is asked of it before it is needed.

    Attributes:
        shown: the root, without what is secret.
    """

    def __init__(self, shown: str):
        """Open nothing yet."""
        self.shown = shown
        self._lock = threading.RLock()
        self._listings: dict[Parts, Listing] = {}
        self._begun: dict[Parts, Future[bytes]] = {}
        self._kept: Kept | None = None
        self._mark = object()  # which, other than its number, no later store has

    @abstractmethod
    def _list(self, parts: Parts) -> Listing:
        """List all below a path; a file lists itself, and what is not there nothing.

        Raises:
            PictureError: it can't be asked.
        """

    @abstractmethod
    def _read(self, parts: Parts, size: int | None) -> bytes:
        """Read a file, as often as it takes, whole.

        Raises:
            PictureError: it can't be read, or is not as long as was said.
        """

    def _head(self, parts: Parts, count: int) -> bytes:
        """The first bytes of a file, or more of them; raises PictureError."""
        return self.read(parts)

    def copy(self, parts: Parts, target: Path, begin: Callable[[int], Any]) -> None:
        """Copy a file to this machine.

        Args:
            parts: of the file.
            target: is overwritten.
            begin: told how many bytes it has, before any comes.

        Raises:
            PictureError: it can't be read whole.
        """
        begin(len(data := self.read(parts)))
        target.write_bytes(data)

    def shown_path(self, parts: Parts) -> str:
        """Where a file lies, without what is secret."""
        return "/".join((self.shown, *parts))

    @property
    def has_secrets(self) -> bool:
        """Whether what is shown of it does not suffice to find it again."""
        return False

    def keep(self) -> None:
        """Keep what is read from now on in a file without a name: it will be read again."""
        self._kept = self._kept or kept()

    def listing(self, parts: Parts) -> Listing:
        """What is known to lie below a path, asked for once."""
        with self._lock:
            for above in range(len(parts) + 1):
                if (known := self._listings.get(parts[:above])) is not None:
                    return known
            self._listings[parts] = found = self._list(parts)
            return found

    def size(self, parts: Parts) -> int | None:
        """How many bytes a file has, if that is known."""
        with self._lock:
            known = (one.files.get(parts) for one in self._listings.values())
            return next((size for size in known if size is not None), None)

    def begin(self, parts: Parts, threads: ThreadPoolExecutor) -> Future[bytes]:
        """Begin to read a file in a thread; :meth:`read` then takes what that gives."""
        future = threads.submit(self._fetch, parts)
        with self._lock:
            self._begun[parts] = future
        return future

    def has_begun(self, parts: Parts) -> bool:
        """Whether a file is being read, or was, and nobody took it yet."""
        return parts in self._begun

    def drop(self, parts: Parts) -> None:
        """Forget what was begun, if nobody took it."""
        with self._lock:
            future = self._begun.pop(parts, None)
        if future is not None:
            future.cancel()

    def read(self, parts: Parts) -> bytes:
        """Read a file whole.

        Raises:
            PictureError: it can't be.
        """
        with self._lock:
            future = self._begun.pop(parts, None)
        try:
            return self._fetch(parts) if future is None else future.result()
        except CancelledError:  # by whoever began it, and is done
            return self._fetch(parts)

    def head(self, parts: Parts, count: int) -> bytes:
        """The first bytes of a file, as many as asked for, or all.

        Raises:
            PictureError: it can't be read.
        """
        whole = self._kept is not None
        return (self.read(parts) if whole else self._head(parts, count))[:count]

    def _fetch(self, parts: Parts) -> bytes:
        data = None if self._kept is None else self._kept.get((self._mark, parts))
        if data is not None:
            return data
        for known in [*self._listings.values()]:
            if (trouble := known.troubles.get(parts)) is not None:
                raise PictureError(f"picture {self.shown_path(parts)} {trouble}")
        data = self._read(parts, self.size(parts))
        if self._kept is not None:
            self._kept.put((self._mark, parts), data)
        return data
