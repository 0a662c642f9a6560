"""For `benchmarks/soak.py`: files that take turns as one bank, good ones and broken ones."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field
from pathlib import Path

import fapm_cli as fapm

SAMPLES = Path(__file__).parents[1] / "samples"


@dataclass
class Variants:
    """Files that take turns as one bank, and what each says of every picture.

    Attributes:
        path: of the bank.
        files: good ones.
        scores: of the pictures, by any of them.
    """

    path: Path
    files: list[bytes] = field(default_factory=list)
    scores: list[set[float]] = field(default_factory=list)


def variants(path: Path, parts: list[bytes], size: int) -> Variants:
    """Build two banks that differ, and have each judge all pictures."""
    good = sorted((SAMPLES / "good").glob("*.jpg"))
    bank = Variants(path, scores=[set() for _ in parts])
    for chosen in (good, good[:24]):
        built = fapm.build(chosen, size=size)
        built.save(path)
        bank.files.append(path.read_bytes())
        detector = fapm.load(path).detector()
        for at, data in enumerate(parts):
            file = path.with_suffix(".jpg")
            file.write_bytes(data)
            bank.scores[at].add(detector(file).record["score"])
    put(path, bank.files[0])
    return bank


def put(path: Path, data: bytes) -> None:
    """Put a file in place of another, as a whole."""
    beside = path.with_suffix(".new")
    beside.write_bytes(data)
    os.replace(beside, path)


def broken(number: int, good: bytes) -> bytes:
    """One of five kinds of files that are no bank."""
    kinds = (
        b"",
        good[: len(good) // 2],
        random.Random(number).randbytes(100_000),
        (2**62).to_bytes(8, "little") + good[8:],
        good[:200] + bytes(len(good) - 200),
    )
    return kinds[number % len(kinds)]
