"""The nominal response: what a bank says of its own pictures, each part's keys left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fapm_cli.bank.bank import Bank
from fapm_cli.bank.nominal_pictures import scores_of_groups
from fapm_cli.learning.held_out import (
    HeldOut,
    at_a_time,
    bank_calibration,
    bank_memories,
    bank_scorer,
    leave_own_out,
    of_shown,
    some_of,
    where_known,
    with_shown,
)
from fapm_cli.learning.pseudo_defects import elsewhere_patches, pseudo_scores
from fapm_cli.memory.grid import of_pictures
from fapm_cli.memory.shown import shown_places
from fapm_cli.scores.calibration import Calibration
from fapm_cli.scores.extents import Extents
from fapm_cli.scores.image_score import top_score, usual_extents
from fapm_cli.scores.local_calibration import mean_of_groups, of_parts
from fapm_cli.scores.scorer import Found, Scorer
from fapm_cli.scores.thresholds import (
    MOST_RATE,
    Thresholds,
    fewest_errors,
    rate_thresholds,
    with_review,
)

OnStage = Callable[[str, int, int], None]

_TOGETHER = 16
# A part alone has no other to be judged by. Others of its kind were seen to score 1.3 to 2.8
# times what it does in its own bank.
_ALONE = 3.0
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

    What was given, or labelled, is not to be had from scores: then at the rate that it came to.
    """
    before = bank.thresholds
    scores, peaks = own_scores(bank)
    if pseudo is not None and before.method == "pseudo-defects":
        chosen = fewest_errors(scores, peaks, pseudo, "pseudo-defects", MOST_RATE)
    else:
        chosen = rate_thresholds(scores, peaks, before.rate)
    rate = before.review_rate
    return chosen if rate is None else with_review(chosen, scores, rate)


@torch.inference_mode()
def nominal_response(
    bank: Bank,
    features: Sequence[Tensor],
    first: int = 0,
    on_stage: OnStage = lambda stage, done, total: None,
    held_out: HeldOut | None = None,
    shown: Tensor | None = None,
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
    """
    generator = torch.Generator().manual_seed(0)
    laid_out = bank_memories(bank)
    scorer = bank_scorer(bank, laid_out)
    judges = _judges(bank, scorer, first, held_out)
    found, elsewhere = _search(judges, bank, features, first, generator, on_stage, shown)
    parts = with_shown(found, shown)
    calibration = bank.calibration
    if first == 0:
        responses = torch.cat([scorer.combine(*part).responses for part in parts])
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
    if elsewhere:
        pseudo = pseudo_scores(scorer, parts, elsewhere, bank.roi, generator)
    if bank.num_groups == 1:
        scores, peaks = ([_ALONE * one for one in values] for values in (scores, peaks))
    return NominalResponse(calibration, scores, peaks, spots, levels, pseudo)


def _usual_extents(
    scorer: Scorer, parts: Sequence[tuple[Found, Tensor | None]], groups: Tensor
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
    features: Sequence[Tensor],
    first: int,
    generator: torch.Generator,
    on_stage: OnStage,
    shown: Tensor | None,
) -> tuple[list[Found], list[Found]]:
    """Find the nearest keys of pictures' vectors in place and, if ``first`` is 0, elsewhere."""
    total, done = len(bank.pictures), 0
    found: list[Found] = []
    elsewhere: list[Found] = []
    order: list[Tensor] = []
    for scorer, judged in judges:
        for pictures in torch.split(judged, at_a_time(features, total - first)):
            queries = [
                of_pictures(vectors, pictures - first, total - first) for vectors in features
            ]
            leave_out = leave_own_out(bank, pictures, queries)
            here = some_of(shown, pictures - first, queries[0].device)
            found.append(of_shown(scorer.search(queries, leave_out), here))
            sources = None
            if first == 0:
                sources = elsewhere_patches(bank.config.grid, bank.roi, generator)
            if sources is not None:
                moved = [q[sources.to(q.device)] for q in queries]
                elsewhere.append(scorer.search(moved, leave_out))
            order.append(pictures)
            done += len(pictures)
            on_stage("calibrate", done, total - first)
    found, elsewhere = (_in_order(parts, torch.cat(order)) for parts in (found, elsewhere))
    return where_known(found), where_known(elsewhere)


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


def _in_order(parts: list[Found], pictures: Tensor) -> list[Found]:
    """What was found of pictures of these numbers, in the order of the pictures."""
    if not parts or bool((pictures.diff() > 0).all()):
        return parts
    order = pictures.argsort()
    by_memory = [
        [torch.cat(values)[order.to(values[0].device)] for values in zip(*found, strict=True)]
        for found in zip(*parts, strict=True)
    ]
    split = [[torch.split(v, _TOGETHER) for v in both] for both in by_memory]
    return [[(both[0][i], both[1][i]) for both in split] for i in range(len(split[0][0]))]


def _inner(bank: Bank) -> Tensor:
    """(H, W) bool, what is inspected less 1 / 14 at each side; all of it if that leaves nothing."""
    size = bank.config.preprocessing.crop_px
    roi = torch.ones(size, dtype=torch.bool) if bank.roi is None else bank.roi.cpu()
    rows, columns = (round(side * _RIM) for side in size)
    inner = torch.zeros_like(roi)
    middle = slice(rows, size[0] - rows), slice(columns, size[1] - columns)
    inner[middle] = roi[middle]
    return inner if inner.any() else roi
