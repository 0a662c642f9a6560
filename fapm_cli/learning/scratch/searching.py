"""Searching: the vectors of some pictures at a time, among keys that are not of their own part."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fapm_cli.bank.bank import Bank
from fapm_cli.learning.scratch.found_parts import named_rows, of_memory
from fapm_cli.learning.scratch.workspace import FoundRows, Tensors, Workspace
from fapm_cli.memory.grid import Grid
from fapm_cli.memory.patch_memory import LeaveOut
from fapm_cli.memory.shown import wholly
from fapm_cli.memory.vectors import Rows, Vectors, of_pictures
from fapm_cli.scores.scorer import Found, Scorer

HERE, ELSEWHERE = "here", "elsewhere"


@dataclass(frozen=True)
class Part:
    """Some of the pictures whose vectors are searched for.

    Attributes:
        rows: (n,) int64, which of those that there are vectors of.
        pictures: (n,) int64, which of the bank's pictures they are, or come of.
        shown: (n, H, W) bool over the input, what they show; None for all.
        sources: (N_p,) int64, from which patch each one's vectors come; None for its own alone.
    """

    rows: Tensor
    pictures: Tensor
    shown: Tensor | None = None
    sources: Tensor | None = None


def numbered_parts(
    several: Iterable[Tensor],
    first: int,
    shown: Rows | None,
    draw: Callable[[], Tensor | None] | None,
    parts: list[Tensor],
) -> Iterator[tuple[int, Part]]:
    """Number the parts of pictures that begin at ``first``, and add them to ``parts``; where their
    vectors come from is drawn.
    """
    for pictures in several:
        numbers, sources = pictures - first, draw and draw()
        parts.append(numbers)
        yield len(parts) - 1, Part(numbers, pictures, some_of(shown, numbers), sources)


def find_nearest(
    scorer: Scorer,
    bank: Bank,
    vectors: Sequence[Vectors],
    total: int,
    part: Part,
) -> dict[str, Found]:
    """Search for some of ``total`` pictures' vectors, per memory (N_p, total·N_v, C), by keys that
    are not of their own part in the bank; and for those of other patches, where the part has any.
    """
    queries = [of_pictures(one, part.rows, total) for one in vectors]
    leave_out = leave_own_out(bank, part.pictures, queries)
    shown = None if part.shown is None else part.shown.to(queries[0].device)
    found = {HERE: of_shown(scorer.search(queries, leave_out), shown)}
    if part.sources is not None:
        moved = [q[part.sources.to(q.device)] for q in queries]
        found[ELSEWHERE] = scorer.search(moved, leave_out)
    return found


def nearest_rows(
    scorer: Scorer, bank: Bank, features: Sequence[Vectors], total: int, part: Part
) -> Tensors:
    """Rows of the distances that :func:`find_nearest` finds."""
    return named_rows(find_nearest(scorer, bank, features, total, part))


def put_found(
    rows: FoundRows,
    work: Callable[[Part], Tensors],
    parts: Iterable[tuple[int, Part]],
    workspace: Workspace,
) -> Iterator[Part]:
    """Put what work finds of numbered parts into rows, but for those that are known; and tell of
    each that it is there.
    """
    waiting: deque[tuple[int, Part]] = deque()

    def new() -> Iterator[Part]:
        for number, part in parts:
            if not rows.known(number):
                waiting.append((number, part))
                yield part

    for found in workspace.map(work, new()):
        number, part = waiting.popleft()
        rows.put(number, part.rows, found)
        yield part


def row_shapes(bank: Bank, names: Sequence[str]) -> dict[str, tuple[int, int, int]]:
    """Of a picture's rows of what is found."""
    k = bank.config.query.num_neighbors
    return {
        of_memory(name, j): (*size, k) for name in names for j, size in enumerate(bank.map_sizes)
    }


def key_owners(bank: Bank) -> Bank:
    """No more of a bank than :func:`leave_own_out` asks for: whose its keys are."""
    memories = (
        replace(m, keys=m.keys.new_empty(0, m.keys.shape[1]), metrics=None) for m in bank.memories
    )
    return replace(bank, memories=tuple(memories), backbone=None, thumbnails=None)


def leave_own_out(bank: Bank, pictures: Tensor, queries: Sequence[Tensor]) -> list[LeaveOut]:
    """Which keys the vectors of some of a bank's pictures must not meet.

    Args:
        bank: its memories and groups are used.
        pictures: (n,) int64, which of its pictures.
        queries: per memory (N_p, n·N_v, C), their vectors.
    """
    total = len(bank.pictures)
    if total == 1:  # it has no other to be judged by: what has become a key meets the other keys
        return [
            LeaveOut(
                torch.arange(q.shape[1], device=q.device),
                _cells_of_patches(m.key_cells.long(), size, bank.config.grid).to(q.device),
            )
            for q, m, size in zip(queries, bank.memories, bank.map_sizes, strict=True)
        ]
    groups = torch.tensor([p.group for p in bank.pictures])
    if bank.num_groups == 1:
        groups = torch.arange(total)  # shots of one part say a little of each other
    return [
        LeaveOut(
            groups[pictures].repeat_interleave(q.shape[1] // len(pictures)).to(q.device),
            groups[m.key_pictures.cpu().long()].to(q.device),
        )
        for q, m in zip(queries, bank.memories, strict=True)
    ]


def _cells_of_patches(cells: Tensor, size: tuple[int, int], grid: Grid) -> Tensor:
    """Of cells of an h×w map, in reading order, which of its patch's cells each is."""
    (h, w), (rows, columns) = size, grid
    height, width = h // rows, w // columns
    return cells // w % height * width + cells % w % width


def of_shown(found: Found, shown: Tensor | None) -> Found:
    """What was found where pictures are shown, (B, H, W) bool over the input; distances are 0
    elsewhere. None for everywhere.
    """
    if shown is None:
        return found
    return [
        (d.masked_fill(~wholly(shown, (d.shape[1], d.shape[2])).unsqueeze(3), 0), keys)
        for d, keys in found
    ]


def some_of(shown: Rows | None, pictures: Tensor) -> Tensor | None:
    """What some of the pictures show; None for all of it."""
    return None if shown is None else shown[pictures]
