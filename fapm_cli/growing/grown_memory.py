"""Candidates: what a grown patch memory's keys are picked from, keys of before and new vectors."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fapm_cli.bank.bank import LayerMemory
from fapm_cli.config import BankConfig
from fapm_cli.learning.selecting import MIN_KEYS, what_is_known
from fapm_cli.memory.coreset import Coreset, num_keys
from fapm_cli.memory.covering import cover
from fapm_cli.memory.grid import map_cells


@dataclass(frozen=True)
class Candidates:
    """What the keys of a grown patch memory are picked from.

    Attributes:
        vectors: (n, C) float32, keys of before and new vectors.
        pictures: (n,) int32, the nominal picture of each.
        cells: (n,) int32, the place of each on its layer's map.
        slack: (n,) float32, how far what a key stands for may be from it; 0 for a new vector.
    """

    vectors: Tensor
    pictures: Tensor
    cells: Tensor
    slack: Tensor

    def pick(self, indices: Tensor) -> Candidates:
        """Some of them, in that order."""
        return Candidates(*(getattr(self, f.name)[indices] for f in dataclasses.fields(self)))

    @staticmethod
    def join(parts: Sequence[Candidates]) -> Candidates:
        """All of several, one after another."""
        names = [field.name for field in dataclasses.fields(Candidates)]
        return Candidates(*(torch.cat([getattr(one, name) for one in parts]) for name in names))


def keys_of(
    memory: LayerMemory, device: torch.device, numbers: Tensor | None = None
) -> Iterator[Candidates]:
    """The keys of each patch; ``numbers`` gives each picture another."""
    pictures = memory.key_pictures.cpu()
    if numbers is not None:
        pictures = numbers[pictures.long()]
    counts = memory.key_counts.cpu()
    if memory.key_slack is None:
        slack = memory.radius_sq.cpu().sqrt().repeat_interleave(counts)
    else:
        slack = memory.key_slack.cpu()
    whole = (memory.keys, pictures, memory.key_cells.cpu(), slack)
    parts = (torch.split(values, counts.tolist()) for values in whole)
    for vectors, *known in zip(*parts, strict=True):
        yield Candidates(vectors.to(device), *known)


def vectors_of(
    vectors: Tensor,
    first_picture: int,
    num_pictures: int,
    config: BankConfig,
    map_size: tuple[int, int],
) -> list[Candidates]:
    """All (N_p, n·N_v, C) vectors of new pictures, patch by patch."""
    indices = torch.arange(vectors.shape[1])
    pictures = (first_picture + indices // (len(indices) // num_pictures)).int()
    return [
        Candidates(
            patch,
            pictures,
            map_cells(indices, i, config.grid, *map_size).int(),
            torch.zeros(len(indices)),
        )
        for i, patch in enumerate(vectors)
    ]


def distinct(candidates: Candidates) -> Candidates:
    """Leave out vectors that stood before, the widest slack of equal ones with the first."""
    _, group = torch.unique(candidates.vectors.cpu(), dim=0, return_inverse=True)
    num_groups = int(group.max()) + 1
    first = torch.full((num_groups,), len(group))
    first = first.scatter_reduce(0, group, torch.arange(len(group)), "amin")
    first, groups = first.sort()
    widest = torch.zeros(num_groups).scatter_reduce(0, group, candidates.slack, "amax")
    return replace(candidates.pick(first), slack=widest[groups])


def grow_memory(patches: Iterable[Candidates], num_vectors: int, config: BankConfig) -> LayerMemory:
    """Pick each patch's keys, as many as a bank of all ``num_vectors`` vectors would have.

    The candidates of no more than one patch are asked for at a time.
    """
    k = num_keys(num_vectors, config.coreset_ratio, MIN_KEYS, config.max_keys)
    threshold = config.spread_threshold if config.adaptive else None
    parts: list[Candidates] = []
    coresets: list[Coreset] = []
    for patch in patches:
        found = cover(patch.vectors, patch.slack.to(patch.vectors.device), k, threshold)
        parts.append(replace(patch.pick(found.coreset.indices), slack=found.slack.cpu()))
        coresets.append(found.coreset)
    keys = Candidates.join(parts)
    return LayerMemory(
        keys=keys.vectors,
        key_pictures=keys.pictures,
        key_cells=keys.cells,
        key_slack=keys.slack,
        **what_is_known(coresets),
    )
