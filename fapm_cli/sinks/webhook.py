"""A webhook: records posted as a JSON array, signed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import time
from collections.abc import Sequence

from fapm_cli.errors import OptionError, OutputError
from fapm_cli.secret import secret
from fapm_cli.sinks.address import SECRETS, Address
from fapm_cli.sinks.sink import TIMEOUT_S, Message, Sink
from fapm_cli.version import __version__

TIMESTAMP, SIGNATURE = "X-Fapm-Timestamp", "X-Fapm-Signature"
_MOST_READ = 64 * 1024


def signature(key: str, timestamp: str, body: bytes) -> str:
    """HMAC-SHA256 over timestamp, a full stop, and the body, in hexadecimal digits."""
    return hmac.new(key.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


class WebhookSink(Sink):
    """Posts batches; any answer of 200 to 299 says that all of a batch arrived."""

    def __init__(self, address: Address):
        """Take the secret from the environment.

        Raises:
            OptionError: there is none.
        """
        name = SECRETS[address.scheme]
        self._address, self._key = address, secret(name)
        if not self._key:
            raise OptionError(
                f"--to {address.name}: set {name}, or {name}_FILE to a file that holds it: "
                "what is posted is signed with it"
            )
        self._target = address.path + (f"?{address.query}" if address.query else "")
        self._connection: http.client.HTTPConnection | None = None

    def send(self, batch: Sequence[Message]) -> None:
        """Post a batch.

        Raises:
            OutputError: the answer is another.
            OSError: there is none.
            http.client.HTTPException: it is none of HTTP's.
        """
        body = b"[" + b",".join(message.body for message in batch) + b"]"
        answer = self._post(body)
        answer.read(_MOST_READ)
        if not answer.isclosed():
            self.close()  # longer than anyone wants to know
        if not 200 <= answer.status < 300:
            raise OutputError(f"it answered {answer.status} {answer.reason}"[:100])

    def _post(self, body: bytes) -> http.client.HTTPResponse:
        fresh, connection = self._connection is None, self._open()
        try:
            connection.request("POST", self._target, body, self._headers(body))
            return connection.getresponse()
        except (ConnectionError, http.client.BadStatusLine):
            self.close()
            if fresh:
                raise
            return self._post(body)  # a server may close what was idle

    def _open(self) -> http.client.HTTPConnection:
        if self._connection is None:
            tls = self._address.scheme == "https"
            kind = http.client.HTTPSConnection if tls else http.client.HTTPConnection
            where = (self._address.host, self._address.port)
            self._connection = kind(*where, timeout=TIMEOUT_S)
        return self._connection

    def reach(self, *, ask: bool) -> None:
        """Connect, and post nothing.

        Raises:
            OSError: it can't be reached.
        """
        if ask:
            self._open().connect()

    def _headers(self, body: bytes) -> dict[str, str]:
        now = str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"fapm/{__version__}",
            TIMESTAMP: now,
            SIGNATURE: f"sha256={signature(self._key, now, body)}",
        }
        if self._address.user:
            pair = f"{self._address.user}:{self._address.password}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        return headers

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
