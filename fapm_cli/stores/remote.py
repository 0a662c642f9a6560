"""Buckets and servers with folders, by fsspec: credentials are what it finds in the environment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from fapm_cli.errors import PictureError
from fapm_cli.stores.address import Address, need_for
from fapm_cli.stores.retrying import WrongLengthError, retried, time_for
from fapm_cli.stores.store import MOST_BYTES, Listing, Parts, Store

T = TypeVar("T")

_SHELLS = frozenset(("sftp", "ssh"))


class RemoteStore(Store):
    """A bucket, a container, or a server that is logged in to."""

    def __init__(self, address: Address):
        """Name it by any address in it."""
        super().__init__(address.shown_root)
        self._address = address
        self._files: Any = None

    @property
    def has_secrets(self) -> bool:
        """Whether there is a password in its address."""
        return self._address.has_secrets

    def copy(self, parts: Parts, target: Path, begin: Callable[[int], object]) -> None:
        """Copy a file to this machine, as any store does."""

        def work(files: Any) -> None:
            size = files.info(self._path(parts))["size"]
            begin(size)
            files.get_file(self._path(parts), str(target))
            if target.stat().st_size != size:
                raise WrongLengthError(f"{target.stat().st_size:,} of {size:,} bytes came")

        self._tried(work, f"archive {self.shown_path(parts)}")

    def _list(self, parts: Parts) -> Listing:
        return self._tried(lambda files: self._listed(files, parts), self.shown_path(parts))

    def _listed(self, files: Any, parts: Parts) -> Listing:
        files.invalidate_cache()
        found, path = Listing(), self._path(parts)
        try:
            own = files.info(path)
        except FileNotFoundError:
            return found
        if own["type"] == "file":
            found.files[parts] = own.get("size")
            return found
        depth = len(self._path(()).rstrip("/")) + 1
        if self._address.scheme in _SHELLS:
            below = _walk(files, path, found)
        else:
            below = (one for one in files.find(path, detail=True).values())
        for one in below:
            found.add(one["name"][depth:], one.get("size"))
        return found

    def _read(self, parts: Parts, size: int | None) -> bytes:
        what = self._what(parts)
        if size is None:
            size = int(self._tried(lambda files: files.info(self._path(parts))["size"] or 0, what))
        if size > MOST_BYTES:
            raise PictureError(f"{what} has {size:,} bytes; at most {MOST_BYTES:,} work")
        if size == 0:
            return b""
        return self._tried(lambda files: self._cat(files, parts, size + 1, size), what)

    def _head(self, parts: Parts, count: int) -> bytes:
        if self._address.scheme not in _SHELLS:
            return self._tried(lambda files: self._cat(files, parts, count), self._what(parts))

        def work(files: Any) -> bytes:
            with files.open(self._path(parts), "rb") as file:
                return bytes(file.read(count))

        return self._tried(work, self._what(parts))

    def _cat(self, files: Any, parts: Parts, end: int, size: int | None = None) -> bytes:
        """Read so many bytes; with a size one more than that, so that what has grown is told."""
        from fsspec.asyn import sync

        limits, path = {"start": 0, "end": end}, self._path(parts)
        data: bytes = sync(files.loop, files._cat_file, path, timeout=time_for(end), **limits)
        if size is not None and len(data) != size:
            raise WrongLengthError(f"{len(data):,} bytes came, {size:,} were listed")
        return data

    def _what(self, parts: Parts) -> str:
        return f"picture {self.shown_path(parts)}"

    def _path(self, parts: Parts) -> str:
        """As the filesystem names it."""
        above = "" if self._address.scheme in _SHELLS else self._bucket
        return "/".join((above, *parts)) or "/"

    @property
    def _bucket(self) -> str:
        """The container of an address may have its account behind it."""
        return self._address.authority.partition("@")[0].rstrip("/")

    def _tried(self, work: Callable[[Any], T], what: str) -> T:
        only = Exception if self._address.scheme in _SHELLS else WrongLengthError
        return retried(lambda: work(self._opened()), what, self._address.scrub, self._lost, only)

    def _opened(self) -> Any:
        with self._lock:
            if self._files is None:
                self._files = _open(self._address, fresh=False)
            return self._files

    def _lost(self) -> None:
        """Log in anew, where a connection is held."""
        if self._address.scheme in _SHELLS:
            with self._lock:
                self._files = _open(self._address, fresh=True)


def _walk(files: Any, path: str, found: Listing) -> Iterator[dict[str, Any]]:
    """Go through the folders of a server; links to files are followed, those to folders not."""
    folders = [path]
    while folders:
        folder = folders.pop()
        try:
            entries = files.ls(folder, detail=True)
        except PermissionError:
            if folder == path:
                raise
            found.troubles[_parts(folder)] = "can't be entered: permission denied"
            continue
        for one in entries:
            name = one["name"]
            if name.rpartition("/")[2].startswith("."):
                continue
            if one["type"] == "directory":
                folders.append(name)
                continue
            if one["type"] == "link":
                try:
                    one = {**files.info(name), "name": name}
                except FileNotFoundError:
                    found.troubles[_parts(name)] = "is a link that leads nowhere"
                    continue
            if one["type"] == "file":
                yield one
            else:
                kind = "links to folders" if one["type"] == "directory" else "pipes or devices"
                found.left_out[kind] += 1


def _parts(path: str) -> Parts:
    return tuple(path.strip("/").split("/"))


def _open(address: Address, *, fresh: bool) -> Any:
    """What fsspec reads a store by.

    Raises:
        OptionError: what that takes is not installed.
    """
    package = need_for(address.scheme)
    from fsspec.config import conf
    from fsspec.core import url_to_fs

    again = {"skip_instance_cache": True} if fresh else {}
    if address.scheme not in _SHELLS:
        return url_to_fs(f"{address.root}/", **again)[0]
    kind = package.SSHFileSystem
    given = {name: value for scheme in _SHELLS for name, value in conf.get(scheme, {}).items()}
    # Without this, sshfs asks no server who it is; () is what ssh itself knows.
    options = {"known_hosts": (), **given, **kind._get_kwargs_from_urls(f"{address.root}/")}
    return kind(**options, **again)
