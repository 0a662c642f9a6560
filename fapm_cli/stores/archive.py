"""Tar files, as folders: one on this machine is read in place, one elsewhere is copied first."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, BinaryIO

from fapm_cli.errors import FapmError, PictureError
from fapm_cli.files import large_temporary
from fapm_cli.stores.store import Listing, Parts, Store
from fapm_cli.stores.stored import AnyPath, StoredPath

_MOST_HEADER_BYTES = 2**20
_BLOCK = 512


class TarStore(Store):
    """What a tar file holds. Nothing of it is ever unpacked."""

    def __init__(self, source: AnyPath):
        """Name the file."""
        super().__init__(str(source))
        self._source = source
        self._file: BinaryIO | None = None
        self._places: dict[Parts, tuple[int, int]] = {}

    @property
    def has_secrets(self) -> bool:
        """Whether its address has some."""
        return isinstance(self._source, StoredPath) and self._source.store.has_secrets

    def keep(self) -> None:
        """Nothing: it is on this machine."""

    def _list(self, parts: Parts) -> Listing:
        try:
            self._file = self._opened()
            found = self._index(self._file)
        except FapmError:
            raise
        except FileNotFoundError:
            raise PictureError(f"archive {self.shown} does not exist; check the path") from None
        except Exception as error:  # a damaged one may raise anything
            raise PictureError(f"archive {self.shown} is damaged: {error}") from None
        self._listings[()] = found  # all of it, whatever was asked for
        return found

    def _opened(self) -> BinaryIO:
        if isinstance(self._source, Path):
            return self._source.open("rb")
        folder = large_temporary()
        handle, name = tempfile.mkstemp(prefix="fapm-", dir=folder)
        os.close(handle)
        try:
            self._source.store.copy(self._source.parts, Path(name), self._check_room)
            return open(name, "rb")
        finally:
            with suppress(OSError):
                os.unlink(name)  # the open file stays until the process ends

    def _check_room(self, num_bytes: int) -> None:
        folder = large_temporary()
        free = shutil.disk_usage(folder).free
        if num_bytes > free:
            raise PictureError(
                f"archive {self.shown} has {num_bytes / 1e9:.1f} GB, and {folder}, where it is "
                f"copied to, {free / 1e9:.1f} GB free: have TMPDIR name another"
            )

    def _index(self, file: BinaryIO) -> Listing:
        """Go through the headers."""
        found, end = Listing(), os.fstat(file.fileno()).st_size
        headers: Any = _Headers(file)
        archive: Any
        with tarfile.TarFile(fileobj=headers) as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # else all stay in memory
                name = member.name.removeprefix("./")
                if member.isdir():
                    continue
                if not member.isreg() or member.issparse():
                    found.left_out[_kind(member)] += 1
                    continue
                if member.offset_data + member.size > end:
                    raise PictureError(f"archive {self.shown} breaks off in {name}: copy it again")
                found.add(name, member.size)
                self._places[tuple(name.split("/"))] = member.offset_data, member.size
            file.seek(archive.offset)
            if file.read(_BLOCK) != bytes(_BLOCK):
                raise PictureError(f"archive {self.shown} breaks off at its end: copy it again")
        return found

    def _read(self, parts: Parts, size: int | None) -> bytes:
        known = self.listing(())
        if parts not in known.files or self._file is None:
            raise PictureError(f"picture {self.shown_path(parts)} does not exist; check the path")
        offset, size = self._places[parts]
        data = self._at(offset, size)
        if len(data) != size:
            raise PictureError(f"archive {self.shown} got shorter while it was read")
        return data

    def _head(self, parts: Parts, count: int) -> bytes:
        self.listing(())
        offset, size = self._places[parts]
        return self._at(offset, min(count, size))

    def _at(self, offset: int, size: int) -> bytes:
        with self._lock:
            assert self._file is not None
            self._file.seek(offset)
            return self._file.read(size)


def _kind(member: tarfile.TarInfo) -> str:
    if member.issym() or member.islnk():
        return "links"
    return "sparse files" if member.issparse() else "pipes or devices"


class _Headers:
    """A file of which only headers are read: of what claims to be a longer one, nothing."""

    def __init__(self, file: IO[bytes]):
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, count: int = -1) -> bytes:
        """Read so many bytes."""
        if not 0 <= count <= _MOST_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {count:,} bytes")
        return self._file.read(count)
