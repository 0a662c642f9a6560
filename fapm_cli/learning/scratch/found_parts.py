"""What a search found of all pictures, in parts that are gone through again and again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from fapm_cli.learning.scratch.workspace import FoundRows
from fapm_cli.memory.vectors import Rows
from fapm_cli.scores.scorer import Found


def of_memory(name: str, memory: int) -> str:
    """The name of the rows that were found in a memory."""
    return f"{name}-{memory}"


def named_rows(found: Mapping[str, Found]) -> dict[str, Tensor]:
    """Distances that were found, by the names of their rows."""
    return {
        of_memory(name, j): distances
        for name, of_memories in found.items()
        for j, (distances, _) in enumerate(of_memories)
    }


@dataclass(frozen=True)
class FoundParts:
    """Distances that were found; where there was no key that counts, the largest of all.

    Which keys they are to is not kept: keys are 0.

    Attributes:
        rows: where they are.
        name: of what was searched for.
        num_memories: how many were searched.
        parts: numbers of the pictures of each part.
        device: where they are wanted.
    """

    rows: FoundRows
    name: str
    num_memories: int
    parts: Sequence[Tensor]
    device: torch.device

    def __iter__(self) -> Iterator[Found]:
        """Go through the parts."""
        largest = self._largest
        for part in self.parts:
            found = []
            for memory, most in enumerate(largest):
                distances = self._read(memory, part).to(self.device).clamp(max=most)
                no_key = torch.zeros((), dtype=torch.int64, device=self.device)
                found.append((distances, no_key.expand(distances.shape)))
            yield found

    @cached_property
    def _largest(self) -> list[float]:
        largest = [0.0] * self.num_memories
        for part in self.parts:
            for memory in range(self.num_memories):
                distances = self._read(memory, part)
                known = float(distances.masked_fill(distances == torch.inf, 0).amax())
                largest[memory] = max(largest[memory], known)
        return largest

    def _read(self, memory: int, pictures: Tensor) -> Tensor:
        return self.rows.read(of_memory(self.name, memory), pictures)


@dataclass(frozen=True)
class ShownParts:
    """Parts of what was found, each with what its pictures show.

    Attributes:
        found: of pictures from number 0 on.
        shown: (N, H, W) bool, what each shows; None for all.
    """

    found: FoundParts
    shown: Rows | None

    def __iter__(self) -> Iterator[tuple[Found, Tensor | None]]:
        """Go through the parts."""
        for part, found in zip(self.found.parts, self.found, strict=True):
            yield found, None if self.shown is None else self.shown[part].to(self.found.device)
