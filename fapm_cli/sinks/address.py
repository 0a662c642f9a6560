"""The URL of a sink: its parts, and what of it may be shown and stored."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from fapm_cli.errors import OptionError
from fapm_cli.secret import content_of

PORTS = {"mqtt": 1883, "mqtts": 8883, "http": 80, "https": 443, "opc.tcp": 4840}
SQLITE = "sqlite"
SPARKPLUG = "topics=sparkplug"
"""What may follow ``?`` for ``mqtt``: how topics are named."""
SECRETS = {
    **dict.fromkeys(("mqtt", "mqtts"), "FAPM_MQTT_PASSWORD"),
    **dict.fromkeys(("http", "https"), "FAPM_WEBHOOK_SECRET"),
    "opc.tcp": "FAPM_OPCUA_PASSWORD",
}
"""By the scheme: the name of the secret that a sink takes, where its URL holds none."""

_FORMS = "mqtt://HOST, https://HOST/PATH, sqlite:///FILE or opc.tcp://HOST#NODE"


@dataclass(frozen=True)
class Address:
    """A sink's URL.

    Attributes:
        scheme: in small letters.
        host: empty for a file.
        port: the scheme's own where none is named.
        path: as it stands in the URL; of ``sqlite``, the file's absolute path.
        query: may hold a token: never shown.
        node: what follows ``#``, of ``opc.tcp``.
        user: who it is.
        password: never shown.
    """

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""
    query: str = field(default="", repr=False)
    node: str = ""
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @property
    def name(self) -> str:
        """The URL without what is secret: shown in messages, and the sink's name in the queue."""
        if self.scheme == SQLITE:
            return f"{SQLITE}:///{self.path}"
        digest = hashlib.sha256(self.query.encode()).hexdigest()[:8]
        query = f"?...{digest}" if self.query else ""  # tells two apart, and tells no token
        if self.query == SPARKPLUG:
            query = f"?{SPARKPLUG}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        node = f"#{self.node}" if self.node else ""
        return f"{self.scheme}://{host}:{self.port}{self.path}{query}{node}"

    def hide(self, text: str) -> str:
        """Take out of a text, such as a library's message, what is secret in this URL."""
        for secret in (self.password, self.query):
            if secret:
                text = text.replace(secret, "...")
        return text


def read_address(text: str) -> Address:
    """Read a URL, or by ``@FILE`` the one that a file holds.

    Raises:
        OptionError: there is no such sink, the URL is not one, or the file can't be read. What
            the URL holds is not shown: it may be a password.
    """
    if text.startswith("@"):
        return _read(content_of(Path(text[1:])))
    return _read(text)


def _read(text: str) -> Address:
    scheme, colon, rest = text.partition("://")
    scheme = scheme.lower()
    if not colon or scheme not in (*PORTS, SQLITE):
        shown = f"{scheme}://..." if colon and "@" not in scheme else "this"
        raise OptionError(f"--to: {shown} names no sink that there is: use {_FORMS}")
    if scheme == SQLITE:
        if not rest.startswith("/") or rest == "/":
            raise OptionError("--to sqlite://...: name a file after three slashes, sqlite:///FILE")
        return Address(SQLITE, path=os.path.abspath(rest[1:]))
    try:
        parts = urlsplit(f"{scheme}://{rest}")
        host, port = parts.hostname, parts.port
        parts.netloc.encode("ascii")
    except ValueError:
        host, port = None, None  # what Python says of it may show a password
    if not host or port == 0 or not text.isprintable() or " " in text:
        raise OptionError(
            f"--to {scheme}://...: no host, or a port that is none; in a user or password write "
            "@ : / ? # as %40 %3A %2F %3F %23"
        )
    allowed = (SPARKPLUG,) if scheme.startswith("mqtt") else ()
    if parts.query and not scheme.startswith("http") and parts.query not in allowed:
        raise OptionError(f"--to {scheme}://{host}: takes {' '.join(allowed) or 'nothing'} after ?")
    user, password = (unquote(part or "") for part in (parts.username, parts.password))
    path = parts.path.rstrip("/") if not scheme.startswith("http") else parts.path or "/"
    return Address(
        *(scheme, host, port or PORTS[scheme], path, parts.query, unquote(parts.fragment)),
        *(user, password),
    )
