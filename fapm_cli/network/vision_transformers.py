"""Vision transformers (Dosovitskiy et al. 2021), as plain descriptions: DINOv2's.

DINOv2 (Oquab et al. 2023) was trained without labels, and its features tell parts of pictures apart
that no class names. This file imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TransformerShape:
    """What tells one of them from another.

    Attributes:
        width: channels C of a token.
        depth: layers.
        heads: of each one's attention.
        patch_px: side of a picture's patch that becomes a token.
        positions: a side of the grid of them whose embeddings were learnt.
        place_px: side of the input's px that are resized to such a patch: sides are multiples of
            it, as of a grid patch's.
    """

    width: int
    depth: int
    heads: int
    patch_px: int = 14
    positions: int = 37
    place_px: int = 16


EMBEDDING = "embedding"
TRANSFORMERS = {
    "dinov2_small": TransformerShape(384, 12, 6),
    "dinov2_base": TransformerShape(768, 12, 12),
}
EPSILON = 1e-6  # of every norm


def stage_names(shape: TransformerShape) -> tuple[str, ...]:
    """The embedding and each layer, of which every one can be tapped."""
    return (EMBEDDING, *(f"layer{i}" for i in range(1, shape.depth + 1)))


_PARTS = {
    "query": "attention.attention.query",
    "key": "attention.attention.key",
    "value": "attention.attention.value",
    "output": "attention.output.dense",
    "scale1": "layer_scale1.lambda1",
    "scale2": "layer_scale2.lambda1",
    "widen": "mlp.fc1",
    "narrow": "mlp.fc2",
}
_EMBEDDING = {
    "own": "cls_token",
    "positions": "position_embeddings",
    "patches": "patch_embeddings.projection",
}


def transformer_file_name(key: str) -> str:
    """Name a weight as the files of Hugging Face's Dinov2Model do."""
    stage, part, *kind = key.split(".")
    if stage == EMBEDDING:
        return ".".join(["embeddings", _EMBEDDING[part], *kind])
    number = int(stage.removeprefix("layer")) - 1
    return ".".join([f"encoder.layer.{number}", _PARTS.get(part, part), *kind])
