"""The vectors of pictures: their fields, and what a backbone makes of px."""

from __future__ import annotations

import math

from torch import Tensor

from fapm_cli.learning.scratch.field import Field
from fapm_cli.learning.scratch.workspace import Tensors
from fapm_cli.memory.grid import to_patches
from fapm_cli.network.extraction import FeatureExtractor


def vectors_of(extractor: FeatureExtractor, pixels: Tensor, name: str = "features") -> Tensors:
    """The (N_p, B·N_v, C) vectors of (B, H, W, 3) pictures, by field."""
    maps = extractor(pixels.to(extractor.mean.device))
    grid = extractor.config.grid
    return {f"{name}.{j}": to_patches(one, grid) for j, one in enumerate(maps)}


def vector_fields(name: str, extractor: FeatureExtractor, views: int) -> list[Field]:
    """The fields of so many views of each picture, one a memory."""
    num_patches = math.prod(extractor.config.grid)
    return [
        Field(f"{name}.{j}", num_patches, views * (h * w // num_patches), (channels,))
        for j, (channels, h, w) in enumerate(extractor.map_shapes)
    ]
