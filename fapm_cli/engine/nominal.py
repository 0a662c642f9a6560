"""The nominal response: what a bank says of its own pictures, each one's keys left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fapm_cli.bank import Bank
from fapm_cli.calibration import local_calibration
from fapm_cli.engine.scorer import Scorer
from fapm_cli.geometry import covered
from fapm_cli.knn import LeaveOut, patch_memory

OnStage = Callable[[str, int, int], None]

_AT_A_TIME = 16


@torch.inference_mode()
def calibrate(
    bank: Bank,
    features: Sequence[Tensor],
    first: int = 0,
    on_stage: OnStage = lambda stage, done, total: None,
) -> Bank:
    """Score nominal pictures with their own keys left out, and calibrate each place by that.

    Args:
        bank: its memories are used; calibration and scores are made anew.
        features: per memory (N_p, n·N_v, C), the vectors of the last n of the bank's pictures.
        first: number of the first of those. If that is not 0, the calibration stays as it is, and
            so do the scores of the pictures before.
        on_stage: told of progress.
    """
    config, total = bank.config, len(bank.pictures)
    laid_out = [patch_memory(m.keys, m.key_counts, config.grid) for m in bank.memories]
    scorer = Scorer(config, config.query, laid_out, bank.map_sizes, roi=bank.roi)
    found: list[list[tuple[Tensor, Tensor]]] = []
    for pictures in torch.split(torch.arange(first, total), _AT_A_TIME):
        queries = [_of_pictures(vectors, pictures - first, total - first) for vectors in features]
        leave_out = None
        if total > 1:
            leave_out = [
                LeaveOut(
                    pictures.repeat_interleave(q.shape[1] // len(pictures)).to(q.device),
                    m.key_pictures.long().to(q.device),
                )
                for q, m in zip(queries, bank.memories, strict=True)
            ]
        found.append(scorer.search(queries, leave_out))
        on_stage("calibrate", int(pictures[-1]) + 1 - first, total - first)
    found = _fill(found)
    calibration = bank.calibration
    if first == 0:
        responses = torch.cat([scorer.combine(part).responses for part in found])
        roi = bank.roi
        places = None if roi is None else covered(roi.to(responses.device), max(bank.map_sizes))
        calibration = local_calibration(responses, places)
    scorer = Scorer(config, config.query, laid_out, bank.map_sizes, calibration, bank.roi)
    scores: list[float] = []
    peaks: list[float] = []
    for part in found:
        scored = scorer.combine(part)
        scores += scored.image_scores.tolist()
        peaks += scored.anomaly_maps.amax(dim=(1, 2)).tolist()
    judged = tuple(
        replace(picture, score=score, peak=peak)
        for picture, score, peak in zip(bank.pictures[first:], scores, peaks, strict=True)
    )
    return replace(bank, calibration=calibration, pictures=bank.pictures[:first] + judged)


def _fill(found: list[list[tuple[Tensor, Tensor]]]) -> list[list[tuple[Tensor, Tensor]]]:
    """Where all keys are a picture's own, nothing is known: assume the largest distance found."""
    largest = [
        max(float(part[j][0].masked_fill(part[j][0] == torch.inf, 0).amax()) for part in found)
        for j in range(len(found[0]))
    ]
    return [
        [(d.clamp(max=most), keys) for (d, keys), most in zip(part, largest, strict=True)]
        for part in found
    ]


def _of_pictures(vectors: Tensor, pictures: Tensor, num_pictures: int) -> Tensor:
    """The (N_p, n·N_v, C) vectors of some of the pictures."""
    num_patches, _, channels = vectors.shape
    by_picture = vectors.view(num_patches, num_pictures, -1, channels)
    return by_picture[:, pictures.to(vectors.device)].flatten(1, 2)
