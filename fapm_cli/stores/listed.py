"""Files that are named one by one: by an address of the web, or by a list of addresses."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin

from fapm_cli.errors import PictureError
from fapm_cli.stores.address import Address, is_address, redacted
from fapm_cli.stores.remote import RemoteStore
from fapm_cli.stores.store import Listing, Parts, Store
from fapm_cli.stores.stored import StoredPath
from fapm_cli.stores.web import copy_web, read_web

_MOST_LIST_BYTES = 2**27
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
Named = Mapping[str, Address]


class ListedStore(Store):
    """Files each of which has an address of its own, below one folder's."""

    def __init__(self, folder: Address, find: Callable[[], Named]):
        """Name them.

        Args:
            folder: that their names are relative to, as far as they lie below it.
            find: gives their names and addresses, when they are asked for.
        """
        super().__init__("/".join(filter(None, (folder.shown_root, folder.path))))
        self._folder, self._find = folder, find
        self._addresses: dict[Parts, Address] = {}
        self._stores: dict[str, RemoteStore] = {}

    @property
    def has_secrets(self) -> bool:
        """Whether there are passwords or signatures in their addresses."""
        known = self._addresses or {(): self._folder}
        return any(address.has_secrets for address in (self._folder, *known.values()))

    def copy(self, parts: Parts, target: Path, begin: Callable[[int], Any]) -> None:
        """Copy a file of the web, as :meth:`RemoteStore.copy` does."""

        def opened(size: int | None) -> Callable[[bytes], int]:
            if size is None:
                raise PictureError(f"the server does not say how long archive {path} is")
            begin(size)
            file.seek(0)
            file.truncate()
            return file.write

        path = self.shown_path(parts)
        with target.open("wb") as file:
            copy_web(self._address(parts), f"archive {path}", opened)

    def _list(self, parts: Parts) -> Listing:
        found = Listing()
        for name, address in self._find().items():
            found.add(name, None)
            self._addresses[tuple(name.split("/"))] = address
        self._listings[()] = found  # all of it, whatever was asked for
        return found

    def _read(self, parts: Parts, size: int | None) -> bytes:
        address, what = self._address(parts), f"picture {self.shown_path(parts)}"
        if address.is_web:
            return read_web(address, what)
        return self._store(address).read(tuple(address.path.split("/")))

    def _head(self, parts: Parts, count: int) -> bytes:
        address, what = self._address(parts), f"picture {self.shown_path(parts)}"
        if address.is_web:
            return read_web(address, what, count)
        return self._store(address).head(tuple(address.path.split("/")), count)

    def _address(self, parts: Parts) -> Address:
        self.listing(())
        address = self._addresses.get(parts)
        if address is None:
            raise PictureError(f"picture {self.shown_path(parts)} does not exist; check the path")
        return address

    def _store(self, address: Address) -> RemoteStore:
        with self._lock:
            return self._stores.setdefault(address.root, RemoteStore(address))


def web_file(address: Address) -> StoredPath:
    """A file of the web, in a store of its own."""
    folder, _, name = address.path.rpartition("/")
    readable = unquote(name)
    name = name if set("/\\\0") & {*readable} else readable
    if name in ("", ".", ".."):
        name = address.authority.rpartition("@")[2]
    store = ListedStore(Address(address.scheme, address.authority, folder), lambda: {name: address})
    return StoredPath(store, (name,))


def web_list(address: Address, source: StoredPath) -> StoredPath:
    """The files that a list names, one a line.

    Args:
        address: of the list.
        source: the list itself.
    """
    folder = Address(address.scheme, address.authority, address.path.rpartition("/")[0])
    return StoredPath(ListedStore(folder, lambda: _named(address, folder, source)))


def _named(address: Address, folder: Address, source: StoredPath) -> Named:
    """Names and addresses of a list's files.

    Raises:
        PictureError: it can't be read, is no list, or names what is not of its scheme.
    """
    data = source.read_bytes()
    if len(data) > _MOST_LIST_BYTES:
        raise PictureError(f"list {source} has {len(data):,} bytes; give it in parts")
    if data.lstrip()[:1] == b"<":
        raise PictureError(f"list {source} is a page; wanted an address or a path a line")
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except ValueError:
        raise PictureError(f"list {source} is no UTF-8 text") from None
    named: dict[str, Address] = {}
    for number, line in enumerate(map(str.strip, lines), start=1):
        if line and not line.startswith("#"):
            try:
                one = _joined(address, line)
            except ValueError as error:
                raise PictureError(f"list {source}, line {number}: {error}") from None
            named.setdefault(_name(one, folder), one)
    return named


def _joined(base: Address, line: str) -> Address:
    """The address that a line of a list means.

    Raises:
        ValueError: it is of another scheme than the list.
    """
    if is_address(line):
        found = Address.parse(line)
    elif (scheme := _SCHEME.match(line)) is not None and (base.is_web or "://" in line):
        raise ValueError(f"{scheme[0]} is not followed from a list at {base.scheme}://")
    elif base.is_web:
        found = Address.parse(urljoin(base.full, line))
    else:
        path = posixpath.normpath(posixpath.join("/", posixpath.dirname(base.path), line))
        found = Address(base.scheme, base.authority, path.lstrip("/"))
    if found.scheme != base.scheme:
        raise ValueError(f"{found.scheme}:// is not followed from a list at {base.scheme}://")
    return found


def _name(one: Address, folder: Address) -> str:
    """A file's path below a folder, or its address without the scheme where it lies elsewhere."""
    path, above = (unquote(a.path) if a.is_web else a.path for a in (one, folder))
    above += "/" * bool(above)
    if one.authority == folder.authority and path.startswith(above):
        return path[len(above) :]
    return f"{redacted(one.root).partition('://')[2].rpartition('@')[2]}/{path}"
