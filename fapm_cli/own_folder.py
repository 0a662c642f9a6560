"""Folders of one process among temporary files, that do not outlive it for long.

A process locks its folder, and the system takes the lock back when the process ends, however it
does. So a folder that can be locked is of a process that is no longer there.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

LOCK = "lock"


class OwnFolder:
    """A folder that goes at the end, or, where the process is killed, as the next one begins.

    Attributes:
        path: of it.
    """

    def __init__(self, name: str, where: Path):
        """Make it, and take those away that processes left which are gone.

        Args:
            name: that the names of all such folders begin with.
            where: among which files.

        Raises:
            OSError: it can't be made.
        """
        _remove_left_behind(name, where)
        while True:
            self.path = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=where))
            with suppress(Timeout):  # another took it for one left behind, before it was locked
                self._lock = locked(self.path)
                if (self.path / LOCK).exists():
                    return

    def remove(self) -> None:
        """Take it away."""
        self._lock.release()
        shutil.rmtree(self.path, ignore_errors=True)


def locked(folder: Path) -> FileLock:
    """Lock a folder, for as long as this process lasts or until that is released.

    Raises:
        Timeout: another process has locked it.
        OSError: it can't be written.
    """
    lock = FileLock(folder / LOCK, thread_local=False)  # whichever thread releases it
    lock.acquire(timeout=0)
    return lock


def _remove_left_behind(name: str, where: Path) -> None:
    for folder in where.glob(f"{name}-*"):
        with suppress(OSError, Timeout):  # it is another user's, in use, or gone meanwhile
            if hasattr(os, "getuid") and folder.lstat().st_uid != os.getuid():
                continue
            if folder.is_symlink() or not (folder / LOCK).is_file():  # none of ours
                continue
            lock = locked(folder)
            if os.name == "nt":  # what is open can't be removed there
                lock.release()
            shutil.rmtree(folder, ignore_errors=True)
            lock.release()
