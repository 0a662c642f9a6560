"""Learning: keys from the vectors of all pictures, and what good parts do among them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from fapm_cli.bank.bank import Bank
from fapm_cli.learning.batches import light_of
from fapm_cli.learning.choosing.deep_layer import wants_deep_layer, with_deep_layer
from fapm_cli.learning.choosing.metric import choose_metric
from fapm_cli.learning.extracting import Extracted
from fapm_cli.learning.held_out import HeldOut
from fapm_cli.learning.nominal_response import OnStage, judged_by, nominal_response
from fapm_cli.learning.selecting import select_keys
from fapm_cli.network.extraction import FeatureExtractor
from fapm_cli.scores.extents import FEWEST_PARTS
from fapm_cli.scores.suspects import find_suspects
from fapm_cli.version import __version__

OnSuspects = Callable[[list[tuple[str, float]], bool], None]


def learn(
    bank: Bank,
    extracted: Extracted,
    on_stage: OnStage,
    extractor: FeatureExtractor | None = None,
) -> tuple[Bank, list[tuple[int, float]]]:
    """Select keys, judge the pictures by those of the others, and find suspects among them.

    Args:
        bank: one of those pictures; its memories and calibration are replaced.
        extracted: of them.
        on_stage: told of progress.
        extractor: what they were extracted by, for a deep layer to take over; None for none.

    Returns:
        The bank, and the number and robust z-score of each suspect.
    """
    memories, features, judged = [], extracted.features, extracted.judged
    workspace = extracted.workspace
    for j, (vectors, copies) in enumerate(zip(features, extracted.copies, strict=True)):
        keys = workspace.under(f"keys-{j}")
        memories.append(select_keys(vectors, copies, bank.config, bank.map_sizes[j], judged, keys))
        on_stage("select", j + 1, len(features))
    light = light_of(extracted.pixels, bank.roi, extracted.seen)
    bank = replace(bank, memories=tuple(memories), metric=None, light=light)
    plain = workspace.under("plain")
    response = nominal_response(bank, features, 0, on_stage, shown=judged, workspace=plain)
    groups = [picture.group for picture in bank.pictures]
    # In plain distances: a metric makes little of what it has learnt, defects among it.
    suspects = find_suspects(response.spots, response.levels, groups)
    if extracted.spoiled is not None and bank.num_groups >= FEWEST_PARTS:
        held_out = HeldOut.of(bank, features, judged, workspace)
        choice, scale = choose_metric(
            bank, features, extracted.spoiled, held_out, on_stage, judged, workspace
        )
        bank = replace(bank, metric=choice)
        held_out = HeldOut.by(held_out.variations, held_out.folds, scale)
        if extractor is not None and wants_deep_layer(choice):
            bank, features, held_out = with_deep_layer(
                bank, extracted, held_out, extractor, on_stage
            )
        bank = held_out.with_metrics(bank, choice.floor)
        if choice.floor is not None:
            own = workspace.under("own")
            response = nominal_response(bank, features, 0, on_stage, held_out, judged, own)
    return judged_by(response, bank), suspects


def program_versions() -> dict[str, str]:
    """Say what builds banks here."""
    return {"fapm": __version__, "torch": torch.__version__}
