"""The web: files by GET, measured as they come. fsspec has the session, with what it is set to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from fapm_cli.errors import PictureError
from fapm_cli.stores.address import Address, need_for
from fapm_cli.stores.retrying import StatusError, WrongLengthError, retried
from fapm_cli.stores.store import MOST_BYTES

_MOST_UNTOLD = 2**27  # bytes, where the server does not say how many will come
_ANY_S, _ALL_S = 30, 300
_LARGE, _alone = 2**25, asyncio.Lock()  # of files with more bytes, one at a time


def read_web(address: Address, what: str, count: int | None = None) -> bytes:
    """Get a file of the web, or its first bytes.

    Raises:
        PictureError: it can't be had whole, or is too long.
    """

    def work() -> bytes:
        data = bytearray()
        _get(address, what, MOST_BYTES, data.extend, count)
        return bytes(data if count is None else data[:count])

    return retried(work, what, address.scrub, lambda: None)


def copy_web(address: Address, what: str, begin: Callable[[int], Any]) -> None:
    """Get a file of the web in parts.

    Args:
        address: of the file.
        what: it is, for messages.
        begin: told how many bytes will come; gives what takes each part.

    Raises:
        PictureError: it can't be had whole, or the server does not say how long it is.
    """
    retried(lambda: _get(address, what, None, begin, None), what, address.scrub, lambda: None)


def _get(
    address: Address, what: str, most: int | None, take: Callable[[Any], Any], count: int | None
) -> None:
    """Get a file; ``most`` is None where ``take`` is to be told the length first."""
    need_for(address.scheme)
    from fsspec import filesystem
    from fsspec.asyn import sync

    files = filesystem(address.scheme)

    async def get() -> None:
        session = await files.set_session()
        options = dict(files.kwargs)
        # Compressed, it would have another length than is said.
        headers = {**options.pop("headers", {}), "Accept-Encoding": "identity"}
        if count is not None:
            headers["Range"] = f"bytes=0-{count - 1}"
        options.setdefault("timeout", _timeout(most))
        url = files.encode_url(address.full)
        async with session.get(url, headers=headers, **options) as answer:
            length = _checked(answer, address, what, count)
            await _pour(answer, length, what, take if most is not None else take(length), count)

    sync(files.loop, get)


def _timeout(most: int | None) -> Any:
    """How long to wait for anything at all, and for all of a picture."""
    from aiohttp import ClientTimeout

    return ClientTimeout(total=None if most is None else _ALL_S, connect=_ANY_S, sock_read=_ANY_S)


def _checked(answer: Any, address: Address, what: str, count: int | None) -> int | None:
    """The length of an answer, None where only its parts will tell.

    Raises:
        PictureError: it can't be taken.
    """
    wanted = (200,) if count is None else (200, 206)
    if answer.status not in wanted:
        raise StatusError(answer.status, answer.reason)
    if answer.url.scheme != address.scheme:
        raise PictureError(f"{what} leads on to {answer.url.scheme}://, which is not followed")
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise PictureError(f"{what} comes compressed, though it was asked for as it is")
    length: int | None = answer.content_length
    chunked = "chunked" in answer.headers.get("Transfer-Encoding", "").lower()
    if length is None and not chunked:
        raise WrongLengthError("the server does not say how long it is")
    if length is not None and count is None and length > MOST_BYTES and not what.endswith(".tar"):
        raise PictureError(f"{what} has {length:,} bytes; at most {MOST_BYTES:,} work")
    return length


async def _pour(
    answer: Any, length: int | None, what: str, take: Callable[[bytes], Any], count: int | None
) -> None:
    """Pass on what comes, as much as was said, or as is enough."""
    most = _MOST_UNTOLD if length is None else length
    got = 0
    async with AsyncExitStack() as stack:
        async for part in answer.content.iter_any():
            if got <= _LARGE < got + len(part):
                await stack.enter_async_context(_alone)
            got += len(part)
            if got > most:
                raise PictureError(f"{what} does not end after {most:,} bytes")
            take(part)
            if count is not None and got >= count:
                return
    if length is not None and got != length:
        raise WrongLengthError(f"{got:,} of {length:,} bytes came")
