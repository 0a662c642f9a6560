"""Vision transformers in torch: what :mod:`fapm_cli.network.vision_transformers` describes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fapm_cli.network.vision_transformers import (
    EMBEDDING,
    EPSILON,
    TransformerShape,
    stage_names,
)


class Tokens(nn.Module):
    """A stage whose output is tokens (B, 1 + h·w, C), the picture's own one first."""

    def __init__(self, shape: TransformerShape):
        """Take what it is a part of."""
        super().__init__()
        self.shape = shape

    def as_map(self, tokens: Tensor, height_px: int) -> Tensor:
        """Its tokens' directions as a map (B, C, h, w): each less its mean, of one length.

        Layers pass on sums that grow, in which few channels are much larger than the others.
        """
        directions = F.layer_norm(tokens[:, 1:].float(), (self.shape.width,), eps=EPSILON)
        rows = height_px // self.shape.place_px
        return directions.transpose(1, 2).reshape(len(tokens), self.shape.width, rows, -1)


class Embedding(Tokens):
    """From normalised px (B, 3, H, W) to tokens that know where they lie."""

    def __init__(self, shape: TransformerShape):
        """Make it, without values."""
        super().__init__(shape)
        self.patches = nn.Conv2d(3, shape.width, shape.patch_px, shape.patch_px)
        self.own = nn.Parameter(torch.empty(1, 1, shape.width))
        self.positions = nn.Parameter(torch.empty(1, 1 + shape.positions**2, shape.width))

    def forward(self, x: Tensor) -> Tensor:
        """Embed."""
        size = [side // self.shape.place_px for side in x.shape[-2:]]
        sides = [side * self.shape.patch_px for side in size]
        x = F.interpolate(x, sides, mode="bilinear", antialias=True)
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        own = (self.own + self.positions[:, :1]).expand(len(x), -1, -1)
        return torch.cat([own, tokens + self._spread(size)], dim=1)

    def _spread(self, size: list[int]) -> Tensor:
        """The positions' embeddings (1, h·w, C), resized as DINOv2 does."""
        side, width = self.shape.positions, self.shape.width
        grid = self.positions[:, 1:].transpose(1, 2).reshape(1, width, side, side)
        return F.interpolate(grid, size, mode="bicubic").flatten(2).transpose(1, 2)


class Layer(Tokens):
    """Attention among tokens, then a perceptron of each; each added with a scale of its own."""

    def __init__(self, shape: TransformerShape):
        """Make it, without values."""
        super().__init__(shape)
        width = shape.width
        self.norm1, self.norm2 = (nn.LayerNorm(width, eps=EPSILON) for _ in range(2))
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.scale1, self.scale2 = (nn.Parameter(torch.empty(width)) for _ in range(2))

    def forward(self, tokens: Tensor) -> Tensor:
        """Run it on (B, 1 + h·w, C)."""
        tokens = tokens + self.scale1 * self._attend(self.norm1(tokens))
        inner = F.gelu(self.widen(self.norm2(tokens)))
        out: Tensor = tokens + self.scale2 * self.narrow(inner)
        return out

    def _attend(self, tokens: Tensor) -> Tensor:
        shape = (*tokens.shape[:2], self.shape.heads, -1)
        query, key, value = (
            of(tokens).reshape(shape).transpose(1, 2) for of in (self.query, self.key, self.value)
        )
        found = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.output(found.transpose(1, 2).flatten(2))
        return out


def transformer_modules(shape: TransformerShape) -> dict[str, nn.Module]:
    """The stages as modules."""
    return {
        name: Embedding(shape) if name == EMBEDDING else Layer(shape) for name in stage_names(shape)
    }
