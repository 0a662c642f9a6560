"""Local calibration: how unusual a score is *here*, from what good parts do at each place.

The nominal response is what nominal pictures score at each place when their own keys are left out
of the bank. Some places of a good part always differ (rims, print, loose leads), and a score there
says less. The paper has the thought for sampling (§2.2: patches differ in spread); this carries it
to scoring. docs/accuracy.md has the evidence.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fapm_cli.scores.extents import Calibration
from fapm_cli.scores.geometry import gaussian_matrix
from fapm_cli.scores.spreader import Spreader

UPPER_SHARE = 0.02
_BLUR = 1.0
_PLACES = 64  # a multiple of what is summed side by side: the same sums as of all at once


def local_calibration(
    responses: Tensor, inspected: Tensor | None = None, shown: Tensor | None = None
) -> Calibration:
    """Calibrate each place as far as the place, and not the picture, decides the response.

    With U the upper response of a place (mean of its largest 2 % over the parts), Ū its mean
    over the places, and ρ the intraclass correlation of the log response, the factor is
    2·Ū / (ρ·U + (2 - ρ)·Ū). Where place explains nothing (ρ = 0) every factor is 1. Where it
    explains everything it is the ratio to the place's own response, half shrunk to the mean: a
    defect's distance grows less than in proportion to what good parts do.

    Args:
        responses: (N, h, w) nominal response, each part's from a bank without its keys.
        inspected: (h, w) bool, places that count; responses are 0 elsewhere. None for all.
        shown: (N, h, w) bool, where each part is shown, at least one at each place that counts;
            responses are 0 elsewhere. None for everywhere.

    Returns:
        The calibration of each place; all ones for a single part.
    """
    num_parts = len(responses)
    if num_parts < 2:
        return Calibration(torch.ones_like(responses[0]), 0.0)
    highest = responses.topk(max(1, round(UPPER_SHARE * num_parts)), dim=0).values
    upper = highest.mean(dim=0) if shown is None else _mean_of_shown(highest, shown)
    rows, columns = (
        torch.from_numpy(gaussian_matrix(side, _BLUR)).float().to(responses.device)
        for side in responses.shape[1:]
    )
    blur = Spreader(rows, columns)
    if inspected is not None:
        blur = blur.restrict(inspected, inspected)
    upper = blur(upper).clamp(min=1e-6)
    counting = ... if inspected is None else inspected
    share = place_share(responses[:, counting], None if shown is None else shown[:, counting])
    mean = upper[counting].mean()
    return Calibration(2 * mean / (share * upper + (2 - share) * mean), share)


def _mean_of_shown(highest: Tensor, shown: Tensor) -> Tensor:
    """(h, w) means of the largest 2 % of what is shown at each place, of (k, h, w), largest first,
    and (N, h, w) bool.
    """
    counts = (UPPER_SHARE * shown.sum(dim=0)).round().clamp(min=1)
    among = torch.arange(len(highest), device=highest.device).view(-1, 1, 1) < counts
    return (highest * among).sum(dim=0) / counts


def mean_of_groups(responses: Tensor, groups: Tensor) -> Tensor:
    """Let each part say what its shots say on average, so that ten shots of one don't count as ten.

    Args:
        responses: (N, h, w), one per picture.
        groups: (N,) int64, the part that each shows, from 0.

    Returns:
        (G, h, w), one per part.
    """
    counts = groups.bincount().view(-1, 1, 1)
    sums = responses.new_zeros(len(counts), *responses.shape[1:])
    return sums.index_add_(0, groups, responses).div_(counts)


def of_parts(
    responses: Tensor, groups: Tensor, shown: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """What each part's shots say on average where they show it, (G, h, w), and where any does.

    As :func:`mean_of_groups`; ``shown`` is (N, h, w) bool, responses are 0 elsewhere; None for
    everywhere.
    """
    means = mean_of_groups(responses, groups)
    if shown is None:
        return means, None
    shares = mean_of_groups(shown.to(means), groups)
    return means / shares.clamp(min=1 / len(groups)), shares > 0


def place_share(responses: Tensor, shown: Tensor | None = None) -> float:
    """Intraclass correlation ρ of (N, ...) log responses: variance between places over all.

    Of those that are ``shown``, (N, ...) bool. One place alone differs from no other: 0.
    """
    if responses[0].numel() < 2:
        return 0.0
    means, within = [], []
    # Some places at a time: as float64, those of many pictures take hundreds of MB.
    for first in range(0, responses[0].numel(), _PLACES):
        some = slice(first, first + _PLACES)
        logs = responses.flatten(1)[:, some].double().clamp_(min=1e-6).log_()
        if shown is None:
            means.append(logs.mean(dim=0))
            within.append(logs.var(dim=0))
            continue
        there = shown.flatten(1)[:, some]
        counts = there.sum(dim=0)
        means.append((logs * there).sum(dim=0) / counts)
        squares = ((logs - means[-1]) * there).square().sum(dim=0)
        within.append(squares / (counts - 1).clamp(min=1))
    between, usual = torch.cat(means).var(), torch.cat(within).mean()
    return float(between / (between + usual).clamp(min=1e-12))
