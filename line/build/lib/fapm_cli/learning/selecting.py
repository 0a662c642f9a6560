"""Selecting: a memory's keys among the vectors of all pictures (§2.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fapm_cli.bank.bank import LayerMemory
from fapm_cli.config import BankConfig
from fapm_cli.learning.turned import angles, cells_before, shown_with_copies
from fapm_cli.memory.coreset import Coreset
from fapm_cli.memory.grid import map_cells
from fapm_cli.memory.shown import coreset_of_shown

MIN_KEYS = 4


def what_is_known(coresets: Sequence[Coreset]) -> dict[str, Tensor]:
    """Counts, radii² and widened flags of all patches' coresets, by their names in a memory."""
    return {
        "key_counts": torch.tensor([len(c.indices) for c in coresets]),
        "radius_sq": torch.tensor([c.radius_sq for c in coresets], dtype=torch.float32),
        "widened": torch.tensor([c.widened for c in coresets]),
    }


def _gather(vectors: Tensor, indices: Tensor, counts: Tensor) -> Tensor:
    """(ΣK_i, C) keys of (N_p, n, C) vectors."""
    patch = torch.repeat_interleave(torch.arange(len(counts)), counts)
    return vectors[patch.to(vectors.device), indices.to(vectors.device)]


def select_keys(
    vectors: Tensor,
    copies: Tensor,
    config: BankConfig,
    map_size: tuple[int, int],
    judged: Tensor | None,
) -> LayerMemory:
    """Select keys among what pictures and their turned copies show; other vectors are replaced.

    Args:
        vectors: (N_p, N·N_v, C) float32 of the pictures.
        copies: (N_p, N·V·N_v, C) of their turned copies, picture by picture.
        config: how many to select.
        map_size: h, w of the memory's map.
        judged: (N, H, W) bool over the input, what is learnt from; None for all.
    """
    num_vectors, num_copies = vectors.shape[1], len(angles(config.turn))
    if num_copies:
        vectors = torch.cat([vectors, copies], dim=1)
    threshold = config.spread_threshold if config.adaptive else None
    shown = None
    if judged is not None:
        shown = shown_with_copies(judged, config.turn, map_size, config.grid)
    coresets = coreset_of_shown(vectors, shown, config.coreset_ratio, threshold, MIN_KEYS)
    indices, known = torch.cat([c.indices for c in coresets]), what_is_known(coresets)
    per_picture = map_size[0] * map_size[1] // len(coresets)
    cells = torch.cat(
        [map_cells(c.indices, i, config.grid, *map_size) for i, c in enumerate(coresets)]
    )
    pictures = indices // per_picture
    if num_copies:
        turned, views = indices >= num_vectors, (indices - num_vectors) // per_picture
        pictures = torch.where(turned, views // num_copies, pictures)
        before = cells_before(cells, views % num_copies, config.turn, map_size)
        cells = torch.where(turned, before, cells)
    return LayerMemory(
        keys=_gather(vectors, indices, known["key_counts"]),
        key_pictures=pictures.int(),
        key_cells=cells.int(),
        **known,
    )
