"""Choosing the metric: what finds spoiled pictures that the memory has not seen, sets its strength.

No defect is needed for it. A stronger metric is taken only where it finds more by more than the
standard error of the difference, and none weaker than the best is tried after one that finds less.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fapm_cli.bank.bank import Bank, MetricChoice
from fapm_cli.learning.held_out import HeldOut, bank_memories, bank_scorer, leave_own_out
from fapm_cli.learning.nominal_response import OnStage
from fapm_cli.learning.pseudo_defects import Found
from fapm_cli.learning.spoiled import Spoiled
from fapm_cli.memory.grid import of_pictures
from fapm_cli.scores.calibration import local_calibration
from fapm_cli.scores.geometry import covered

FLOORS = (None, 1.0, 0.3, 0.1, 0.03)
_AT_A_TIME = 16


@torch.inference_mode()
def choose_metric(
    bank: Bank,
    features: Sequence[Tensor],
    spoiled: Spoiled,
    held_out: HeldOut,
    on_stage: OnStage,
) -> MetricChoice:
    """Choose how strong the patches' own metric is.

    Args:
        bank: its keys are used.
        features: per memory (N_p, N·N_v, C), the vectors of its pictures.
        spoiled: of some of them.
        held_out: how they vary.
        on_stage: told of progress.
    """
    bank = held_out.with_metrics(bank, None)
    best, most = None, torch.empty(0)
    found: list[tuple[float | None, float]] = []
    for i, floor in enumerate(FLOORS):
        exceeded = _exceeded(bank, features, spoiled, held_out, floor)
        found.append((floor, float(exceeded.mean())))
        on_stage("metric", i + 1, len(FLOORS))
        if i == 0:
            most = exceeded
            continue
        gain = exceeded - most
        noise = gain.std() / len(gain) ** 0.5
        if gain.mean() < -noise:
            break
        if gain.mean() > noise:
            best, most = floor, exceeded
    on_stage("metric", len(FLOORS), len(FLOORS))
    return MetricChoice(best, tuple(found))


def _exceeded(
    bank: Bank,
    features: Sequence[Tensor],
    spoiled: Spoiled,
    held_out: HeldOut,
    floor: float | None,
) -> Tensor:
    """(n,) float32, by picture, the share of good pictures that it exceeds where it is spoiled."""
    good_pictures = torch.tensor(sorted(set(spoiled.pictures.tolist())))
    good_vectors = [of_pictures(v, good_pictures, len(bank.pictures)) for v in features]
    good: list[tuple[Tensor, Found]] = []
    bad: list[tuple[Tensor, Found]] = []
    for fold in held_out.numbers:
        memories = bank_memories(bank) if floor is None else held_out.memories(bank, floor, fold)
        scorer = bank_scorer(bank, memories)
        for pictures, vectors, parts in (
            (good_pictures, good_vectors, good),
            (spoiled.pictures, spoiled.vectors, bad),
        ):
            judged = (held_out.folds[pictures] == fold).nonzero().flatten()
            for some in torch.split(judged, _AT_A_TIME):
                queries = [of_pictures(v, some, len(pictures)) for v in vectors]
                leave_out = leave_own_out(bank, pictures[some], queries)
                parts.append((pictures[some], scorer.search(queries, leave_out)))
    return _shares(bank, good, bad)


def _shares(
    bank: Bank, good: list[tuple[Tensor, Found]], bad: list[tuple[Tensor, Found]]
) -> Tensor:
    laid_out = bank_memories(bank)
    plain = bank_scorer(bank, laid_out)
    responses = torch.cat([plain.combine(found).responses for _, found in good])
    places = None if bank.roi is None else covered(bank.roi, max(bank.map_sizes))
    calibrated = bank_scorer(bank, laid_out, local_calibration(responses, places))
    usual = torch.cat([calibrated.image_scores(found) for _, found in good]).cpu()
    scores = torch.cat([calibrated.image_scores(found) for _, found in bad]).cpu()
    pictures = torch.cat([numbers for numbers, _ in bad])
    shares = (scores.unsqueeze(1) > usual).float().mean(dim=1)
    times = pictures.bincount()
    mean = torch.zeros(len(times)).index_add_(0, pictures, shares) / times
    return mean[times > 0]
