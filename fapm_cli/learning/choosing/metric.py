"""Choosing the metric: what finds spoiled pictures that the memory has not seen, sets its strength.

No defect is needed for it. A stronger metric is taken only where it finds more by more than the
standard error of the difference, and none weaker than the best is tried after one that finds less.
Distances stay plain where all that finds less than one more in a hundred: that is not worth a file
twice as large, and a map that tells a defect's px a little less well (docs/accuracy.md).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from fapm_cli.bank.bank import Bank, MetricChoice
from fapm_cli.learning.choosing.spoiled import Spoiled
from fapm_cli.learning.held_out import (
    HeldOut,
    at_a_time,
    bank_calibration,
    bank_memories,
    bank_scorer,
    responses_of,
    where_known,
)
from fapm_cli.learning.nominal_response import OnStage
from fapm_cli.learning.scratch.found_parts import (
    FoundParts,
    ShownParts,
)
from fapm_cli.learning.scratch.searching import (
    HERE,
    Part,
    find_nearest,
    key_owners,
    nearest_rows,
    put_found,
    row_shapes,
    some_of,
)
from fapm_cli.learning.scratch.workspace import IN_MEMORY, Workspace
from fapm_cli.memory.patch_memory import PatchMemory
from fapm_cli.memory.shown import wholly
from fapm_cli.memory.vectors import Rows, Vectors
from fapm_cli.scores.scorer import Found, Scorer

FLOORS = (None, 1.0, 0.1, 0.03)
_WORTH = 0.01
Parts = list[tuple[Found, Tensor | None]]  # and what their pictures show


@torch.inference_mode()
def choose_metric(
    bank: Bank,
    features: Sequence[Vectors],
    spoiled: Spoiled,
    held_out: HeldOut,
    on_stage: OnStage,
    shown: Rows | None = None,
    workspace: Workspace = IN_MEMORY,
) -> tuple[MetricChoice, float]:
    """Choose how strong the patches' own metric is.

    Args:
        bank: its keys are used.
        features: per memory (N_p, N·N_v, C), the vectors of its pictures.
        spoiled: of some of them.
        held_out: how they vary.
        on_stage: told of progress.
        shown: (N, H, W) bool over the input, what each picture shows: the rest counts for nothing;
            None for all.
        workspace: where work is done.

    Returns:
        The choice, and what distances are to be multiplied by so that good pictures lie as far
        from the keys as they do in plain ones: a score then means the same with any metric.
    """
    bank = held_out.with_metrics(bank, None)
    plain = bank_memories(bank)
    found: list[tuple[float | None, float]] = []
    levels: list[float] = []

    def shares() -> Iterator[Tensor]:
        for floor in FLOORS:
            exceeded, level = _exceeded(
                bank, plain, features, spoiled, held_out, floor, shown, workspace
            )
            found.append((floor, float(exceeded.mean())))
            levels.append(level)
            on_stage("metric", len(found), len(FLOORS))
            yield exceeded

    best = strongest_worth(shares())
    on_stage("metric", len(FLOORS), len(FLOORS))
    return MetricChoice(FLOORS[best], tuple(found)), levels[0] / levels[best]


def strongest_worth(shares: Iterable[Tensor]) -> int:
    """Choose one of several metrics, the plain one first and each stronger than the one before.

    Args:
        shares: of each, (n,) float32 by picture, the share of good pictures that it exceeds where
            it is spoiled. No more of them are asked for than it takes.

    Returns:
        Its number.
    """
    each = iter(shares)
    plain = most = next(each)
    best = 0
    for number, share in enumerate(each, start=1):
        gain = share - most
        noise = gain.std() / len(gain) ** 0.5
        if gain.mean() < -noise:
            break
        if gain.mean() > noise:
            best, most = number, share
    return best if (most - plain).mean() >= _WORTH else 0


def _exceeded(
    bank: Bank,
    plain: Sequence[PatchMemory],
    features: Sequence[Vectors],
    spoiled: Spoiled,
    held_out: HeldOut,
    floor: float | None,
    shown: Rows | None,
    workspace: Workspace,
) -> tuple[Tensor, float]:
    """(n,) float32, by picture, the share of good pictures that it exceeds where it is spoiled;
    and the mean response of good ones.
    """
    numbers = torch.tensor(sorted(set(spoiled.pictures.tolist())))
    all_bad = torch.arange(len(spoiled.pictures))
    parts: tuple[Parts, Parts] = ([], [])  # of good pictures, and of spoiled ones
    judged = (  # whose vectors, which of them, of which pictures
        (features, len(bank.pictures), numbers, numbers),
        (spoiled.vectors, len(all_bad), all_bad, spoiled.pictures),
    )
    for memories, folds in _judges(bank, plain, held_out, floor):
        some: list[tuple[int, Part]] = []
        for fold, (bad, (vectors, total, rows, pictures)) in itertools.product(
            folds, enumerate(judged)
        ):
            in_fold = held_out.folds[pictures] == fold
            together = at_a_time(vectors, total)
            split = (torch.split(one[in_fold], together) for one in (rows, pictures))
            for own, of_them in zip(*split, strict=True):
                if len(own):
                    some.append((bad, Part(own, of_them, some_of(shown, of_them))))
        sets = [(vectors, total) for vectors, total, _, _ in judged]
        work = functools.partial(_found, bank_scorer(bank, memories), key_owners(bank), sets)
        for (bad, part), found in zip(some, workspace.map(work, some), strict=True):
            parts[bad].append((found, part.shown))
    good, bad_ones = parts
    every = good + bad_ones
    known, there = where_known([part for part, _ in every]), [here for _, here in every]
    both, of_spoiled = list(zip(known, there, strict=True)), held_out.folds[spoiled.pictures]
    in_order = torch.cat([spoiled.pictures[of_spoiled == fold] for fold in held_out.numbers])
    return _shares(bank, plain, both[: len(good)], both[len(good) :], in_order)


def _judges(
    bank: Bank, plain: Sequence[PatchMemory], held_out: HeldOut, floor: float | None
) -> Iterator[tuple[Sequence[PatchMemory], list[int]]]:
    """Memories, and the folds of the pictures that they may judge: plain ones have seen none."""
    if floor is None:
        yield plain, held_out.numbers
        return
    for fold in held_out.numbers:
        yield held_out.memories(bank, floor, fold), [fold]


def _found(
    scorer: Scorer,
    bank: Bank,
    sets: Sequence[tuple[Sequence[Vectors], int]],
    numbered: tuple[int, Part],
) -> Found:
    """What is found of a part's own places, in one of several sets of vectors."""
    number, part = numbered
    vectors, total = sets[number]
    return find_nearest(scorer, bank, vectors, total, part)[HERE]


@torch.inference_mode()
def usual_response(
    bank: Bank,
    features: Sequence[Vectors],
    held_out: HeldOut,
    floor: float | None,
    shown: Rows | None = None,
    workspace: Workspace = IN_MEMORY,
) -> float:
    """The mean response of good pictures, by keys and metrics that have not seen them.

    Args:
        bank: its keys are used.
        features: per memory (N_p, N·N_v, C), the vectors of its pictures.
        held_out: how they vary.
        floor: of the metrics; None for plain distances.
        shown: as for :func:`choose_metric`.
        workspace: where what is found of each is kept.
    """
    plain, total = bank_memories(bank), len(bank.pictures)
    rows = workspace.found("usual", row_shapes(bank, [HERE]), total)
    parts: list[Tensor] = []
    for fold in held_out.numbers:
        memories = plain if floor is None else held_out.memories(bank, floor, fold)
        scorer, judged = bank_scorer(bank, memories), (held_out.folds == fold).nonzero().flatten()
        some = torch.split(judged, at_a_time(features, total))
        numbered = (
            (number, Part(one, one, some_of(shown, one)))
            for number, one in enumerate(some, start=len(parts))
        )
        work = functools.partial(nearest_rows, scorer, key_owners(bank), features, total)
        for _ in put_found(rows, work, numbered, workspace):
            pass
        parts += some
    scorer = bank_scorer(bank, plain)
    both = ShownParts(FoundParts(rows, HERE, len(features), parts, features[0].device), shown)
    return float(responses_of(scorer, both, total).mean())


def _shares(
    bank: Bank,
    plain: Sequence[PatchMemory],
    good: Parts,
    bad: Parts,
    pictures: Tensor,
) -> tuple[Tensor, float]:
    """As :func:`_exceeded`, of what the search found of good pictures, and of spoiled ones
    of these ``pictures``; any memories do, once it is found.
    """
    scorer = bank_scorer(bank, plain)
    responses = torch.cat([scorer.combine(*part).responses for part in good])
    places = [wholly(here, max(bank.map_sizes)) for _, here in good if here is not None]
    shown = torch.cat(places) if places else None
    scorer = bank_scorer(bank, plain, bank_calibration(bank, responses, shown))
    usual = torch.cat([scorer.image_scores(*part) for part in good]).cpu()
    scores = torch.cat([scorer.image_scores(*part) for part in bad]).cpu()
    shares = (scores.unsqueeze(1) > usual).float().mean(dim=1)
    times = pictures.bincount()
    mean = torch.zeros(len(times)).index_add_(0, pictures, shares) / times
    return mean[times > 0], float(responses.mean())
