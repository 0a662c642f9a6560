"""The guard: who may ask, and what every answer says to a browser."""

from __future__ import annotations

import hmac
import os
import traceback
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fapm_cli.serving.service import Service
from fapm_cli.serving.settings import is_loopback

MOST_HEAD_BYTES = 16 * 2**10
OPEN = ("/", "/page.js", "/page.css", "/healthz")
"""What anybody may read: the page, which holds no data, and whether the service is well."""

_SAID = [
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]


class Guard:
    """Stands before the application.

    Other web pages in an operator's browser can send requests to this machine, too: one that a
    page of another origin sent is refused, and without a token one that calls this machine by a
    name that is not its own (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, service: Service, say: Callable[[str], None]):
        """Stand before ``app``, and tell ``say`` of faults."""
        self._app, self._service, self._say = app, service, say
        token = service.settings.token
        self._token = None if token is None else token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] != "http":
            return
        begun = False

        async def said(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                told = {name for name, _ in message["headers"]}
                more = [one for one in _SAID if one[0] not in told]
                message["headers"] = [*message["headers"], *more]
            await send(message)

        refused = self._refused(scope)
        if refused is not None:
            await refused(scope, receive, said)
            return
        try:
            await self._app(scope, receive, said)
        except Exception as error:  # one request's fault is not the others'
            if os.environ.get("FAPM_DEBUG"):
                traceback.print_exc()
            self._say(
                f"fapm: unforeseen {type(error).__name__}: {error}; with FAPM_DEBUG=1 it says "
                "where: please report it"
            )
            if not begun:
                answer = JSONResponse({"error": "unforeseen: see the log"}, 500, _CLOSE)
                await answer(scope, receive, said)

    def _refused(self, scope: Scope) -> JSONResponse | None:
        headers, metrics = Headers(scope=scope), self._service.metrics
        head = scope["raw_path"] + scope["query_string"] + b"".join(map(b"".join, scope["headers"]))
        if len(head) > MOST_HEAD_BYTES:  # servers look at what is not whole yet alone
            metrics.refuse("large")
            said = f"head: too large: at most {MOST_HEAD_BYTES:,} bytes are read"
            return JSONResponse({"error": said}, 431, _CLOSE)
        host = headers.get("host", "")
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            metrics.refuse("address")
            return JSONResponse({"error": "origin: another site's pages may not ask"}, 403, _CLOSE)
        if self._token is None:
            if not is_loopback(_name_of(host)):
                metrics.refuse("address")
                said = "host: without a token only localhost and 127.0.0.1 are answered"
                return JSONResponse({"error": said}, 403, _CLOSE)
            return None
        scope["is_trusted"] = self._shows_token(headers.get("authorization", ""))
        if scope["path"] in OPEN or scope["is_trusted"]:
            return None
        metrics.refuse("token")
        ask = {"WWW-Authenticate": "Bearer", **_CLOSE}
        return JSONResponse({"error": "authorization: wanted Bearer TOKEN"}, 401, ask)

    def _shows_token(self, given: str) -> bool:
        scheme, _, token = given.partition(" ")
        shown = token.strip().encode("utf-8", "replace")
        return hmac.compare_digest(shown, self._token or b"") and scheme.lower() == "bearer"


_CLOSE = {"Connection": "close"}


def _name_of(host: str) -> str:
    """The name in a Host header, without the port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
