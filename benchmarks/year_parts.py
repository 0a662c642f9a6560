"""For `benchmarks/year.py`: a category's parts, pictures as the year goes on, decisions."""

from __future__ import annotations

import functools
import json
import random
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fapm_cli.evaluation.datasets import read_category
from fapm_cli.stores.stored import AnyPath

EXPOSURE, BLUR_PX, FLICKER, NOISE = 0.75, 0.75, 0.01, 1.0
NUM_BANK, NUM_HELD = 50, 50

Shot = NDArray[np.uint8]
Exact = NDArray[np.float32]


@dataclass
class Parts:
    """Files of a category: what makes the bank, the line's, and what is held out."""

    bank: list[AnyPath]
    good: list[AnyPath]
    bad: list[AnyPath]
    held_good: list[AnyPath]
    held_bad: list[AnyPath]


@functools.cache
def taken(path: AnyPath) -> Exact:
    """A picture as it is, (H, W, 3) float32."""
    return np.asarray(Image.open(path.open("rb")).convert("RGB"), np.float32)


def shoot(path: AnyPath, age: float, size: int, chance: np.random.Generator) -> Shot:
    """A picture of a part, taken after so much of the year, 0 to 1."""
    sharp = taken(path)
    sigma = BLUR_PX * min(sharp.shape[:2]) / size * age
    levels = cv2.GaussianBlur(sharp, (0, 0), max(sigma, 0.01))
    levels = levels * np.float32((1 - (1 - EXPOSURE) * age) * chance.normal(1, FLICKER))
    levels = levels + NOISE * chance.standard_normal(sharp.shape, np.float32)
    return np.asarray(np.clip(np.rint(levels), 0, 255), np.uint8)


def split(root: Path, chance: random.Random) -> Parts:
    """Split a category at random."""
    category = read_category(root)
    good = [*category.train, *(one.path for one in category.test if one.defect is None)]
    bad = [one.path for one in category.defective]
    chance.shuffle(good)
    chance.shuffle(bad)
    ends = NUM_BANK, NUM_BANK + NUM_HELD
    half = len(bad) // 2
    return Parts(good[: ends[0]], good[ends[1] :], bad[:half], good[ends[0] : ends[1]], bad[half:])


class Decisions:
    """An operator's decisions, with the pictures, as `fapm serve --keep` writes them."""

    def __init__(self, folder: Path):
        """Begin with none."""
        self.file, self._folder = folder / "decisions.jsonl", folder
        self._lines: list[str] = []

    def decide(self, shot: Shot, is_bad: bool) -> None:
        """Say what a part is."""
        name = f"{len(self._lines):04}.png"
        Image.fromarray(shot).save(self._folder / name, compress_level=1)
        line = {"path": name, "decision": "defect" if is_bad else "good"}
        self._lines.append(json.dumps(line))
        self.file.write_text("\n".join([*self._lines, ""]))

    def empty(self) -> None:
        """Begin anew, as the file was moved away."""
        self._lines.clear()
        self.file.write_text("")
