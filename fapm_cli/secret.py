"""Secrets: the one rule by which passwords, keys and tokens are read.

The secret NAME is what the file holds that NAME_FILE names, or else what NAME itself does, both in
the environment. White space around it does not count.
"""

from __future__ import annotations

import os
from pathlib import Path

from fapm_cli.errors import OptionError


def secret(name: str, file: Path | None = None) -> str:
    """A secret; empty where none is given.

    Args:
        name: of the environment variable.
        file: that holds it, in place of what the environment says; None for none.

    Raises:
        OptionError: its file can't be read, or is empty.
    """
    file = file or secret_file(name)
    return os.environ.get(name, "").strip() if file is None else content_of(file)


def secret_file(name: str) -> Path | None:
    """The file that the environment names for a secret; None for none."""
    path = os.environ.get(f"{name}_FILE")
    return Path(path) if path else None


def content_of(file: Path) -> str:
    """What a file holds that is a secret.

    Raises:
        OptionError: it can't be read, or is empty.
    """
    try:
        text = file.read_text("utf-8").strip()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise OptionError(f"secret file {file} can't be read: {reason}") from error
    if not text:
        raise OptionError(f"secret file {file} is empty: write the secret into it")
    return text


def check_kept(file: Path) -> None:
    """Check that no other user of this machine may read a file.

    Raises:
        OptionError: others may, or it can't be read.
    """
    content_of(file)
    mode = file.stat().st_mode & 0o777
    if os.name == "posix" and mode & 0o004:
        raise OptionError(
            f"secret file {file} can be read by every user of this machine (mode {mode:04o}): "
            f"chmod o-r {file}"
        )
