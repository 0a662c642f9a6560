"""Merging: one bank of several; a picture that is in several counts once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from fapm_cli.bank.bank import Bank
from fapm_cli.bank.nominal_pictures import NominalPicture, in_groups
from fapm_cli.bank.thumbnails import Joined
from fapm_cli.errors import BankError, OptionError
from fapm_cli.growing.anew import all_shown, learn_anew, with_pixels
from fapm_cli.growing.grown_memory import Candidates, distinct, grow_memory, keys_of
from fapm_cli.growing.named_parts import join_named, part_named
from fapm_cli.learning.choosing.deep_layer import before_deepening
from fapm_cli.learning.learn import program_versions
from fapm_cli.learning.nominal_response import OnStage, anew
from fapm_cli.learning.scratch.workspace import IN_MEMORY, Workspace
from fapm_cli.learning.twins import join_groups
from fapm_cli.network.extraction import FeatureExtractor
from fapm_cli.network.loading import tapping
from fapm_cli.pictures.fitting.light import Light
from fapm_cli.pictures.reading import PartOf
from fapm_cli.pictures.seen import Seen
from fapm_cli.scores.extents import TOP_SHARE, Calibration


def merge_banks(
    banks: Sequence[Bank],
    extractor: FeatureExtractor,
    on_stage: OnStage = lambda stage, done, total: None,
    workspace: Workspace = IN_MEMORY,
    *,
    part_of: PartOf | None = None,
) -> Bank:
    """Join banks of one configuration; a picture that is in several, as any file, counts once.

    Args:
        banks: at least one, of equal configuration and backbone.
        extractor: their backbone, on the device to work on.
        on_stage: told (stage, done, total) as the work goes on.
        workspace: where what all pictures give is kept, if they are learnt anew.
        part_of: names the part that a picture shows by its name in a bank; None to find near twins,
            if all banks have thumbnails.

    Returns:
        The joined bank. If all have thumbnails, it is that of a build of all pictures at once;
        else it has none, the pictures keep their scores, and calibrations are averaged.

    Raises:
        BankError: the banks differ, the backbone is another, or a thumbnail is damaged.
        OptionError: ``part_of`` finds no part in any name.
    """
    first, seen = banks[0], [bank.seen for bank in banks if bank.seen is not None]
    for bank in banks[1:]:
        differs = difference(first, bank, learnt_anew=all_shown(banks))
        if differs is not None:
            raise BankError(f"banks differ in {differs}; only banks built alike can be merged")
    by_layers = {bank.config.layers: tapping(extractor, bank.config) for bank in banks}
    for bank in banks:
        bank.check_weights((by_layers[bank.config.layers] or extractor).weights_hash)
    extractor = by_layers[first.config.layers] or extractor
    banks = [with_pixels(bank) for bank in banks]
    embedded = any(bank.backbone is not None for bank in banks)
    numbers = _number_pictures(banks)
    order = _firsts(numbers)
    pictures = _join_pictures(banks, numbers)
    if part_of is not None and not any(part_named(one.name, part_of) for one in pictures):
        raise OptionError(f"--group finds no part in any name, such as {pictures[0].name!r}")
    merged = replace(
        first,
        memories=(),
        calibration=_mean_calibration(banks),
        pictures=pictures if part_of is None else join_named(pictures, part_of),
        backbone=dict(extractor.stages.state_dict()) if embedded else None,
        thumbnails=_join_thumbnails(banks, order),
        versions=program_versions(),
        seen=Seen.join(seen) if len(seen) == len(banks) else None,
        previous_thresholds=None,
    )
    if merged.thumbnails is not None:
        return learn_anew(merged, extractor, on_stage, workspace, find_twins=part_of is None)[0]
    memories = []
    # What is left of the pictures does not tell how they vary: the metrics of most of them stay.
    largest = max(banks, key=lambda bank: len(bank.pictures))
    merged = replace(
        merged, config=largest.config, metric=largest.metric, light=_joined_light(largest, banks)
    )
    views = sum(bank.config.num_views * len(bank.pictures) for bank in banks)
    views = round(views * len(order) / sum(len(bank.pictures) for bank in banks))
    num_patches = math.prod(merged.config.grid)
    for j, (h, w) in enumerate(first.map_sizes):
        per_bank = [
            keys_of(bank.memories[j], extractor.mean.device, torch.tensor(own, dtype=torch.int32))
            for bank, own in zip(banks, numbers, strict=True)
        ]
        patches = (distinct(Candidates.join(parts)) for parts in zip(*per_bank, strict=True))
        memory = grow_memory(patches, views * (h * w // num_patches), merged.config)
        memories.append(replace(memory, metrics=largest.memories[j].metrics))
        on_stage("select", j + 1, len(first.map_sizes))
    return replace(merged, memories=tuple(memories), thresholds=anew(merged))


def check_alike(banks: Sequence[Bank], names: Sequence[str]) -> None:
    """Check that banks of these names can be merged.

    Raises:
        BankError: they differ; the message names which, and the first field in which.
    """
    for bank, name in zip(banks[1:], names[1:], strict=True):
        differs = difference(banks[0], bank, learnt_anew=all_shown(banks))
        if differs is not None:
            raise BankError(
                f"banks {names[0]} and {name} differ in {differs}; "
                "only banks built alike can be merged"
            )


def difference(one: Bank, other: Bank, *, learnt_anew: bool = False) -> str | None:
    """Name the first thing in which two banks differ so that they can't be merged, with values.

    What is found anew may differ where all pictures of all banks are learnt anew.
    """
    found = _first_difference(_built_by(one, learnt_anew), _built_by(other, learnt_anew))
    same_layers = one.config.layers == other.config.layers
    if found is None and same_layers and one.weights_hash != other.weights_hash:
        found = f"the backbone's weights: {one.weights_hash[:12]}… and {other.weights_hash[:12]}…"
    places = [bank.registration for bank in (one, other) if bank.registration is not None]
    if found is None and len({place.reference.tobytes() for place in places}) > 1:
        found = "where their parts lie: each is aligned to its own pictures"
    if found is None and not _equal(one.roi, other.roi):
        found = "the region of interest"
    return found


def _built_by(bank: Bank, learnt_anew: bool) -> dict[str, Any]:
    """A bank's configuration, but for what was found in its pictures; a spot is as large as it is
    in its input. Layers that were found must be the same, where they are not found anew.
    """
    config, num_px = bank.config, math.prod(bank.config.preprocessing.crop_px)
    config = before_deepening(config) if learnt_anew else config
    spot_px = min(round(TOP_SHARE * num_px), config.query.spot_px or num_px)
    found = {"turn": 0} if config.turn_found else {}
    return {**config.with_query(spot_px=spot_px).to_json(), **found}


def _equal(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    return torch.equal(one.cpu(), other.cpu())


def _first_difference(one: dict[str, Any], other: dict[str, Any], prefix: str = "") -> str | None:
    for name, value in one.items():
        if isinstance(value, dict):
            found = _first_difference(value, other[name], f"{name}.")
            if found is not None:
                return found
        elif value != other[name]:
            return f"{prefix}{name}: {value} and {other[name]}"
    return None


def _number_pictures(banks: Sequence[Bank]) -> list[list[int]]:
    """Number the different pictures of several banks, from 0: of each bank's, in order."""
    known: dict[str, int] = {}
    numbers: list[list[int]] = []
    count = 0
    for bank in banks:
        numbers.append([])
        for picture in bank.pictures:
            number = next((known[d] for d in sorted(picture.digests) if d in known), count)
            count += number == count
            known |= dict.fromkeys(picture.digests, number)
            numbers[-1].append(number)
    return numbers


def _firsts(numbers: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """Where each number stands first: which bank, and which picture of it."""
    first: dict[int, tuple[int, int]] = {}
    for i, of_bank in enumerate(numbers):
        for j, number in enumerate(of_bank):
            first.setdefault(number, (i, j))
    return list(first.values())


def _join_pictures(
    banks: Sequence[Bank], numbers: Sequence[Sequence[int]]
) -> tuple[NominalPicture, ...]:
    """Each picture once, and parts that share a picture are one."""
    order = _firsts(numbers)
    groups = list(range(len(order)))
    for bank, own in zip(banks, numbers, strict=True):
        alone = len(order)  # a picture of another bank: no part of this one's
        of_bank = [alone + i for i in range(len(order))]
        for number, picture in zip(own, bank.pictures, strict=True):
            of_bank[number] = picture.group
        groups = join_groups(groups, of_bank)
    return tuple(in_groups([banks[i].pictures[j] for i, j in order], groups))


def _mean_calibration(banks: Sequence[Bank]) -> Calibration:
    """Calibrations averaged, each as many times as its bank has pictures."""
    total = sum(len(bank.pictures) for bank in banks)
    shares = [len(bank.pictures) / total for bank in banks]
    factors = sum(
        (b.calibration.factors * s for b, s in zip(banks, shares, strict=True)), torch.zeros(())
    )
    place_share = sum(b.calibration.place_share * s for b, s in zip(banks, shares, strict=True))
    largest = max(banks, key=lambda bank: len(bank.pictures))
    return Calibration(factors, min(place_share, 1.0), largest.calibration.extents)


def _joined_light(largest: Bank, banks: Sequence[Bank]) -> Light | None:
    """The light of most pictures, in which that of the others is usual, too; None if one lacks."""
    lights = [bank.light for bank in banks if bank.light is not None]
    if largest.light is None or len(lights) < len(banks):
        return None
    return largest.light.widened(lights)


def _join_thumbnails(
    banks: Sequence[Bank], order: Sequence[tuple[int, int]]
) -> Sequence[bytes] | None:
    """The thumbnails of those pictures; None if a bank lacks them."""
    thumbnails = [bank.thumbnails for bank in banks if bank.thumbnails is not None]
    return Joined(thumbnails, order) if len(thumbnails) == len(banks) else None
