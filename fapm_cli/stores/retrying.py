"""Retrying: what fails on the way is tried again, a little later each time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from fapm_cli.errors import FapmError, PictureError
from fapm_cli.packages import reason_of

T = TypeVar("T")

WAITS_S = (0.2, 0.8, 3.2)
"""Before each try but the first; half as much or one and a half times that, by chance."""
_LEAST_S, _LEAST_RATE = 60, 2**15  # bytes a second
_AGAIN = frozenset((408, 425, 429))  # of the web's statuses below 500
# By name, of packages that are imported where they are used.
_REFUSED = ("PermissionDenied", "HostKeyNotVerifiable", "NoCredentialsError", "InvalidURL")


class WrongLengthError(Exception):
    """What came is not as long as was said."""


class StatusError(Exception):
    """A server of the web answers, but with no file."""

    def __init__(self, status: int, reason: str | None):
        """Say with what."""
        super().__init__(f"the server says {status} {reason or ''}".strip())
        self.status = status


def time_for(num_bytes: int) -> float:
    """Seconds that a try to read so many bytes may take."""
    return _LEAST_S + num_bytes / _LEAST_RATE


def retried(
    work: Callable[[], T],
    what: str,
    scrub: Callable[[str], str],
    lost: Callable[[], None],
    only: type[Exception] = Exception,
) -> T:
    """Do what may fail on the way, up to four times.

    Args:
        work: what is tried; a :class:`FapmError` that it raises is raised at once.
        what: that is read, for messages.
        scrub: takes what is secret out of a message.
        lost: called before each further try.
        only: what is tried again; for those who try all else again themselves.

    Raises:
        PictureError: it fails for good, or again and again.
    """
    for wait_s in (*WAITS_S, None):
        try:
            return work()
        except FapmError:
            raise
        except Exception as error:
            message = _for_good(error, what)
            if message is None and not isinstance(error, only):
                message = f"{what} can't be read: {reason_of(error)}"
            if message is None and wait_s is None:
                message = (
                    f"{what} can't be read, after {len(WAITS_S) + 1} tries: {reason_of(error)}"
                )
            if message is not None:
                raise PictureError(scrub(message)) from None
        time.sleep((wait_s or 0) * random.uniform(0.5, 1.5))
        lost()
    raise AssertionError("the last try returns or raises")


def _for_good(error: Exception, what: str) -> str | None:
    """What to say of an error that would come again; None for others."""
    status = error.status if isinstance(error, StatusError) else 0
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        return f"{what} does not exist; check the path"
    if isinstance(error, PermissionError) or status in (401, 403) or _is_refused(error):
        return f"{what} is refused ({reason_of(error)}); check the credentials"
    if 400 <= status < 500 and status not in _AGAIN:
        return f"{what} can't be read: {reason_of(error)}"
    return None


def _is_refused(error: Exception) -> bool:
    return type(error).__name__ in _REFUSED
