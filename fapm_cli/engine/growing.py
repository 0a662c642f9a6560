"""Growing: banks that take in new pictures, or one another, without the old pictures' files.

Thumbnails are the very pictures that the backbone saw. A bank that has them learns all of its
pictures anew, and is the bank that a build of all at once gives. One without them has only keys and
how far from them all else may lie: its new keys are picked among those and what is new.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from fapm_cli.bank import Bank, nominal_picture
from fapm_cli.calibration import Calibration
from fapm_cli.engine.builder import (
    NominalBatch,
    PartOf,
    encode_passing,
    extract,
    learn,
    nominal_batches,
    program_versions,
    unseen,
)
from fapm_cli.engine.candidates import Candidates, distinct, grow_memory, keys_of, vectors_of
from fapm_cli.engine.detector import check_weights
from fapm_cli.engine.nominal import OnStage, anew, calibrate
from fapm_cli.engine.reading import Item
from fapm_cli.errors import BankError, PictureError
from fapm_cli.extraction import FeatureExtractor
from fapm_cli.finding import Unreadable
from fapm_cli.nominal_pictures import NominalPicture, in_groups
from fapm_cli.plan import Ranges
from fapm_cli.seen import Seen
from fapm_cli.twins import Looks, join_groups, look_at, twin_groups

_AT_A_TIME = 16


def add_pictures(
    bank: Bank,
    files: Sequence[tuple[Item, str]],
    extractor: FeatureExtractor,
    batch_size: int,
    *,
    part_of: PartOf | None = None,
    on_bad: Callable[[Unreadable], None] | None = None,
    on_known: Callable[[str], None] = lambda name: None,
    on_stage: OnStage = lambda stage, done, total: None,
) -> Bank:
    """Extend a bank by pictures.

    Args:
        bank: any bank.
        files: each new picture, as :func:`build_from_files` takes them, and its name in the bank.
        extractor: the bank's backbone, on the device to work on.
        batch_size: pictures at a time.
        part_of: names the part that a new picture shows; None to find near twins in all of them,
            those in the bank as well if it has thumbnails.
        on_bad: told of each picture that can't be read, which is left out; None to raise.
        on_known: told the name of each picture that is in the bank already, in any encoding, and
            left out.
        on_stage: told (stage, done, total) as the work goes on.

    Returns:
        The grown bank. With thumbnails it is that of a build of all at once; else its pictures
        keep their scores, and only new ones are scored.

    Raises:
        BankError: the backbone is another, or a thumbnail is damaged.
        PictureError: a picture can't be read and ``on_bad`` is None, or none is new.
    """
    check_weights(bank, extractor)
    bank = with_pixels(bank)
    encoded: list[bytes] | None = None if bank.thumbnails is None else []
    likes: dict[str, Seen] = {}
    batches = nominal_batches(files, bank.config, batch_size, on_bad, likes, part_of)
    fresh = encode_passing(unseen(batches, known_digests(bank), on_known), encoded)
    if bank.thumbnails is None or encoded is None:
        grown = _grow(bank, fresh, len(files), extractor, on_stage)
    else:
        pictures = _read(bank, fresh, len(files), on_stage)
        thumbnails = bank.thumbnails + tuple(encoded)
        grown = replace(bank, memories=(), pictures=pictures, thumbnails=thumbnails)
        grown = _learn_anew(grown, extractor, on_stage, find_twins=part_of is None)
    new = grown.pictures[len(bank.pictures) :]
    seen = bank.seen and Seen.join([bank.seen, *(likes[picture.name] for picture in new)])
    return replace(grown, seen=seen, previous_thresholds=bank.thresholds)


def _read(
    bank: Bank, fresh: Iterator[NominalBatch], capacity: int, on_stage: OnStage
) -> tuple[NominalPicture, ...]:
    """A bank's pictures and new ones behind them, each of the part that it is said to show.

    Raises:
        PictureError: none is new.
    """
    pictures = [*bank.pictures]
    groups: list[tuple[bool, Hashable]] = [(False, picture.group) for picture in pictures]
    for batch in fresh:
        numbers = range(len(pictures), len(pictures) + len(batch.names))
        groups += [(True, part) for part in batch.parts or numbers]
        pictures += batch.pictures
        on_stage("read", len(pictures) - len(bank.pictures), capacity)
    _check_new(len(pictures) - len(bank.pictures))
    return tuple(in_groups(pictures, groups))


def _check_new(number: int) -> None:
    if number == 0:
        raise PictureError("nothing to add: no picture is new to the bank; it stays as it is")


def _grow(
    bank: Bank,
    fresh: Iterator[NominalBatch],
    capacity: int,
    extractor: FeatureExtractor,
    on_stage: OnStage,
) -> Bank:
    """Extend a bank without thumbnails, from its keys and the vectors of new pictures.

    Raises:
        PictureError: none is new.
    """
    config, num_before = bank.config, len(bank.pictures)
    features, new_pictures = extract(fresh, capacity, config, extractor, on_stage)
    _check_new(len(new_pictures))
    pictures = [*bank.pictures, *new_pictures]
    memories = []
    for j, vectors in enumerate(features):
        old = keys_of(bank.memories[j], vectors.device)
        new = vectors_of(vectors, num_before, len(new_pictures), config, bank.map_sizes[j])
        both = [Candidates.join(pair) for pair in zip(old, new, strict=True)]
        num_vectors = len(pictures) * (vectors.shape[1] // len(new_pictures))
        memories.append(grow_memory(both, num_vectors, config))
        on_stage("select", j + 1, len(features))
    groups = [(i >= num_before, picture.group) for i, picture in enumerate(pictures)]
    grown = replace(
        bank,
        memories=tuple(memories),
        pictures=tuple(in_groups(pictures, groups)),
        ranges=_join_ranges([bank.ranges, extractor.ranges]),
        versions=program_versions(),
    )
    return calibrate(grown, features, num_before, on_stage)


def merge_banks(
    banks: Sequence[Bank],
    extractor: FeatureExtractor,
    on_stage: OnStage = lambda stage, done, total: None,
) -> Bank:
    """Join banks of one configuration; a picture that is in several, as any file, counts once.

    Args:
        banks: at least one, of equal configuration and backbone.
        extractor: their backbone, on the device to work on.
        on_stage: told (stage, done, total) as the work goes on.

    Returns:
        The joined bank. If all have thumbnails, it is that of a build of all pictures at once;
        else it has none, the pictures keep their scores, and calibrations are averaged.

    Raises:
        BankError: the banks differ, the backbone is another, or a thumbnail is damaged.
    """
    first, seen = banks[0], [bank.seen for bank in banks if bank.seen is not None]
    for bank in banks[1:]:
        differs = difference(first, bank)
        if differs is not None:
            raise BankError(f"banks differ in {differs}; only banks built alike can be merged")
    check_weights(first, extractor)
    banks = [with_pixels(bank) for bank in banks]
    numbers = _number_pictures(banks)
    order = _firsts(numbers)
    merged = replace(
        first,
        memories=(),
        calibration=_mean_calibration(banks),
        pictures=_join_pictures(banks, numbers),
        backbone=next((bank.backbone for bank in banks if bank.backbone is not None), None),
        thumbnails=_join_thumbnails(banks, order),
        ranges=_join_ranges([bank.ranges for bank in banks]),
        versions=program_versions(),
        seen=Seen.join(seen) if len(seen) == len(banks) else None,
        previous_thresholds=None,
    )
    if merged.thumbnails is not None:
        return _learn_anew(merged, extractor, on_stage)
    memories = []
    for j, (h, w) in enumerate(first.map_sizes):
        per_bank = [
            keys_of(bank.memories[j], extractor.mean.device, torch.tensor(own, dtype=torch.int32))
            for bank, own in zip(banks, numbers, strict=True)
        ]
        patches = [distinct(Candidates.join(parts)) for parts in zip(*per_bank, strict=True)]
        num_vectors = len(order) * (h * w // len(patches))
        memories.append(grow_memory(patches, num_vectors, first.config))
        on_stage("select", j + 1, len(first.map_sizes))
    return replace(merged, memories=tuple(memories), thresholds=anew(merged))


def without_keys(banks: Sequence[Bank]) -> list[Bank]:
    """Banks to grow, without their keys if all have thumbnails: all is then learnt anew."""
    if any(bank.thumbnails is None for bank in banks):
        return list(banks)
    return [replace(bank, memories=()) for bank in banks]


def _learn_anew(
    bank: Bank, extractor: FeatureExtractor, on_stage: OnStage, *, find_twins: bool = True
) -> Bank:
    """Learn the pictures of a bank from its thumbnails, as a build learns them.

    With ``find_twins``, near twins among them become shots of one part.

    Raises:
        BankError: a thumbnail is damaged.
    """
    batches = _thumbnail_batches(bank)
    features, seen = extract(batches, len(bank.pictures), bank.config, extractor, on_stage)
    pictures = bank.pictures
    if find_twins:
        groups = join_groups([p.group for p in pictures], [p.group for p in seen])
        pictures = tuple(in_groups(pictures, groups))
    versions = program_versions()
    bank = replace(bank, pictures=pictures, ranges=extractor.ranges, versions=versions)
    return learn(bank, features, on_stage)[0]


def difference(one: Bank, other: Bank) -> str | None:
    """Name the first thing in which two banks differ so that they can't be merged, with values."""
    found = _first_difference(one.config.to_json(), other.config.to_json())
    if found is None and one.weights_hash != other.weights_hash:
        found = f"the backbone's weights: {one.weights_hash[:12]}… and {other.weights_hash[:12]}…"
    if found is None and not _equal(one.roi, other.roi):
        found = "the region of interest"
    return found


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


def _thumbnail_batches(bank: Bank) -> Iterator[NominalBatch]:
    for numbers in torch.split(torch.arange(len(bank.pictures)), _AT_A_TIME):
        shown = (nominal_picture(bank, int(i)) for i in numbers)
        pixels = torch.stack([torch.from_numpy(one) for one in shown if one is not None])
        some = [bank.pictures[int(i)] for i in numbers]
        yield NominalBatch(pixels, [p.name for p in some], [p.sha256 for p in some])


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
    return Calibration(factors, min(place_share, 1.0))


def _join_ranges(ranges: Sequence[Ranges]) -> Ranges:
    """Ranges that hold all of several."""
    joined = dict(ranges[0])
    for one in ranges[1:]:
        for name, (low, high) in one.items():
            before = joined.get(name, (0.0, 0.0))
            joined[name] = (min(low, before[0]), max(high, before[1]))
    return joined


def _join_thumbnails(
    banks: Sequence[Bank], order: Sequence[tuple[int, int]]
) -> tuple[bytes, ...] | None:
    """The thumbnails of those pictures; None if a bank lacks them."""
    thumbnails = [bank.thumbnails for bank in banks if bank.thumbnails is not None]
    return tuple(thumbnails[i][j] for i, j in order) if len(thumbnails) == len(banks) else None
