"""Files below a folder that others may name: none outside of it is ever opened."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from fapm_cli.serving.http.refusing import RefusedError

_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_MOST_LETTERS = 1024
_HAS_FOLDERS = os.open in os.supports_dir_fd


def open_below(root: Path, name: str) -> BinaryIO:
    """Open a regular file by its path below a folder.

    Each part of the path is opened in the folder before it, and no link is followed, so that no
    change that anybody makes meanwhile leads out of it.

    Args:
        root: the folder; it may be a link itself.
        name: the path, with ``/`` between its parts.

    Raises:
        RefusedError: there is no such file, or it is not to be read.
    """
    parts = _parts(name)
    handle = None
    try:
        handle = _open_parts(root, parts) if _HAS_FOLDERS else _open_resolved(root, parts)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise RefusedError(404, f"path {name!r} is no regular file")
        return os.fdopen(handle, "rb")
    except OSError as error:
        _close(handle)
        if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENOTDIR):
            raise RefusedError(
                404, f"path {name!r} is no file, or a link: none is followed"
            ) from None
        raise RefusedError(404, f"path {name!r} can't be read: {error.strerror}") from None
    except RefusedError:
        _close(handle)
        raise


def _parts(name: str) -> list[str]:
    parts = name.split("/")
    odd = any(part in ("", ".", "..") or "\\" in part or ":" in part for part in parts)
    if len(name) > _MOST_LETTERS or odd or not name.isprintable():
        raise RefusedError(403, "path: wanted one below --root, like line1/000.png, without ..")
    return parts


def _open_parts(root: Path, parts: list[str]) -> int:
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts[:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | _NO_LINK, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.open(parts[-1], _FLAGS | _NO_LINK, dir_fd=folder)
    finally:
        os.close(folder)


def _open_resolved(root: Path, parts: list[str]) -> int:
    """Where folders can't be opened (Windows): what the path leads to has to lie below."""
    place = root.resolve()
    path = place.joinpath(*parts)
    if path.resolve() != path:
        raise RefusedError(404, "path leads over a link: none is followed")
    return os.open(path, _FLAGS)


def _close(handle: int | None) -> None:
    if handle is not None:
        os.close(handle)
