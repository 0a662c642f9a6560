"""Addresses: what reads them; and what of them is never shown: passwords, and all queries."""

from __future__ import annotations

import importlib
import logging
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import unquote

from fapm_cli.errors import OptionError

PACKAGES = {
    **dict.fromkeys(("http", "https"), "aiohttp"),
    "s3": "s3fs",
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("az", "abfs", "abfss"), "adlfs"),
    **dict.fromkeys(("sftp", "ssh"), "sshfs"),
}
"""What reads each scheme, beside fsspec."""
_APART = ("gcsfs", "adlfs")  # large, and not of the extra
_TALKERS = (
    "fsspec",
    "s3fs",
    "gcsfs",
    "adlfs",
    "aiohttp",
    "asyncssh",
    "botocore",
    "azure",
    "google",
)
_WEB = frozenset(("http", "https"))
_HIDDEN = "***"
_ADDRESS = re.compile(rf"({'|'.join(PACKAGES)})://", re.IGNORECASE)
# In a text, and also as a path has it that swallowed a slash.
_IN_TEXT = re.compile(
    rf"\b((?:{'|'.join(PACKAGES)}):/{{1,2}})([^\s/?#'\"]*@)?([^\s?#'\"]*)([?#][^\s'\",;)]*)?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Address:
    """An address, in three parts, each as it was given.

    Attributes:
        scheme: in small letters.
        authority: bucket or host, with whoever logs in.
        path: without the slash before it.
        query: what stands behind a question mark, of the web alone.
    """

    scheme: str
    authority: str
    path: str
    query: str = ""

    @classmethod
    def parse(cls, text: str) -> Address:
        """Take an address apart; of :func:`is_address` texts only."""
        scheme, _, rest = text.partition("://")
        query = ""
        if scheme.lower() in _WEB:
            rest, _, _fragment = rest.partition("#")
            rest, _, query = rest.partition("?")
        authority, _, path = rest.partition("/")
        return cls(scheme.lower(), authority, path, query)

    @property
    def is_web(self) -> bool:
        """Whether it is one of the web, where there are no folders."""
        return self.scheme in _WEB

    @property
    def root(self) -> str:
        """All but the path, as it was given: not to be shown."""
        return f"{self.scheme}://{self.authority}"

    @property
    def full(self) -> str:
        """The address as it was given: not to be shown."""
        return f"{self.root}/{self.path}" + f"?{self.query}" * bool(self.query)

    @cached_property
    def shown_root(self) -> str:
        """The root, as it may be shown."""
        return redacted(self.root)

    def scrub(self, text: str) -> str:
        """Take what is secret of this address out of a text."""
        user, _, _ = self.authority.rpartition("@")
        secrets = {user, unquote(user), self.query, unquote(self.query)}
        for words in (user.partition(":")[2], *(one.partition("=")[2] for one in self._queries)):
            secrets |= {words, unquote(words)}
        if not self.is_web and ":" not in user:
            secrets.discard(user)
        for secret in sorted((one for one in secrets if len(one) > 2), key=len, reverse=True):
            text = text.replace(secret, _HIDDEN)
        return redacted(text)

    @property
    def _queries(self) -> list[str]:
        return self.query.split("&")

    @property
    def has_secrets(self) -> bool:
        """Whether it can't be shown as it was given."""
        return redacted(self.full) != self.full


def is_address(text: str) -> bool:
    """Whether a text is an address of a scheme that is read, rather than a path."""
    return _ADDRESS.match(text) is not None


def redacted(text: str) -> str:
    """Hide, in any text, what addresses in it keep secret.

    Of the web whoever logs in, elsewhere where there is a password; and all queries: any of them
    may be a signature.
    """
    return _IN_TEXT.sub(_hide, text) if ":/" in text else text


def _hide(found: re.Match[str]) -> str:
    scheme, user, path, query = found.groups()
    if user and (":" in user or scheme.partition(":")[0].lower() in _WEB):
        user = f"{_HIDDEN}@"
    return f"{scheme}{user or ''}{path}" + (f"{query[0]}{_HIDDEN}" if query else "")


def need_for(scheme: str) -> Any:
    """Import fsspec, and what it takes for a scheme; gives the latter.

    Raises:
        OptionError: one of them is not installed.
    """
    name = PACKAGES[scheme]
    for one in _TALKERS:  # what fails is said here, as an error of what was asked for
        logging.getLogger(one).addHandler(logging.NullHandler())
    try:
        importlib.import_module("fsspec")
        return importlib.import_module(name)
    except ImportError as error:
        raise OptionError(
            f"{scheme}:// takes fsspec and {name} ({error}); install them with: "
            "pip install 'fapm[remote]'" + f" {name}" * (name in _APART)
        ) from error
