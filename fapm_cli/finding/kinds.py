"""What a file is, by its first bytes: a picture, a drawing of fapm's, a bank, or neither."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

# Pillow's name of each format that is read: its endings, and what its first 16 bytes are like.
FORMATS: dict[str, tuple[tuple[str, ...], bytes]] = {
    "PNG": ((".png", ".apng"), rb"\x89PNG\r\n\x1a\n"),
    "JPEG": ((".jpg", ".jpeg", ".jpe", ".jfif"), rb"\xff\xd8\xff"),
    "BMP": ((".bmp",), rb"BM.{4}\0{4}"),
    "TIFF": ((".tif", ".tiff"), rb"II[*+]\0|MM\0[*+]"),
    "WEBP": ((".webp",), rb"RIFF.{4}WEBP"),
    "PPM": ((".ppm", ".pgm", ".pbm", ".pnm"), rb"P[1-6]\s+[#\d]"),
    "JPEG2000": ((".jp2", ".j2k"), rb"\0{3}\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"),
    "GIF": ((".gif",), rb"GIF8[79]a"),
    "AVIF": ((".avif",), rb".{4}ftypavi[fs]"),
}
SUFFIXES = frozenset(suffix for suffixes, _ in FORMATS.values() for suffix in suffixes)
_START = re.compile(b"|".join(start for _, start in FORMATS.values()), re.DOTALL)

DRAWN_BY = "drawn by fapm"
"""What pictures that fapm draws name as their ``Software``, so that none is taken for a part's."""
A_BANK, A_DRAWING, A_REPORT = "a bank", f"a picture {DRAWN_BY}", "a report of fapm"
_DRAWN_NAME = "_heatmap.png"
_MARKED = (".png", ".apng", ".tif", ".tiff")  # in these, texts stand before the pixels
_HEAD_BYTES = 512
_BANK_START = b'{"__metadata__":{"fapm-bank":'
_REPORT_TITLE = b"<title>fapm report</title>"


def left_out_as(path: Path) -> str | None:
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


def is_drawn(path: str | Path) -> bool:
    """Tell by a text before its pixels whether fapm drew a picture."""
    with suppress(OSError):
        return DRAWN_BY.encode() in _first_bytes(path, _HEAD_BYTES)
    return False


def kind_of(path: Path) -> str:
    """Say what a path is, by its first bytes, as the end of a sentence; empty if nothing known."""
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
    if DRAWN_BY.encode() in start:
        return A_DRAWING
    if _REPORT_TITLE in start:
        return A_REPORT
    if _START.match(start):
        return "a picture"
    if start.lstrip().startswith((b"{", b"[")):
        return "JSON"
    return "text" if re.fullmatch(rb"[\t\n\r -\xff]+", start) else ""


def _first_bytes(path: str | Path, count: int) -> bytes:
    with open(path, "rb") as file:
        return file.read(count)
