"""Selecting: a memory's keys among the vectors of all pictures (§2.2)."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from fapm_cli.bank.bank import Bank, LayerMemory
from fapm_cli.config import BankConfig
from fapm_cli.learning.scratch.workspace import IN_MEMORY, Tensors, Workspace
from fapm_cli.learning.turned import angles, cells_before, shown_with_copies
from fapm_cli.memory.coreset import Coreset, num_keys, side_by_side
from fapm_cli.memory.grid import map_cells
from fapm_cli.memory.shown import coreset_of_shown
from fapm_cli.memory.vectors import Rows, Vectors, patches_of

MIN_KEYS = 4


def what_is_known(coresets: Sequence[Coreset]) -> dict[str, Tensor]:
    """Counts, radii² and widened flags of all patches' coresets, by their names in a memory."""
    return {
        "key_counts": torch.tensor([len(c.indices) for c in coresets]),
        "radius_sq": torch.tensor([c.radius_sq for c in coresets], dtype=torch.float32),
        "widened": torch.tensor([c.widened for c in coresets]),
    }


def num_full(bank: Bank) -> int:
    """How many patches have all the keys that ``max_keys`` lets them, and would have more."""
    config, full = bank.config, 0
    for memory, (height, width) in zip(bank.memories, bank.map_sizes, strict=True):
        of_each = height * width // len(memory.key_counts)
        num_vectors = len(bank.pictures) * config.num_views * of_each
        k = num_keys(num_vectors, config.coreset_ratio, MIN_KEYS, config.max_keys)
        if k < num_keys(num_vectors, config.coreset_ratio, MIN_KEYS):  # else the share ends it
            full += int((memory.key_counts == 2 * k).sum())
    return full


def _gather(vectors: Tensor, indices: Tensor, counts: Tensor) -> Tensor:
    """(ΣK_i, C) keys of (N_p, n, C) vectors."""
    patch = torch.repeat_interleave(torch.arange(len(counts)), counts)
    return vectors[patch.to(vectors.device), indices.to(vectors.device)]


def _keys_of(
    vectors: Vectors,
    copies: Vectors,
    config: BankConfig,
    patches: tuple[int, int, Tensor | None],
) -> Tensors:
    """Keys, their numbers, and what is known of the coresets of some patches: from the first to the
    end, and which of their vectors are shown.
    """
    first, end, _ = patches
    coresets = _coresets_of(vectors, copies, config, patches)
    indices, known = torch.cat([c.indices for c in coresets]), what_is_known(coresets)
    keys = _gather(_both(vectors, copies, first, end), indices, known["key_counts"])
    return {"keys": keys, "indices": indices, **known}


def _coresets_of(
    vectors: Vectors,
    copies: Vectors,
    config: BankConfig,
    patches: tuple[int, int, Tensor | None],
) -> list[Coreset]:
    """The coresets of some patches; what was read for them is no longer held then."""
    first, end, shown = patches
    stored = not isinstance(vectors, Tensor)
    own = _both(vectors, copies, first, end)
    if shown is not None and not stored and not copies.shape[1]:
        own = own.clone()  # what is not shown is changed, and others need it as it is
    return coreset_of_shown(
        own,
        shown,
        config.coreset_ratio,
        config.spread_threshold if config.adaptive else None,
        MIN_KEYS,
        config.max_keys,
        spend=stored,  # they are read again: to hold all of a patch's twice takes more
    )


def _both(vectors: Vectors, copies: Vectors, first: int, end: int) -> Tensor:
    """(end - first, n, C) of some patches, those of turned copies behind those of pictures."""
    own = patches_of(vectors, first, end)
    return torch.cat([own, patches_of(copies, first, end)], dim=1) if copies.shape[1] else own


def select_keys(
    vectors: Vectors,
    copies: Vectors,
    config: BankConfig,
    map_size: tuple[int, int],
    judged: Rows | None,
    workspace: Workspace = IN_MEMORY,
) -> LayerMemory:
    """Select keys among what pictures and their turned copies show; other vectors are replaced.

    Args:
        vectors: (N_p, N·N_v, C) float32 of the pictures.
        copies: (N_p, N·V·N_v, C) of their turned copies, picture by picture.
        config: how many to select.
        map_size: h, w of the memory's map.
        judged: (N, H, W) bool over the input, what is learnt from; None for all.
        workspace: where keys are kept, some patches' at a time.
    """
    (num_patches, num_vectors, channels), num_copies = vectors.shape, len(angles(config.turn))
    shown = None
    if judged is not None:
        shown = shown_with_copies(judged, config.turn, map_size, config.grid)
    together = side_by_side(num_vectors + copies.shape[1], channels)
    groups = {}
    for first in range(0, num_patches, together):
        end = min(first + together, num_patches)
        groups[f"{first}"] = first, end, None if shown is None else shown[first:end]
    work = functools.partial(_keys_of, vectors, copies, config)
    found = [*workspace.steps(work, groups)]
    known = {name: torch.cat([group[name] for group in found]) for name in found[0]}
    keys, indices = known.pop("keys").to(vectors.device), known.pop("indices")
    per_picture = map_size[0] * map_size[1] // num_patches
    of_patches = torch.split(indices, known["key_counts"].tolist())
    cells = torch.cat(
        [map_cells(own, i, config.grid, *map_size) for i, own in enumerate(of_patches)]
    )
    pictures = indices // per_picture
    if num_copies:
        turned, views = indices >= num_vectors, (indices - num_vectors) // per_picture
        pictures = torch.where(turned, views // num_copies, pictures)
        before = cells_before(cells, views % num_copies, config.turn, map_size)
        cells = torch.where(turned, before, cells)
    return LayerMemory(
        keys=keys,
        key_pictures=pictures.int(),
        key_cells=cells.int(),
        **known,
    )
