"""Requests that nobody who means well sends, for `benchmarks/serve.py`."""

from __future__ import annotations

import json
import random
import re
import zlib


def malformed(chance: random.Random, good: bytes) -> bytes:
    """A request that nobody who means well sends."""
    path = "/banks/bank/score"
    kind = chance.randrange(10)
    if kind == 0:
        return chance.randbytes(chance.randrange(1, 4000)) + b"\r\n\r\n"
    if kind == 1:
        return request(path, chance.randbytes(chance.randrange(3000)), "image/png")
    if kind == 2:
        return request(path, bomb(chance.choice([8000, 20_000, 65_000])), "image/png")
    if kind == 3:
        name = chance.choice(["../../etc/passwd", "/etc/passwd", "link", "a\0b", "..", "x" * 9000])
        return request(path, json.dumps({"path": name}).encode(), "application/json")
    if kind == 4:
        return request(path, good, chance.choice(["text/html", "multipart/form-data", "a", "/"]))
    if kind == 5:
        return request(path, good, "image/jpeg")[: chance.randrange(20, 500)]  # and no more comes
    if kind == 6:
        return request(path, good, "image/jpeg", f"X: {'x' * chance.randrange(10**4, 10**6)}")
    if kind == 7:
        cut = good[: chance.randrange(12, len(good) - 2000)]
        return request(path, cut, "image/jpeg")
    if kind == 8:
        where = chance.choice(
            ["/%2e%2e/%2e%2e/etc/passwd", "/banks/%00/score", "//", "/?" + "a" * 9999]
        )
        return request(where, b"", "image/jpeg")
    turned = bytearray(good)
    for _ in range(20):
        turned[chance.randrange(12, len(turned))] = chance.randrange(256)
    return request(path, bytes(turned), "image/jpeg", "Content-Length: 99999999999")


def is_slow(data: bytes) -> bool:
    """Whether a request never comes to its end."""
    head, end, body = data.partition(b"\r\n\r\n")
    declared = re.search(rb"Content-Length: (\d{1,6})(?!\d)", head)
    missing = declared is not None and int(declared[1]) > len(body)
    return data.startswith(b"POST ") and (not end or missing)


def request(path: str, body: bytes, kind: str, *lines: str) -> bytes:
    """A request as bytes."""
    head = [f"POST {path} HTTP/1.1", "Host: localhost", "Connection: close", *lines]
    if not any(line.startswith("Content-Length") for line in lines):
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*head, f"Content-Type: {kind}", "", ""]).encode() + body


def bomb(side: int) -> bytes:
    """A picture of side x side px, black, in some kB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        code = zlib.crc32(kind + data)
        return len(data).to_bytes(4, "big") + kind + data + code.to_bytes(4, "big")

    rows = zlib.compress(bytes(side // 8 + 1) * min(side, 20_000))
    size = side.to_bytes(4, "big") * 2 + b"\1\0\0\0\0"
    head = chunk(b"IHDR", size) + chunk(b"IDAT", rows)
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IEND", b"")
