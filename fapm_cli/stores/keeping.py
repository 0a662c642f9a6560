"""Keeping: what was read from afar and will be read again, in a file without a name."""

from __future__ import annotations

import shutil
import tempfile
import threading
import weakref
from collections.abc import Hashable

from fapm_cli.files import large_temporary


class Kept:
    """Keeps bytes on disk, until half of what was free there is taken; what comes then is not."""

    def __init__(self) -> None:
        """Open the file; the system removes it with the process."""
        self._file = tempfile.TemporaryFile(prefix="fapm-", dir=large_temporary())  # noqa: SIM115
        self._left = shutil.disk_usage(large_temporary()).free // 2
        self._places: dict[Hashable, tuple[int, int]] = {}
        self._end = 0
        self._lock = threading.Lock()

    def put(self, name: Hashable, data: bytes) -> None:
        """Keep bytes under a name, if there is room."""
        with self._lock:
            if name in self._places or len(data) > self._left:
                return
            try:
                self._file.seek(self._end)
                self._file.write(data)
                self._file.flush()
            except OSError:  # full, by others: it will be read again
                self._left = 0
                return
            self._places[name] = self._end, len(data)
            self._end += len(data)
            self._left -= len(data)

    def get(self, name: Hashable) -> bytes | None:
        """What was kept under a name."""
        with self._lock:
            if name not in self._places:
                return None
            offset, size = self._places[name]
            self._file.seek(offset)
            return self._file.read(size)


_known: weakref.ref[Kept] | None = None


def kept() -> Kept:
    """The one that all stores share; it goes with the last of these."""
    global _known
    found = None if _known is None else _known()
    if found is None:
        found = Kept()
        _known = weakref.ref(found)
    return found
