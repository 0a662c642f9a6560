"""What a service is told as it is started."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from fapm_cli.errors import OptionError
from fapm_cli.secret import secret, secret_file

TOKEN, SHORTEST_TOKEN = "FAPM_TOKEN", 16


@dataclass(frozen=True)
class Settings:
    """How a service is run, and what it takes from others at most.

    Attributes:
        host: the address it listens on.
        port: likewise; 0 for any that is free.
        token: what every request has to show; None where only this machine can ask.
        root: the folder of pictures that may be named by path; None for no such folder.
        keep: where pictures and decisions are kept; None for pictures alone, and while it runs.
        keep_last: how many pictures are kept, and shown.
        queue: how many pictures may wait, beside those that are being judged.
        most_bytes: of a picture's file.
        most_px: of a picture; of more, none is decoded.
        body_seconds: in which a body has to come.
        drift: whether to follow the drift of each bank's pictures.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    root: Path | None = None
    keep: Path | None = None
    keep_last: int = 100
    queue: int = 16
    most_bytes: int = 32 * 2**20
    most_px: int = 50_000_000
    body_seconds: float = 10.0
    drift: bool = False

    @property
    def is_local(self) -> bool:
        """Whether only this machine can ask."""
        return is_loopback(self.host)

    def check(self) -> None:
        """Check that they make sense together.

        Raises:
            OptionError: anybody could ask; or a folder is none.
        """
        if not self.is_local and self.token is None:
            raise OptionError(
                f"host {self.host} can be reached from other machines: give --token-file FILE, or "
                f"{TOKEN} in the environment; or leave --host out"
            )
        if self.root is not None and not self.root.is_dir():
            raise OptionError(f"root {self.root} is no folder: name the one that has the pictures")


def read_token(file: Path | None = None) -> str | None:
    """The token of a service, a secret as all others; None where none is given.

    Args:
        file: that holds it, in place of what the environment says.

    Raises:
        OptionError: it can't be read, or is too short to be a secret.
    """
    token, where = secret(TOKEN, file), file or secret_file(TOKEN)
    if not token and TOKEN not in os.environ:
        return None
    if len(token) < SHORTEST_TOKEN or not (token.isascii() and token.isprintable()):
        raise OptionError(
            f"{TOKEN if where is None else f'token file {where}'} has {len(token)} characters; "
            f"wanted {SHORTEST_TOKEN} or more of ASCII, like those of: openssl rand -hex 32"
        )
    return token


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
