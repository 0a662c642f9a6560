"""Refusals: what a request is told in place of a result, and what it counts as."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response


class RefusedError(Exception):
    """A request that is not answered as it was meant.

    Attributes:
        status: of HTTP.
        message: what is wrong, and what to do.
        reason: what it counts as, one of :data:`fapm_cli.serving.metrics.REFUSALS`.
        headers: of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        reason: str = "other",
        headers: dict[str, str] | None = None,
    ):
        """Say all of it."""
        super().__init__(message)
        self.status, self.message, self.reason = status, message, reason
        self.headers = headers or {}


CLOSE = {"Connection": "close"}
"""For a request whose body was not read to its end: nothing more is read of it."""


def busy() -> RefusedError:
    """There is no room now."""
    message = "too many pictures are waiting: try again in a second"
    return RefusedError(503, message, "busy", {"Retry-After": "1"})


async def answer(request: Request, error: Exception) -> Response:
    """Answer with a refusal."""
    assert isinstance(error, RefusedError)
    request.app.state.service.metrics.refuse(error.reason)
    return JSONResponse({"error": error.message}, error.status, error.headers)
