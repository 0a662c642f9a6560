"""Local calibration: how unusual a score is *here*, from what good parts do at each place.

The nominal response is what nominal pictures score at each place when their own keys are left out
of the bank. Some places of a good part always differ (rims, print, loose leads), and a score there
says less. The paper has the thought for sampling (§2.2: patches differ in spread); this carries it
to scoring. docs/accuracy.md has the evidence.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fapm_cli.scores.extents import Extents
from fapm_cli.scores.geometry import Spreader, gaussian_matrix

UPPER_SHARE = 0.02
_BLUR = 1.0


@dataclass(frozen=True)
class Calibration:
    """Factors that turn a score at a place into how unusual it is there.

    Attributes:
        factors: (h, w) float32, around 1; small where good parts differ much.
        place_share: ρ, 0 to 1, the share of the nominal response's variance that lies between
            places. Near 1 for aligned parts, near 0 where parts lie at any angle.
        extents: what is usual of wide extents; None where that is not known.
    """

    factors: Tensor
    place_share: float
    extents: Extents | None = None


def local_calibration(responses: Tensor, inspected: Tensor | None = None) -> Calibration:
    """Calibrate each place as far as the place, and not the picture, decides the response.

    With U the upper response of a place (mean of its largest 2 % over the parts), Ū its mean
    over the places, and ρ the intraclass correlation of the log response, the factor is
    2·Ū / (ρ·U + (2 - ρ)·Ū). Where place explains nothing (ρ = 0) every factor is 1. Where it
    explains everything it is the ratio to the place's own response, half shrunk to the mean: a
    defect's distance grows less than in proportion to what good parts do.

    Args:
        responses: (N, h, w) nominal response, each part's from a bank without its keys.
        inspected: (h, w) bool, places that count; responses are 0 elsewhere. None for all.

    Returns:
        The calibration of each place; all ones for a single part.
    """
    num_parts = len(responses)
    if num_parts < 2:
        return Calibration(torch.ones_like(responses[0]), 0.0)
    highest = responses.topk(max(1, round(UPPER_SHARE * num_parts)), dim=0).values
    rows, columns = (
        gaussian_matrix(side, _BLUR).float().to(responses.device) for side in responses.shape[1:]
    )
    blur = Spreader(rows, columns)
    if inspected is not None:
        blur = blur.restrict(inspected, inspected)
    upper = blur(highest.mean(dim=0)).clamp(min=1e-6)
    counting = ... if inspected is None else inspected
    share = place_share(responses[:, counting])
    mean = upper[counting].mean()
    return Calibration(2 * mean / (share * upper + (2 - share) * mean), share)


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


def place_share(responses: Tensor) -> float:
    """Intraclass correlation ρ of (N, ...) log responses: variance between places over all.

    One place alone differs from no other: 0.
    """
    if responses[0].numel() < 2:
        return 0.0
    logs = responses.double().clamp(min=1e-6).log()
    between = logs.mean(dim=0).var()
    within = logs.var(dim=0).mean()
    return float(between / (between + within).clamp(min=1e-12))
