"""What a bank's thumbnails allow: to learn all of its pictures anew, and to compare with them."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import torch

from fapm_cli.bank.bank import Bank, nominal_picture
from fapm_cli.bank.nominal_pictures import in_groups
from fapm_cli.bank.thumbnails import decode_thumbnail
from fapm_cli.errors import BankError
from fapm_cli.learning.batches import NominalBatch
from fapm_cli.learning.choosing.deep_layer import before_deepening
from fapm_cli.learning.extracting import extract
from fapm_cli.learning.learn import learn, program_versions
from fapm_cli.learning.nominal_response import OnStage
from fapm_cli.learning.scratch.workspace import IN_MEMORY, Workspace
from fapm_cli.learning.turned import with_turn
from fapm_cli.learning.twins import Looks, join_groups, look_at, twin_groups
from fapm_cli.network.extraction import FeatureExtractor
from fapm_cli.network.loading import tapping
from fapm_cli.pictures.preparing import Pixels

_AT_A_TIME, _AT_A_TIME_PX = 16, 2**25


def without_keys(banks: Sequence[Bank]) -> list[Bank]:
    """Banks to grow, without their keys if all have thumbnails: all is then learnt anew."""
    return [replace(bank, memories=()) for bank in banks] if all_shown(banks) else list(banks)


def all_shown(banks: Sequence[Bank]) -> bool:
    """Whether all banks have thumbnails: a merge then learns all of their pictures anew."""
    return all(bank.thumbnails is not None for bank in banks)


def learn_anew(
    bank: Bank,
    extractor: FeatureExtractor,
    on_stage: OnStage,
    workspace: Workspace = IN_MEMORY,
    *,
    find_twins: bool = True,
) -> tuple[Bank, list[tuple[int, float]]]:
    """Learn the pictures of a bank from its thumbnails, as a build learns them.

    What all of them give lies in the workspace. With ``find_twins``, near twins among them become
    shots of one part.

    Returns:
        As :func:`learn`.

    Raises:
        BankError: a thumbnail is damaged.
    """
    count = len(bank.pictures)
    config = with_turn(bank.config, count, functools.partial(_shown, bank))
    bank, extractor = _before_choosing(replace(bank, config=config), extractor)
    batches = _thumbnail_batches(bank)
    extracted = extract(batches, count, bank.config, extractor, on_stage, bank.roi, workspace)
    pictures = bank.pictures
    if find_twins:
        groups = join_groups([p.group for p in pictures], [p.group for p in extracted.pictures])
        pictures = tuple(in_groups(pictures, groups))
    versions = program_versions()
    bank = replace(bank, pictures=pictures, versions=versions)
    return learn(bank, extracted, on_stage, extractor)


def _before_choosing(bank: Bank, extractor: FeatureExtractor) -> tuple[Bank, FeatureExtractor]:
    """A bank whose layers are yet to be found, and what taps those that it begins with."""
    config = before_deepening(bank.config)
    if config == bank.config:
        return bank, extractor
    shallow = tapping(extractor, config)
    if shallow is None:
        raise BankError(f"damaged bank: no build finds the layers {', '.join(bank.config.layers)}")
    bank = replace(
        bank,
        config=config,
        map_sizes=tuple((height, width) for _, height, width in shallow.map_shapes),
        weights_hash=shallow.weights_hash,
        backbone=None if bank.backbone is None else dict(shallow.stages.state_dict()),
    )
    return bank, shallow


def _shown(bank: Bank, numbers: Iterable[int]) -> Iterator[Pixels]:
    """Some of a bank's pictures, which has thumbnails."""
    shown = (nominal_picture(bank, number) for number in numbers)
    return (pixels for pixels in shown if pixels is not None)


def _thumbnail_batches(bank: Bank) -> Iterator[NominalBatch]:
    thumbnails, size_px = bank.thumbnails or (), bank.config.preprocessing.crop_px
    at_a_time = min(max(_AT_A_TIME_PX // math.prod(size_px), 1), _AT_A_TIME)
    for first in range(0, len(thumbnails), at_a_time):
        some = slice(first, first + at_a_time)
        decoded = [torch.from_numpy(decode_thumbnail(one, size_px)) for one in thumbnails[some]]
        seen = None
        if bank.registration is not None:
            seen = torch.stack([(one[..., 3:] > 0).all(dim=2) for one in decoded])
        names, digests = zip(*((p.name, p.sha256) for p in bank.pictures[some]), strict=True)
        yield NominalBatch(
            torch.stack([one[..., :3] for one in decoded]), names, digests, seen=seen
        )


def known_digests(bank: Bank) -> set[str]:
    """What tells that a picture is in a bank."""
    return set().union(*(picture.digests for picture in bank.pictures))


def with_pixels(bank: Bank) -> Bank:
    """A bank that knows the px' digests of its pictures, if it has thumbnails.

    Raises:
        BankError: a thumbnail is damaged.
    """
    if bank.thumbnails is None or all(picture.pixels for picture in bank.pictures):
        return bank
    seen = (picture for batch in _thumbnail_batches(bank) for picture in batch.pictures)
    pictures = tuple(
        replace(picture, pixels=one.pixels)
        for picture, one in zip(bank.pictures, seen, strict=True)
    )
    return replace(bank, pictures=pictures)


def fresh_groups(bank: Bank, looks: Looks) -> list[int | None]:
    """Number the parts that fresh pictures show; None for near twins of what is in the bank.

    What a bank without thumbnails holds can't be compared with.

    Raises:
        BankError: a thumbnail is damaged.
    """
    if bank.thumbnails is None:
        return [*twin_groups(looks)]
    own = [look_at(batch.pixels) for batch in _thumbnail_batches(bank)]
    groups = twin_groups(Looks.join([*own, looks]))
    known = set(groups[: len(bank.pictures)])
    return [None if group in known else group for group in groups[len(bank.pictures) :]]
