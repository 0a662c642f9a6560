"""Watching: the pictures of a folder, as they are finished."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fapm_cli.detection.stream import Judged
from fapm_cli.errors import PictureError
from fapm_cli.finding.folders import Unreadable, scan
from fapm_cli.finding.kinds import left_out_as
from fapm_cli.stores.stored import AnyPath

_Stamp = tuple[int, int, int]
_NO_STAMP = (0, 0, 0)


@dataclass
class _Look:
    """What is known of a file.

    Attributes:
        stamp: its size, time of change and number when it was last looked at.
        since: when that stamp was first seen.
        taken: whether it was given out with that stamp.
        sha256: of the content last judged.
    """

    stamp: _Stamp
    since: float
    taken: bool
    sha256: str = ""


class Watch:
    """Gives the pictures of a folder and its folders, each once for every content it has.

    A picture is given out when two looks, ``interval_s`` apart, find it unchanged. Whoever reads
    it says by :meth:`wants` what came of it: one that can't be read may be half written, and is
    given out again at every look, until it has stood still for ``patience_s``.
    """

    def __init__(
        self,
        folder: Path,
        *,
        only_new: bool = False,
        interval_s: float = 0.1,
        patience_s: float = 10,
    ):
        """Look for the first time.

        Args:
            folder: searched through as :func:`fapm_cli.finding.folders.search` does.
            only_new: leave out what is there now, until it changes.
            interval_s: between looks, at least.
            patience_s: how long a picture that can't be read may stand still.

        Raises:
            PictureError: the folder is not there, or can't be read.
        """
        self._folder = folder
        self._interval_s, self._patience_s = interval_s, patience_s
        self._looks: dict[AnyPath, _Look] = {}
        self._unreadable: dict[AnyPath, Unreadable] = {}
        self.left_out: Counter[str] = Counter()
        self._look()
        if only_new:
            for look in self._looks.values():
                look.taken = True

    def __iter__(self) -> Iterator[AnyPath | Unreadable | None]:
        """Give pictures, in the order of their paths at each look, and None after each look.

        Raises:
            PictureError: the folder is gone.
        """
        while True:
            begun = time.monotonic()
            finished = self._look()
            spent = time.monotonic() - begun
            for path in finished:
                if path in self._unreadable:
                    yield self._unreadable[path]
                elif left_out_as(path) is None:
                    yield path
            yield None
            time.sleep(max(self._interval_s, 4 * spent))  # looking takes a fifth at most

    def wants(self, one: Judged | Unreadable) -> bool:
        """Take note of what came of a picture; whether that is worth telling.

        It is not where the picture is gone, or may yet be finished, or has the content it had.
        """
        if isinstance(one, Unreadable):
            look, sha256 = self._looks[one.path], ""
            look.taken = time.monotonic() - look.since >= self._patience_s
            if not look.taken or not os.path.lexists(str(one.path)):
                return False
        else:
            look, sha256 = self._looks[one.prepared.picture.path], one.prepared.picture.sha256
            if look.sha256 == sha256:
                return False
        look.sha256 = sha256
        return True

    def _look(self) -> list[AnyPath]:
        """Look at every picture; those that are finished and not yet given out."""
        found = dict(self._stamps())
        self._looks = {path: look for path, look in self._looks.items() if path in found}
        finished = []
        now = time.monotonic()
        for path, stamp in found.items():
            look = self._looks.setdefault(path, _Look(stamp, now, taken=False))
            if look.stamp != stamp:
                self._looks[path] = _Look(stamp, now, taken=False, sha256=look.sha256)
            elif not look.taken and now - look.since >= self._interval_s:
                look.taken = True
                finished.append(path)
        return sorted(finished)

    def _stamps(self) -> Iterator[tuple[AnyPath, _Stamp]]:
        if not (os.path.isdir(self._folder) and os.access(self._folder, os.R_OK | os.X_OK)):
            raise PictureError(f"folder {self._folder} is not there, or can't be read")
        self._unreadable, self.left_out = {}, Counter()
        for item in scan(self._folder, self.left_out):
            if isinstance(item, Unreadable):
                self._unreadable[item.path] = item
                yield item.path, _NO_STAMP
                continue
            with suppress(OSError):  # gone meanwhile
                status = os.stat(item)
                yield item, (status.st_size, status.st_mtime_ns, status.st_ino)
