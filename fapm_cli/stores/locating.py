"""Locating: from what a user or program names, to a path that can be read."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from fapm_cli.stores.address import Address, is_address
from fapm_cli.stores.stored import AnyPath, StoredPath

_ARCHIVE, _LIST = ".tar", ".txt"


def located(where: str | AnyPath) -> AnyPath:
    """Where something lies, by its name: an address, a path, or a path in a tar file.

    Nothing is opened; of a path here no more is asked than whether ``.tar`` in it names a file.
    """
    if isinstance(where, str) and is_address(where):
        return _elsewhere(Address.parse(where))
    if isinstance(where, StoredPath):
        return where
    path = Path(where)
    return _in_archive(path) if _ARCHIVE in str(where).lower() else path


def keep(where: AnyPath) -> None:
    """Keep what is read there from now on: it will be read again."""
    if isinstance(where, StoredPath):
        where.store.keep()


def _in_archive(path: Path) -> AnyPath:
    """A path in a tar file, or one that is none."""
    for number, part in enumerate(path.parts, start=1):
        archive = Path(*path.parts[:number])
        if part.lower().endswith(_ARCHIVE) and os.path.isfile(archive):
            status = archive.stat()
            stamp = status.st_size, status.st_mtime_ns, status.st_ino
            return _archive(archive, stamp).joinpath(*path.parts[number:])
    return path


@functools.lru_cache(maxsize=64)
def _archive(path: Path, stamp: tuple[int, int, int]) -> StoredPath:
    """A tar file here, opened once as long as it stays the same."""
    from fapm_cli.stores.archive import TarStore

    return StoredPath(TarStore(path))


def _elsewhere(address: Address) -> StoredPath:
    from fapm_cli.stores.archive import TarStore

    parts = tuple(part for part in address.path.split("/") if part)
    for number, part in enumerate(parts, start=1):
        if part.lower().endswith(_ARCHIVE):
            inside = "/".join(parts[:number])
            of_it = Address(address.scheme, address.authority, inside, address.query)
            return StoredPath(TarStore(_file(of_it)), parts[number:])
    if address.path.lower().endswith(_LIST):
        from fapm_cli.stores.listed import web_list

        return web_list(address, _file(address))
    return _file(address)


def _file(address: Address) -> StoredPath:
    """A file, or where there are folders one of those."""
    if address.is_web:
        from fapm_cli.stores.listed import web_file

        return web_file(address)
    from fapm_cli.stores.remote import RemoteStore

    return StoredPath(RemoteStore(address), tuple(p for p in address.path.split("/") if p))
