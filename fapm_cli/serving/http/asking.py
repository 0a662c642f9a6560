"""What is asked to be judged: read off the network or a disk, no more of it than may be."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from starlette.requests import ClientDisconnect, Request

from fapm_cli.finding.kinds import FORMATS, format_of
from fapm_cli.serving.http.refusing import CLOSE, RefusedError, busy
from fapm_cli.serving.http.root import open_below
from fapm_cli.serving.settings import Settings

_MOST_JSON_BYTES = 64 * 2**10
_MOST_LETTERS = 200
_PICTURES = "image/*, application/octet-stream, or application/json with a path"


class Budget:
    """Memory for bodies: of more than it holds, none is read."""

    def __init__(self, most_bytes: int):
        """Begin with so many bytes free."""
        self._free = most_bytes

    @contextlib.contextmanager
    def visit(self) -> Iterator[Callable[[int], None]]:
        """Give what takes some bytes; all are given back at the end."""
        taken = 0

        def take(number: int) -> None:
            nonlocal taken
            if number > self._free:
                raise RefusedError(503, busy().message, "busy", {"Retry-After": "1", **CLOSE})
            self._free -= number
            taken += number

        try:
            yield take
        finally:
            self._free += taken


@dataclass(frozen=True)
class Asked:
    """A picture's file, and what its record is to call it; None for the name of its copy."""

    data: bytes
    path: str | None


async def read_asked(request: Request, settings: Settings, take: Callable[[int], None]) -> Asked:
    """Read the picture that a request brings, or names.

    Args:
        request: not read yet.
        settings: what may be read.
        take: called with the bytes before they are held.

    Raises:
        RefusedError: it is too large, too slow, no picture, or not to be read.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise RefusedError(415, "content-encoding: send the file as it is", "format", CLOSE)
    if kind == "application/json":
        return await _named(
            await read_body(request, _MOST_JSON_BYTES, settings, take), settings, take
        )
    if kind and not kind.startswith("image/") and kind != "application/octet-stream":
        raise RefusedError(415, f"content-type: wanted {_PICTURES}", "format", CLOSE)
    name = request.query_params.get("name")
    if name is not None and not (0 < len(name) <= _MOST_LETTERS and name.isprintable()):
        raise RefusedError(
            400, f"name: wanted 1 to {_MOST_LETTERS} letters that show", headers=CLOSE
        )
    data = await read_body(request, settings.most_bytes, settings, take)
    _check_format(data)
    return Asked(data, name)


async def read_body(
    request: Request, most: int, settings: Settings, take: Callable[[int], None]
) -> bytes:
    """Read a body, of so many bytes at most, in the time that it may take.

    Raises:
        RefusedError: it is larger, or slower, or breaks off.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most:
        raise _too_large(most)
    parts: list[bytes] = []
    size = 0

    async def read() -> None:
        nonlocal size
        async for part in request.stream():
            size += len(part)
            if size > most:
                raise _too_large(most)
            take(len(part))
            parts.append(part)

    try:
        await asyncio.wait_for(read(), settings.body_seconds)
    except asyncio.TimeoutError:
        said = f"body: it did not come within {settings.body_seconds:g} s"
        raise RefusedError(408, said, "slow", CLOSE) from None
    except ClientDisconnect:
        raise RefusedError(400, "body: it broke off", headers=CLOSE) from None
    return b"".join(parts)


def read_json(body: bytes) -> dict[str, Any]:
    """Read a body that is a JSON object.

    Raises:
        RefusedError: it is none.
    """
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        asked = None
    if not isinstance(asked, dict):
        raise RefusedError(400, "body: wanted a JSON object")
    return asked


async def _named(body: bytes, settings: Settings, take: Callable[[int], None]) -> Asked:
    """Read a picture by its path below the root."""
    asked = read_json(body)
    name, root = asked.get("path"), settings.root
    if not isinstance(name, str) or asked.keys() != {"path"}:
        raise RefusedError(400, 'body: wanted {"path": "a/picture.png"}, and nothing else')
    if root is None:
        raise RefusedError(403, "path: fapm serve was started without --root FOLDER")
    with await asyncio.to_thread(open_below, root, name) as file:
        size = file.seek(0, 2)
        if size > settings.most_bytes:
            raise _too_large(settings.most_bytes, {})
        take(size)
        file.seek(0)
        data = await asyncio.to_thread(file.read, size)
    _check_format(data)
    return Asked(data, name)


def _check_format(data: bytes) -> None:
    if format_of(data[:16]) is None:
        kinds = ", ".join(FORMATS)
        raise RefusedError(415, f"this is no picture that can be read ({kinds})", "format")


def _too_large(most: int, headers: dict[str, str] = CLOSE) -> RefusedError:
    return RefusedError(413, f"too large: at most {most:,} bytes are read", "large", headers)
