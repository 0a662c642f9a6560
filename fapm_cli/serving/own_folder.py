"""A folder of this process alone among temporary files, that does not outlive it for long."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # as on Windows: there, what a killed process leaves stays
    fcntl = None  # type: ignore[assignment]

_PREFIX, _LOCK = "fapm-serve-", "lock"


class OwnFolder:
    """A folder that goes at the end, or, where the process is killed, as the next one begins.

    The process locks it, and the system takes the lock back when the process ends, however it does.

    Attributes:
        path: of it.
    """

    def __init__(self) -> None:
        """Make it, and take those away that processes left which are gone.

        Raises:
            OSError: it can't be made.
        """
        _remove_left_behind()
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._handle = -1
        if fcntl is not None:
            named = self.path / f"{_LOCK}.new"  # locked before anyone finds it
            self._handle = os.open(named, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._handle, fcntl.LOCK_EX)
            os.replace(named, self.path / _LOCK)

    def remove(self) -> None:
        """Take it away."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def _remove_left_behind() -> None:
    if fcntl is None:
        return
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):  # it is another user's, in use, or gone meanwhile
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            handle = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(handle)
