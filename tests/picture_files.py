"""Picture files that Pillow doesn't write, tag by tag and chunk by chunk."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from numpy.typing import NDArray
from PIL import Image

Array = NDArray[Any]
Tags = dict[int, list[int]]

PHOTOMETRIC, EXTRA, MAX_SAMPLE = 262, 338, 341


def tiff(*pages: tuple[Array, Tags]) -> bytes:
    """Write an uncompressed TIFF, tag by tag."""
    data = bytearray(b"II*\0\0\0\0\0")
    link = 4
    for samples, more in pages:
        bands = samples.shape[2] if samples.ndim == 3 else 1
        bits = 8 * samples.dtype.itemsize
        tags: Tags = {
            256: [samples.shape[1]],
            257: [samples.shape[0]],
            258: [bits] * bands,
            259: [1],
            PHOTOMETRIC: [2 if bands > 2 else 1],
            273: [len(data)],
            277: [bands],
            278: [samples.shape[0]],
            279: [samples.nbytes],
            **more,
        }
        data += samples.tobytes() + b"\0" * (samples.nbytes % 2)
        values = {}
        for tag, of in tags.items():
            packed = struct.pack(f"<{len(of)}I", *of)
            if len(of) > 1:
                data += packed
                packed = struct.pack("<I", len(data) - len(packed))
            values[tag] = packed
        struct.pack_into("<I", data, link, len(data))
        data += struct.pack("<H", len(tags))
        for tag in sorted(tags):
            data += struct.pack("<HHI", tag, 4, len(tags[tag])) + values[tag]
        link = len(data)
        data += b"\0\0\0\0"
    return bytes(data)


def png16(samples: Array, significant: bytes = b"", more: bytes = b"") -> bytes:
    """Write a PNG of 16-bit samples, with an sBIT chunk where one is given."""
    bands = samples.shape[2] if samples.ndim == 3 else 1
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[bands]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", samples.shape[1], samples.shape[0], 16, kind, 0, 0, 0)
    said = chunk(b"sBIT", significant) if significant else b""
    parts = (chunk(b"IHDR", header), said, more, chunk(b"IDAT", zlib.compress(rows)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def bmp32(rgba: Array) -> bytes:
    """Write a BMP of 32 bits a px with a mask for alpha."""
    height, width = rgba.shape[:2]
    body = rgba[::-1, :, [2, 1, 0, 3]].tobytes()
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + bytes(52)
    info = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3, len(body), 0, 0, 0, 0) + masks
    return b"BM" + struct.pack("<IHHI", 122 + len(body), 0, 0, 122) + info + body


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def ppm(samples: Array, kind: bytes, top: int) -> bytes:
    height, width = samples.shape[:2]
    return (
        kind
        + f"\n# a comment\n{width} {height}\n{top}\n".encode()
        + samples.astype(">u2" if top > 255 else "u1").tobytes()
    )
