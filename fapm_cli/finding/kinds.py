"""What a file is, by its first bytes: a picture, a drawing of fapm's, a bank, or neither."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass

from fapm_cli.errors import PictureError
from fapm_cli.stores.stored import AnyPath, StoredPath


@dataclass(frozen=True)
class Format:
    """What is to be known of a picture format.

    Attributes:
        endings: of its files, in lower case.
        start: a regular expression of its first 16 bytes.
        lossy: whether compression may change values; of WebP and TIFF each file tells.
        buffer_bytes: per px, what its decoder takes besides the pixels.
        plugin: the module that decodes it, where not every Pillow allowed has one.
    """

    endings: tuple[str, ...]
    start: bytes
    lossy: bool = False
    buffer_bytes: int = 0
    plugin: str | None = None


FORMATS = {  # by Pillow's names
    "PNG": Format((".png", ".apng"), rb"\x89PNG\r\n\x1a\n"),
    "JPEG": Format((".jpg", ".jpeg", ".jpe", ".jfif"), rb"\xff\xd8\xff", lossy=True),
    "BMP": Format((".bmp",), rb"BM.{4}\0{4}"),
    "TIFF": Format((".tif", ".tiff"), rb"II[*+]\0|MM\0[*+]"),
    "WEBP": Format((".webp",), rb"RIFF.{4}WEBP", buffer_bytes=4),
    "PPM": Format((".ppm", ".pgm", ".pbm", ".pnm"), rb"P[1-6]\s+[#\d]"),
    "JPEG2000": Format(
        (".jp2", ".j2k"),
        rb"\0{3}\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51",
        lossy=True,
        buffer_bytes=16,
    ),
    "GIF": Format((".gif",), rb"GIF8[79]a", buffer_bytes=8),
    "AVIF": Format(  # Pillow has it from 11.3 on
        (".avif",),
        rb".{4}ftypavi[fs]",
        lossy=True,
        buffer_bytes=8,
        plugin="PIL.AvifImagePlugin",
    ),
}
SUFFIXES = frozenset(ending for kind in FORMATS.values() for ending in kind.endings)
_START = re.compile(b"|".join(kind.start for kind in FORMATS.values()), re.DOTALL)

DRAWN_BY = "drawn by fapm"
"""What pictures that fapm draws name as their ``Software``, so that none is taken for a part's."""
A_BANK, A_DRAWING, A_REPORT = "a bank", f"a picture {DRAWN_BY}", "a report of fapm"
A_MODEL = "an exported bank"
_DRAWN_NAME = "_heatmap.png"
_MARKED = (".png", ".apng", ".tif", ".tiff")  # in these, texts stand before the pixels
_HEAD_BYTES = 512
_BANK_START = b'{"__metadata__":{"fapm-bank":'
_MODEL_START = b"\x12\x04fapm"  # ONNX's producer, behind two bytes of its version
_REPORT_TITLE = b"<title>fapm report</title>"


def format_of(start: bytes) -> str | None:
    """Which of :data:`FORMATS` a file is of, by its first 16 bytes; None for none of them."""
    for name, kind in FORMATS.items():
        if re.match(kind.start, start, re.DOTALL):
            return name
    return None


def left_out_as(path: AnyPath) -> str | None:
    """Say as what a file of a folder is left out, by its first bytes; None for a picture."""
    ending = path.suffix.lower()
    if path.name.lower().endswith(_DRAWN_NAME) or (ending in _MARKED and is_drawn(path)):
        return DRAWN_BY
    if ending:
        return None
    try:
        return None if _START.match(_first_bytes(path, 16)) else "without ending"
    except OSError:
        return None  # reading it will tell


def is_drawn(path: str | AnyPath) -> bool:
    """Tell by a text before its pixels whether fapm drew a picture."""
    with suppress(OSError):
        return DRAWN_BY.encode() in _first_bytes(path, _HEAD_BYTES)
    return False


def kind_of(path: AnyPath) -> str:
    """Say what a path is, by its first bytes, as the end of a sentence; empty if nothing known.

    Of what lies elsewhere only those are asked for that may be drawings, by their names.
    """
    if isinstance(path, StoredPath):
        return A_DRAWING if path.suffix.lower() in _MARKED and is_drawn(path) else ""
    if os.path.isdir(path):
        return "a folder"
    if not os.path.isfile(path):  # a pipe can be read but once
        return ""
    try:
        start = _first_bytes(path, _HEAD_BYTES)
    except OSError:
        return ""
    if start[8:].startswith(_BANK_START):
        return A_BANK
    if start[2:].startswith(_MODEL_START):
        return A_MODEL
    if DRAWN_BY.encode() in start:
        return A_DRAWING
    if _REPORT_TITLE in start:
        return A_REPORT
    if _START.match(start):
        return "a picture"
    if start.lstrip().startswith((b"{", b"[")):
        return "JSON"
    return "text" if re.fullmatch(rb"[\t\n\r -\xff]+", start) else ""


def _first_bytes(path: str | AnyPath, count: int) -> bytes:
    if isinstance(path, StoredPath):
        try:
            return path.head(count)
        except PictureError as error:
            raise OSError(str(error)) from error
    with open(path, "rb") as file:
        return file.read(count)
