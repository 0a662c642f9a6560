"""Word to systemd, by the protocol of sd_notify: a service is ready, lives, ends."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress


class Watchdog:
    """Tells the service manager, where there is one that asks; elsewhere it does nothing.

    See sd_notify(3): datagrams to the socket that NOTIFY_SOCKET names; ``WATCHDOG=1`` more often
    than every WATCHDOG_USEC microseconds, or the service counts as hung, and is started anew.
    """

    def __init__(self) -> None:
        """Look whether a manager asks, in the environment."""
        address = os.environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        limit = os.environ.get("WATCHDOG_USEC", "")
        ours = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._every_s = int(limit) / 1e6 / 4 if limit.isdigit() and ours else float("inf")
        self._said_at = time.monotonic()

    def ready(self) -> None:
        """The service does its work from now on."""
        self._tell("READY=1")

    def alive(self) -> None:
        """It still does: to be called whenever something is done."""
        if time.monotonic() - self._said_at >= self._every_s:
            self._said_at = time.monotonic()
            self._tell("WATCHDOG=1")

    def stopping(self) -> None:
        """It ends."""
        self._tell("STOPPING=1")

    def _tell(self, word: str) -> None:
        if self._address:
            with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
                manager.sendto(word.encode(), self._address)
