"""What lies on disk: copies of the last pictures, and the operator's decisions."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import cv2

from fapm_cli.errors import OptionError, OutputError, PictureError
from fapm_cli.files import write_atomically
from fapm_cli.finding.kinds import FORMATS, format_of
from fapm_cli.finding.labels import DECISIONS
from fapm_cli.own_folder import OwnFolder
from fapm_cli.pictures.picture import Encoded, Frame, read_bytes
from fapm_cli.pictures.reading import Item
from fapm_cli.serving.history import Judgement

DECISIONS_FILE = "decisions.jsonl"
_LAST, _DECIDED, _OWN = "last", "decided", "fapm-serve"


class Keep:
    """A folder with one folder a bank: ``last/``, ``decided/`` and ``decisions.jsonl``.

    Attributes:
        lasting: whether it is there after the end, so that decisions can be kept.
    """

    def __init__(self, folder: Path | None, banks: Iterable[str]):
        """Make the folders; copies that an earlier run left are taken away, decisions stay.

        Args:
            folder: where; None for one that goes away at the end.
            banks: their names.

        Raises:
            OutputError: it can't be written.
        """
        self.lasting = folder is not None
        try:
            own = None
            if folder is None:
                own = OwnFolder(_OWN, Path(tempfile.gettempdir()))
                folder = own.path
            self._own, self._folder = own, folder
            for bank in banks:
                shutil.rmtree(self._folder / bank / _LAST, ignore_errors=True)
                for name in (_LAST, *[_DECIDED] * self.lasting):
                    (self._folder / bank / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"can't keep pictures in {folder}: {error.strerror}") from error

    def write(self, bank: str, id: str, data: bytes) -> Path:
        """Keep a copy of a picture's file.

        Raises:
            OSError: the disk is full, or the like.
        """
        path = self._folder / bank / _LAST / f"{id}{ending_of(data)}"
        try:
            path.write_bytes(data)
        except OSError:
            with suppress(OSError):
                path.unlink()
            raise
        return path

    def drop(self, files: Iterable[Path]) -> None:
        """Take copies away."""
        for file in files:
            with suppress(OSError):
                file.unlink()

    def decide(self, one: Judgement, decision: str) -> None:
        """Write a decision down, with the picture that it is of: on disk when this returns.

        Args:
            one: the picture; its copy is still there.
            decision: one of :data:`fapm_cli.finding.labels.DECISIONS`.

        Raises:
            OptionError: nothing is kept, or the decision is none.
            OutputError: it can't be written; none was made then.
        """
        if decision not in DECISIONS:
            raise OptionError(f"decision {decision!r}: use one of {', '.join(DECISIONS)}")
        if not self.lasting:
            raise OptionError("decisions are kept with --keep FOLDER alone")
        assert one.file is not None
        folder = self._folder / one.bank
        picture = Path(_DECIDED, one.file.name)
        line = {
            "path": picture.as_posix(),
            "decision": decision,
            "time": one.to_json()["time"],
            "score": one.record.get("score"),
            "verdict": one.record.get("verdict"),
            "judged_as": one.record["path"],
        }
        try:
            if not (folder / picture).exists():
                write_atomically(folder / picture, one.file.read_bytes())
            append_line(folder / DECISIONS_FILE, json.dumps(line))
        except OSError as error:
            raise OutputError(f"can't keep the decision: {error.strerror}") from error

    def close(self) -> None:
        """Take the folder away, if it was for this run alone."""
        if self._own is not None:
            self._own.remove()


def ending_of(data: bytes) -> str:
    """The ending that a picture's file should have."""
    kind = format_of(data[:16])
    return FORMATS[kind].endings[0] if kind is not None else ""


def in_memory(item: Item) -> Item:
    """A picture with its file's bytes in memory, so that what is judged is what is kept.

    One that can't be read is left as it is: who judges it says why.
    """
    if not isinstance(item, Path):
        return item
    try:
        return Encoded(item, read_bytes(item))
    except PictureError:
        return item


def file_of(item: Item, *, good: bool) -> bytes | None:
    """The bytes of a file that shows a picture as it was judged; None where there is none.

    Args:
        item: the picture.
        good: whether it could be judged; of a frame that could not, nothing is kept.
    """
    if isinstance(item, Encoded):
        return item.data
    if isinstance(item, Frame) and good:
        written, data = cv2.imencode(".png", item.bgr, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        return data.tobytes() if written else None
    return None


def append_line(path: Path, text: str) -> None:
    """Add a line to a file, at once and on disk; what was torn off by a crash goes away first.

    Raises:
        OSError: it can't be written.
    """
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        _cut_torn_line(handle)
        data = f"{text}\n".encode()
        if os.write(handle, data) != len(data):  # the disk is full: the rest is cut next time
            raise OSError(28, "no space left on device")
        os.fsync(handle)
    finally:
        os.close(handle)


def _cut_torn_line(handle: int) -> None:
    size = os.lseek(handle, 0, os.SEEK_END)
    if size == 0:
        return
    os.lseek(handle, max(size - (1 << 16), 0), os.SEEK_SET)
    tail = os.read(handle, 1 << 16)
    if not tail.endswith(b"\n"):
        os.ftruncate(handle, size - len(tail) + tail.rfind(b"\n") + 1)
