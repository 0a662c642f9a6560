"""Files: written whole or not at all; where large ones go for a while; how names are shown."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from fapm_cli.errors import OutputError


def large_temporary() -> Path:
    """Where large temporary files go: what is named so, else a disk, where /tmp may be memory."""
    named = any(os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP"))
    large = Path("/var/tmp")
    usable = not named and large.is_dir() and os.access(large, os.W_OK)
    return large if usable else Path(tempfile.gettempdir())


def write_atomically(path: Path, data: bytes | Iterable[bytes]) -> None:
    """Write a file whole or not at all; what is too large for memory comes in parts.

    Raises:
        OutputError: the folder is missing or read-only, the disk is full, or the like.
    """
    with written_atomically(path) as beside, beside.open("wb") as file:
        file.writelines([data] if isinstance(data, bytes) else data)


@contextmanager
def written_atomically(path: Path) -> Iterator[Path]:
    """Give the name of a file beside a path, which takes its place once it is written.

    Raises:
        OutputError: as :func:`write_atomically`.
    """
    temporary = None
    path = path.resolve()  # a link stays one
    try:
        if path.exists() and not path.is_file():
            raise OutputError(f"can't write {path}: it is no regular file; nothing was changed")
        handle, temporary = tempfile.mkstemp(prefix=".fapm-", dir=path.parent)
        os.close(handle)
        yield Path(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        raise OutputError(f"can't write {path}: {error.strerror}; nothing was changed") from error
    finally:
        if temporary is not None:
            with suppress(FileNotFoundError):
                os.unlink(temporary)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def one_line(text: str) -> str:
    """Escape what would break a line or can't be shown: names of files may hold anything."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def escaped(name: str | Path) -> str:
    """Escape a name as text output shows it: within a line, and such that it can be read back.

    What can't be shown is written as in a Python string (``\\n``, ``\\x1b``, ``\\udcff`` for a byte
    that is no text), and so, where names may hold them, are backslashes (``\\\\``).
    """
    text = str(name)
    return one_line(text if os.sep == "\\" else text.replace("\\", "\\\\"))


def name_first(names: Sequence[str], shown: int = 3) -> str:
    """Name the first of some, and say how many more there are."""
    more = len(names) - shown
    return ", ".join(names[:shown]) + f" and {more} more" * (more > 0)


def name_suspects(suspects: Sequence[tuple[str, float]]) -> str:
    """Name the first of the pictures that look unlike the rest, with how many σ each is off."""
    return name_first([f"{escaped(name)} ({z:.1f})" for name, z in suspects], 8)
