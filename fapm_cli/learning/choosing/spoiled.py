"""Spoiled pictures: good ones with a faint spot or a thin strip of elsewhere, in their own px.

CutPaste (Li et al., CVPR 2021), half of them half transparent, brighter or darker: what is hard to
see. They tell which of several ways to measure finds more, not how much a real defect stands out.
"""

from __future__ import annotations

import functools
import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fapm_cli.learning.scratch.picture_vectors import vector_fields, vectors_of
from fapm_cli.learning.scratch.workspace import IN_MEMORY, Job, Workspace
from fapm_cli.memory.vectors import Vectors, only
from fapm_cli.network.extraction import FeatureExtractor
from fapm_cli.scores.extents import FEWEST_PARTS

_SPOT_PX = 8, 24
_STRIP_PX = (2, 5), (20, 60)
_RIM = 10  # a tenth of each side stays as it is: chance things lie there in good pictures too
_CONTRAST = 25
_TRIES = 20
_OFTEN, _FEW = 4, 32  # each of the first few several times
_MOST = 128


def most_spoiled(num_pictures: int) -> int:
    """How many spoiled pictures are made of so many at most."""
    return min(num_pictures, _MOST) + (_OFTEN - 1) * min(num_pictures, _FEW)


def spoil(pixels: Tensor, number: int, roi: Tensor | None) -> Tensor:
    """Paste one piece of a picture elsewhere into it.

    Args:
        pixels: (H, W, 3) uint8.
        number: draws what is pasted, and where: the same for the same number.
        roi: (H, W) bool, what is inspected; None for all. The piece's centre lies in it, if one
            of 20 draws does.

    Returns:
        (H, W, 3) uint8, another picture.
    """
    draw = random.Random(number)
    height, width, _ = pixels.shape
    for _ in range(_TRIES):
        h, w = _sides(draw, height, width)
        top = draw.randint(height // _RIM, height - h - height // _RIM)
        left = draw.randint(width // _RIM, width - w - width // _RIM)
        if roi is None or roi[top + h // 2, left + w // 2]:
            break
    y, x = draw.randint(0, height - h), draw.randint(0, width - w)
    opacity = draw.choice((0.5, 1.0))
    piece = pixels[y : y + h, x : x + w].float() + draw.uniform(-_CONTRAST, _CONTRAST)
    spoiled = pixels.clone()
    place = spoiled[top : top + h, left : left + w]
    place.copy_(torch.lerp(place.float(), piece, opacity).clamp(0, 255))
    return spoiled


def _sides(draw: random.Random, height: int, width: int) -> tuple[int, int]:
    """Height and width of a spot, or of a strip that lies or stands; less in a small picture."""
    if draw.random() < 0.5:
        sides = draw.randint(*_SPOT_PX), draw.randint(*_SPOT_PX)
    else:
        sides = draw.randint(*_STRIP_PX[0]), draw.randint(*_STRIP_PX[1])
        sides = sides if draw.random() < 0.5 else sides[::-1]
    return min(sides[0], height // 2), min(sides[1], width // 2)


@dataclass(frozen=True)
class Spoiled:
    """Vectors of spoiled pictures.

    Attributes:
        vectors: per memory (N_p, M·N_v, C) float32.
        pictures: (M,) int64, the nominal picture that each was made of.
    """

    vectors: Sequence[Vectors]
    pictures: Tensor

    def of(self, kept: Sequence[int]) -> Spoiled:
        """Those of some of the pictures, which are numbered anew."""
        numbers = torch.full((int(self.pictures.max()) + 1,), -1)
        for position, number in enumerate(kept):
            if number < len(numbers):
                numbers[number] = position
        mine = (numbers[self.pictures] >= 0).nonzero().flatten()
        vectors = [only(one, mine.tolist(), len(self.pictures)) for one in self.vectors]
        return Spoiled(vectors, numbers[self.pictures[mine]])


class Spoiling:
    """Spoils pictures as they come, evenly over all, and extracts their vectors in the end."""

    def __init__(self, extractor: FeatureExtractor, workspace: Workspace = IN_MEMORY):
        """Use a backbone; vectors go to the workspace."""
        self._extractor, self._workspace = extractor, workspace
        self._step = 1
        self._waiting: list[tuple[int, Tensor, Tensor | None]] = []
        self._drawn: dict[int, list[Tensor]] = {}

    def take(
        self, pixels: Tensor, first: int, roi: Tensor | None, shown: Tensor | None = None
    ) -> None:
        """Spoil some of (B, H, W, 3) pictures, of which the numbers begin at ``first``, where they
        are inspected, and ``shown``, (B, H, W) bool; None for everywhere.

        It begins when there are enough to learn from. Whenever there are too many, every other one
        goes: which are left depends on nothing but the pictures.
        """
        for number, picture in enumerate(pixels):
            here = None if shown is None else shown[number]
            where = here if roi is None else roi if here is None else here & roi.to(here.device)
            self._waiting.append((first + number, picture, where))
        if self._waiting[-1][0] + 1 < FEWEST_PARTS:
            return
        for waiting in self._waiting:
            self._spoil(*waiting)
        self._waiting = []

    def _spoil(self, number: int, picture: Tensor, roi: Tensor | None) -> None:
        if number % self._step == 0:
            times = _OFTEN if number < _FEW else 1
            drawn = (spoil(picture, number * _OFTEN + i, roi) for i in range(times))
            self._drawn[number] = [*drawn]
        if len(self._drawn) > _MOST:
            self._step *= 2
            self._drawn = {n: own for n, own in self._drawn.items() if n % self._step == 0}

    def taken(self, on_each: Callable[[], None] = lambda: None) -> Spoiled | None:
        """All that were kept; None if too few pictures came. Tells ``on_each`` that it goes on."""
        if not self._drawn:
            return None
        numbers = [number for number, drawn in self._drawn.items() for _ in drawn]
        fields = vector_fields("features", self._extractor, 1)
        device = self._extractor.mean.device
        store = self._workspace.store("spoiled", fields, len(numbers), device)
        work = functools.partial(vectors_of, self._extractor)
        for number, pixels in enumerate(one for drawn in self._drawn.values() for one in drawn):
            digest = [hashlib.sha256(pixels.cpu().numpy().tobytes()).hexdigest()]
            store.known(number, digest)
            store.put(number, digest, {}, Job(work, pixels.unsqueeze(0)))
            on_each()
        store.finish(len(numbers))
        return Spoiled([store.vectors(field.name) for field in fields], torch.tensor(numbers))
