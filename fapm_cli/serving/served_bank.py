"""A bank that is served: laid out, and laid out anew when its file changes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fapm_cli.api.bank import Bank, load
from fapm_cli.api.detector import Detector
from fapm_cli.api.result import Result
from fapm_cli.drift.drift import Drift
from fapm_cli.errors import BankError, FapmError
from fapm_cli.files import one_line
from fapm_cli.pictures.reading import Item
from fapm_cli.plain_values import utc_text

_Mark = tuple[int, int, int]
_PART = 1 << 20


@dataclass(frozen=True, eq=False)
class Loaded:
    """A bank's file, laid out.

    Attributes:
        detector: that judges by it.
        digest: SHA-256 of the file, in hexadecimal.
        since: when it was put in place, in seconds since 1970.
        follow: follows the drift of what is judged by it; None where nobody asked.
    """

    detector: Detector
    digest: str
    since: float
    follow: Drift | None
    _one: threading.Lock = field(default_factory=threading.Lock)
    _for_good: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _begin: list[Callable[[], None] | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Have pictures judged side by side for good, as ``fapm score`` does: with all cores for a
        lone one, scores would be rounded otherwise, and depend on what else is asked.
        """
        self._begin.append(self._for_good.enter_context(self.detector.engine.side_by_side()))

    def judge(self, item: Item) -> Result:
        """Judge one picture, in this thread."""
        if not self.detector.engine.one_by_one:
            with self._one:  # CUDA works on one after another
                return self.detector.judge(item)
        for begin in self._begin:
            if begin is not None:
                begin()
        return self.detector.judge(item)


class ServedBank:
    """A bank's file by a name, and what is loaded of it.

    Attributes:
        name: in addresses.
        path: of the file.
        fault: why what lies there now is not what is loaded; None where it is.
    """

    def __init__(self, name: str, path: Path, *, drift: bool = False):
        """Load it; where that fails :attr:`fault` says why, until a file comes that does."""
        self.name, self.path = name, path
        self.fault: str | None = None
        self._drift = drift
        self._loaded: Loaded | None = None
        self._seen = _mark_of(path)
        self._take(self._seen)

    @property
    def is_loaded(self) -> bool:
        """Whether it judges."""
        return self._loaded is not None

    @property
    def loaded(self) -> Loaded:
        """What judges now.

        Raises:
            BankError: nothing does: no file that was there could be loaded.
        """
        if self._loaded is None:
            raise BankError(self.fault or "")
        return self._loaded

    def to_json(self) -> dict[str, Any]:
        """What is to be known of it; all null, but for its fault, where nothing is loaded."""
        loaded, known = self._loaded, dict.fromkeys(("digest", "since", "threshold", "pictures"))
        if loaded is None:
            return {**known, "fault": self.fault}
        thresholds, learnt = loaded.detector.thresholds, loaded.detector.learnt
        return {
            "digest": loaded.digest,
            "since": utc_text(loaded.since, "seconds"),
            "threshold": None if thresholds is None else thresholds.score,
            "pictures": len(learnt.pictures),
            "fault": self.fault,
        }

    def look(self) -> bool | None:
        """Look whether the file is another, and put that in place.

        Returns:
            Whether that was done; None where nothing new lies there. A file is taken once two looks
            find it the same, so that one that is being written is left in peace.
        """
        seen = _mark_of(self.path)
        if seen != self._seen:
            self._seen = seen
            return None
        return None if seen == self._mark else self._take(seen)

    def _take(self, mark: _Mark | None) -> bool:
        """Load what lies there, or say why not: then what is loaded goes on, if anything is."""
        self._mark = mark
        try:
            if mark is None and self._loaded is not None:
                raise BankError(f"bank {self.path} is gone")
            self._loaded = self._load()
        except Exception as error:  # whatever it is, the bank that is there goes on
            said = (
                str(error) if isinstance(error, FapmError) else f"{type(error).__name__}: {error}"
            )
            self.fault = one_line(said)
            return False
        self.fault = None
        return True

    def _load(self) -> Loaded:
        """Read a copy of the file, so that whoever writes on it writes on nothing that is read."""
        with tempfile.TemporaryDirectory(prefix="fapm-", ignore_cleanup_errors=True) as folder:
            copy = Path(folder, "bank.st")
            try:
                shutil.copyfile(self.path, copy)
            except OSError:
                load(self.path)  # says what is wrong
                raise
            try:
                bank = load(copy)
            except BankError as error:
                raise BankError(str(error).replace(str(copy), str(self.path))) from error
            digest = _digest(copy)
        detector = bank.detector()
        follow = Bank(detector.learnt).drift() if self._drift else None
        loaded = Loaded(detector, digest, time.time(), follow)
        _try_out(loaded, self.path)
        return loaded


def _mark_of(path: Path) -> _Mark | None:
    """What tells one content of a file from another; None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(_PART):
            digest.update(part)
    return digest.hexdigest()


def _try_out(loaded: Loaded, path: Path) -> None:
    """Judge a picture: the first one takes long, and shows whether the bank judges.

    Raises:
        BankError: it does not.
    """
    black = np.zeros((*loaded.detector.learnt.config.preprocessing.resize_px, 3), np.uint8)
    result = loaded.judge(black)
    if result.error is not None:
        raise BankError(f"bank {path} can't judge: {result.error}")
