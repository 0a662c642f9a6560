"""Made-up parts: a disc with a hole on a plate, each part's own; and shots of them, noise apart."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

SIDE = 128


def make_part(number: int) -> Tensor:
    """Draw a part, (128, 128, 3) float32: place, size, tone and grain are its own."""
    rng = np.random.default_rng(number)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    away = np.hypot(rows - rng.normal(64, 3), columns - rng.normal(64, 3))
    picture = np.full((SIDE, SIDE, 3), (90.0, 100.0, 110.0))
    picture[away < rng.normal(36, 1.5)] = rng.normal(180, 12)
    picture[away < 11] = 60
    picture += rng.normal(0, 3, picture.shape)
    return torch.from_numpy(picture).float()


def take_shot(part: Tensor, seed: int, noise: float = 2.0) -> Tensor:
    """Take a picture of a part, (H, W, 3) uint8, with the noise of a camera."""
    generator = torch.Generator().manual_seed(seed)
    shot = part + noise * torch.randn(part.shape, generator=generator)
    return shot.round().clamp(0, 255).to(torch.uint8)


def take_shots(numbers: range, shots: int) -> Tensor:
    """Take some shots each of some parts, one part's after another's."""
    parts = [(number, make_part(number)) for number in numbers]
    return torch.stack([take_shot(part, 1000 * n + k) for n, part in parts for k in range(shots)])
