"""The nominal response: what a bank says of its own pictures, each part's keys left out."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fapm_cli.bank.bank import Bank
from fapm_cli.bank.nominal_pictures import scores_of_groups
from fapm_cli.bank.tensors import tensor
from fapm_cli.learning.held_out import (
    HeldOut,
    at_a_time,
    bank_calibration,
    bank_memories,
    bank_scorer,
    responses_of,
)
from fapm_cli.learning.pseudo_defects import elsewhere_patches, pseudo_scores
from fapm_cli.learning.scratch.found_parts import (
    FoundParts,
    ShownParts,
)
from fapm_cli.learning.scratch.searching import (
    ELSEWHERE,
    HERE,
    key_owners,
    nearest_rows,
    numbered_parts,
    put_found,
    row_shapes,
)
from fapm_cli.learning.scratch.workspace import IN_MEMORY, Workspace
from fapm_cli.memory.shown import shown_places
from fapm_cli.memory.vectors import Rows, Vectors
from fapm_cli.scores.calibration import mean_of_groups, of_parts
from fapm_cli.scores.extents import Calibration, Extents
from fapm_cli.scores.image_score import top_score, usual_extents
from fapm_cli.scores.scorer import Found, Scorer
from fapm_cli.scores.thresholds import (
    MOST_RATE,
    Thresholds,
    fewest_errors,
    given_threshold,
    rate_thresholds,
    with_review,
)

OnStage = Callable[[str, int, int], None]

_TOGETHER = 16
# A part alone has no other to be judged by, but by its other shots, or what else is in its one.
# Others of its kind were seen to score 0.6 to 2.5 times what that does in its own bank (medians of
# six sets by two backbones), and shots of one part are more alike.
_ALONE, _SHOTS = 1.75, 3.0
_RIM = 1 / 14
_LEVEL = 0.9


@dataclass(frozen=True)
class NominalResponse:
    """What a bank says of some of its pictures, the keys of each one's part left out.

    Attributes:
        calibration: of each place.
        scores: n image scores.
        peaks: n maxima of anomaly maps.
        spots: n image scores away from the rim, where chance things lie in good pictures too.
        levels: n 90th percentiles of the same.
        pseudo: image scores of pseudo-defective pictures; None where they can't be made.
    """

    calibration: Calibration
    scores: list[float]
    peaks: list[float]
    spots: list[float]
    levels: list[float]
    pseudo: list[float] | None


def judged_by(response: NominalResponse, bank: Bank, first: int = 0) -> Bank:
    """The bank with calibration, thresholds and its pictures' scores from ``first`` on anew."""
    judged = tuple(
        replace(picture, score=score, peak=peak)
        for picture, score, peak in zip(
            bank.pictures[first:], response.scores, response.peaks, strict=True
        )
    )
    pictures = bank.pictures[:first] + judged
    bank = replace(bank, calibration=response.calibration, pictures=pictures)
    return replace(bank, thresholds=anew(bank, response.pseudo))


def own_scores(bank: Bank) -> tuple[list[float], list[float]]:
    """Scores and peaks of the parts in a bank, what thresholds are set by."""
    return scores_of_groups(bank.pictures)


def anew(bank: Bank, pseudo: list[float] | None = None) -> Thresholds:
    """Set a bank's thresholds by its pictures' scores, in the way in which they were set before.

    A number that was given stays. What was labelled is then at the rate that it came to.
    """
    before, (scores, peaks) = bank.thresholds, own_scores(bank)
    if pseudo is not None and before.method == "pseudo-defects":
        chosen = fewest_errors(scores, peaks, pseudo, "pseudo-defects", MOST_RATE)
    elif before.method == "given":
        chosen = given_threshold(scores, peaks, before.score)
    else:
        chosen = rate_thresholds(scores, peaks, before.rate)
    rate = before.review_rate
    return chosen if rate is None else with_review(chosen, scores, rate)


@torch.inference_mode()
def nominal_response(
    bank: Bank,
    features: Sequence[Vectors],
    first: int = 0,
    on_stage: OnStage = lambda stage, done, total: None,
    held_out: HeldOut | None = None,
    shown: Rows | None = None,
    workspace: Workspace = IN_MEMORY,
) -> NominalResponse:
    """Score pictures, whole and with a spot of elsewhere, the keys of their own part left out.

    Args:
        bank: its memories are used.
        features: per memory (N_p, n·N_v, C), the vectors of the last n of the bank's pictures.
        first: number of the first of those. If that is not 0, places are calibrated as they are
            in the bank, and there are no pseudo-defects.
        on_stage: told of progress.
        held_out: how all pictures vary, where ``first`` is 0 and the bank has metrics: those are
            then learnt without the pictures that they judge.
        shown: (n, H, W) bool over the input, what each of those n shows: the rest counts for
            nothing; None for all.
        workspace: where what is found of each is kept.
    """
    generator = torch.Generator().manual_seed(0)
    laid_out = bank_memories(bank)
    scorer = bank_scorer(bank, laid_out)
    judges = _judges(bank, scorer, first, held_out)
    found, elsewhere = _search(judges, bank, features, first, generator, on_stage, shown, workspace)
    parts = ShownParts(found, shown)
    calibration = bank.calibration
    if first == 0:
        responses = responses_of(scorer, parts, len(bank.pictures))
        groups = torch.tensor([p.group for p in bank.pictures], device=responses.device)
        there = shown if shown is None else shown_places(shown, max(bank.map_sizes))
        calibration = bank_calibration(bank, *of_parts(responses, groups, there))
        extents = _usual_extents(bank_scorer(bank, laid_out, calibration), parts, groups)
        calibration = replace(calibration, extents=extents)
    scorer = bank_scorer(bank, laid_out, calibration)
    scores, peaks, spots, levels = [], [], [], []
    for part in parts:
        scored = scorer.combine(*part)
        scores += scored.image_scores.tolist()
        peaks += scored.anomaly_maps.amax(dim=(1, 2)).tolist()
        highest, usual = spots_and_levels(scored.anomaly_maps, bank)
        spots += highest
        levels += usual
    pseudo = None
    if elsewhere is not None:
        pseudo = pseudo_scores(scorer, parts, elsewhere, bank.roi, generator)
    if bank.num_groups == 1:
        factor = _ALONE if len(bank.pictures) == 1 else _SHOTS
        scores, peaks = ([factor * one for one in values] for values in (scores, peaks))
    return NominalResponse(calibration, scores, peaks, spots, levels, pseudo)


def _usual_extents(
    scorer: Scorer, parts: Iterable[tuple[Found, Tensor | None]], groups: Tensor
) -> Extents | None:
    """What is usual of wide extents, by parts."""
    means = [scorer.extent_means(scorer.combine(*part).anomaly_maps) for part in parts]
    return usual_extents(mean_of_groups(torch.cat(means).unsqueeze(1), groups).squeeze(1))


def spots_and_levels(anomaly_maps: Tensor, bank: Bank) -> tuple[list[float], list[float]]:
    """Say of (B, H, W) anomaly maps what suspects are found by, away from the rim."""
    inner = anomaly_maps[:, _inner(bank)]
    level = inner.kthvalue(max(round(_LEVEL * inner.shape[1]), 1)).values
    spot_px = bank.config.query.spot_px
    return top_score(inner.unsqueeze(1), most_px=spot_px).tolist(), level.tolist()


def _search(
    judges: Iterable[tuple[Scorer, Tensor]],
    bank: Bank,
    features: Sequence[Vectors],
    first: int,
    generator: torch.Generator,
    on_stage: OnStage,
    shown: Rows | None,
    workspace: Workspace,
) -> tuple[FoundParts, FoundParts | None]:
    """Find the nearest keys of pictures' vectors in place and, if ``first`` is 0, elsewhere."""
    total, done = len(bank.pictures) - first, 0
    moves = first == 0 and bank.config.grid != (1, 1)
    draw = functools.partial(elsewhere_patches, bank.config.grid, bank.roi, generator)
    names = [HERE, ELSEWHERE] if moves else [HERE]
    rows = workspace.found("found", row_shapes(bank, names), total)
    parts: list[Tensor] = []
    for scorer, judged in judges:
        work = functools.partial(nearest_rows, scorer, key_owners(bank), features, total)
        some = numbered_parts(
            torch.split(judged, at_a_time(features, total)),
            first,
            shown,
            draw if moves else None,
            parts,
        )
        for part in put_found(rows, work, some, workspace):
            done += len(part.rows)
            on_stage("calibrate", done, total)
        done = sum(map(len, parts))
        on_stage("calibrate", done, total)
    if bool((torch.cat(parts).diff() < 0).any()):  # by folds
        parts = [*torch.split(torch.arange(total), _TOGETHER)]
    in_place, *elsewhere = (
        FoundParts(rows, name, len(features), parts, features[0].device) for name in names
    )
    return in_place, elsewhere[0] if elsewhere else None


def _judges(
    bank: Bank, scorer: Scorer, first: int, held_out: HeldOut | None
) -> Iterator[tuple[Scorer, Tensor]]:
    """Scorers, and the numbers of the pictures, from ``first`` on, that each may judge."""
    floor = None if bank.metric is None else bank.metric.floor
    if held_out is None or floor is None:
        yield scorer, torch.arange(first, len(bank.pictures))
        return
    for fold in held_out.numbers:
        judged = (held_out.folds == fold).nonzero().flatten()
        yield bank_scorer(bank, held_out.memories(bank, floor, fold)), judged


def _inner(bank: Bank) -> Tensor:
    """(H, W) bool, what is inspected less 1 / 14 at each side; all of it if that leaves nothing."""
    size = bank.config.preprocessing.crop_px
    roi = torch.ones(size, dtype=torch.bool) if bank.roi is None else tensor(bank.roi, "cpu")
    inner = torch.zeros_like(roi)
    middle = tuple(slice(round(side * _RIM), side - round(side * _RIM)) for side in size)
    inner[middle] = roi[middle]
    return inner if inner.any() else roi
