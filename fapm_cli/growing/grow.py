"""Growing: banks that take in new pictures, or one another, without the old pictures' files.

Thumbnails are the very pictures that the backbone saw. A bank that has them learns all of its
pictures anew, and is the bank that a build of all at once gives. One without them has only keys and
how far from them all else may lie: its new keys are picked among those and what is new.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from fapm_cli.bank.bank import Bank
from fapm_cli.bank.nominal_pictures import NominalPicture, in_groups
from fapm_cli.errors import PictureError
from fapm_cli.finding.folders import Unreadable
from fapm_cli.growing.anew import known_digests, learn_anew, with_pixels
from fapm_cli.growing.grown_memory import Candidates, grow_memory, keys_of, vectors_of
from fapm_cli.growing.named_parts import join_named
from fapm_cli.learning.batches import (
    NominalBatch,
    encode_passing,
    light_of,
    nominal_batches,
    unseen,
)
from fapm_cli.learning.extracting import extract
from fapm_cli.learning.learn import OnSuspects, program_versions
from fapm_cli.learning.nominal_response import OnStage, judged_by, nominal_response, own_scores
from fapm_cli.learning.scratch.workspace import IN_MEMORY, HeldThumbnails, Workspace
from fapm_cli.learning.turned import shown_with_copies
from fapm_cli.memory.vectors import patches_of
from fapm_cli.network.extraction import FeatureExtractor
from fapm_cli.network.loading import tapping
from fapm_cli.pictures.reading import Fitting, Item, PartOf
from fapm_cli.pictures.seen import Seen
from fapm_cli.scores.suspects import find_suspects
from fapm_cli.scores.thresholds import Thresholds


def add_pictures(
    bank: Bank,
    files: Sequence[tuple[Item, str]],
    extractor: FeatureExtractor,
    batch_size: int,
    workspace: Workspace = IN_MEMORY,
    *,
    part_of: PartOf | None = None,
    on_bad: Callable[[Unreadable], None] | None = None,
    on_known: Callable[[str], None] = lambda name: None,
    on_suspects: OnSuspects = lambda suspects, dropped: None,
    on_like: Callable[[Seen], None] = lambda like: None,
    on_stage: OnStage = lambda stage, done, total: None,
) -> Bank:
    """Extend a bank by pictures.

    Args:
        bank: any bank.
        files: each new picture, as :func:`build_from_files` takes them, and its name in the bank.
        extractor: the bank's backbone, on the device to work on.
        batch_size: pictures at a time.
        workspace: where what all pictures give is kept, if the bank has thumbnails.
        part_of: names the part that a picture shows, and those in the bank by their names there;
            None to find near twins in all of them, those in the bank as well if it has thumbnails.
        on_bad: told of each picture that can't be read, which is left out; None to raise.
        on_known: told the name of each picture that is in the bank already, in any encoding, and
            left out.
        on_suspects: told the names and robust z-scores of new pictures that look unlike the rest,
            most suspicious first; the rest are those in the bank as well if it has thumbnails.
        on_like: told what each new picture is like.
        on_stage: told (stage, done, total) as the work goes on.

    Returns:
        The grown bank. With thumbnails it is that of a build of all at once; else its pictures
        keep their scores, and only new ones are scored.

    Raises:
        BankError: the backbone is another, or a thumbnail is damaged.
        PictureError: a picture can't be read and ``on_bad`` is None, or none is new.
    """
    extractor = tapping(extractor, bank.config) or extractor
    bank.check_weights(extractor.weights_hash)
    bank = with_pixels(bank)
    encoded = None if bank.thumbnails is None else HeldThumbnails()
    likes: dict[str, Seen] = {}  # by the digest of each file
    roi = None if bank.roi is None else np.asarray(bank.roi)
    fitting = Fitting(bank.registration, roi=roi)
    batches = nominal_batches(files, bank.config, batch_size, on_bad, likes, part_of, fitting)
    fresh = encode_passing(unseen(batches, known_digests(bank), on_known), encoded)
    if bank.thumbnails is None or encoded is None:
        grown, suspects = _grow(bank, fresh, len(files), extractor, on_stage, part_of)
    else:
        pictures = _read(bank, fresh, len(files), on_stage, part_of)
        thumbnails = (*(bank.thumbnails or ()), *encoded)
        grown = replace(bank, memories=(), pictures=pictures, thumbnails=thumbnails)
        grown, suspects = learn_anew(
            grown, extractor, on_stage, workspace, find_twins=part_of is None
        )
    num_before = len(bank.pictures)
    new = grown.pictures[num_before:]
    on_suspects([(grown.pictures[i].name, z) for i, z in suspects if i >= num_before], False)
    for picture in new:
        on_like(likes[picture.sha256])
    seen = bank.seen and Seen.join([bank.seen, *(likes[picture.sha256] for picture in new)])
    return replace(grown, seen=seen, previous_thresholds=_with_own_scores(bank))


def _with_own_scores(bank: Bank) -> Thresholds:
    """A bank's thresholds with the scores that they were set by: once it grows its own are others,
    and p-values would contradict the verdicts that one can go back to.
    """
    thresholds, (scores, _) = bank.thresholds, own_scores(bank)
    if thresholds.scores is not None or thresholds.num_pictures != len(scores):
        return thresholds
    return replace(thresholds, scores=tuple(scores))


def _read(
    bank: Bank,
    fresh: Iterator[NominalBatch],
    capacity: int,
    on_stage: OnStage,
    part_of: PartOf | None,
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
    return _of_parts(pictures, groups, part_of)


def _of_parts(
    pictures: Sequence[NominalPicture], groups: Iterable[Hashable], part_of: PartOf | None
) -> tuple[NominalPicture, ...]:
    """Pictures of the parts that groups tell, and names, if these are to."""
    grouped = tuple(in_groups(pictures, groups))
    return grouped if part_of is None else join_named(grouped, part_of)


def _check_new(number: int) -> None:
    if number == 0:
        raise PictureError("nothing to add: no picture is new to the bank; it stays as it is")


def _grow(
    bank: Bank,
    fresh: Iterator[NominalBatch],
    capacity: int,
    extractor: FeatureExtractor,
    on_stage: OnStage,
    part_of: PartOf | None,
) -> tuple[Bank, list[tuple[int, float]]]:
    """Extend a bank without thumbnails, from its keys and the vectors of new pictures.

    Returns:
        As :func:`learn`; suspects are sought among the new ones alone.

    Raises:
        PictureError: none is new.
    """
    config, num_before = bank.config, len(bank.pictures)
    plain = replace(config, metric="plain")  # the bank's metrics stay
    extracted = extract(fresh, capacity, plain, extractor, on_stage)
    features, new_pictures = extracted.features, extracted.pictures
    _check_new(len(new_pictures))
    pictures = [*bank.pictures, *new_pictures]
    memories = []
    for j, vectors in enumerate(features):
        size = bank.map_sizes[j]
        several = [
            vectors_of(
                patches_of(part, 0, part.shape[0]), num_before, len(new_pictures), config, size
            )
            for part in (vectors, extracted.copies[j])
            if part.shape[1]
        ]
        new = [Candidates.join(parts) for parts in zip(*several, strict=True)]
        if extracted.judged is not None:
            shown = shown_with_copies(extracted.judged, config.turn, size, config.grid)
            new = [one.pick(of.nonzero().flatten()) for one, of in zip(new, shown, strict=True)]
        old = keys_of(bank.memories[j], vectors.device)
        both = [Candidates.join(parts) for parts in zip(old, new, strict=True)]
        of_each = vectors.shape[1] // len(new_pictures)
        num_vectors = len(pictures) * config.num_views * of_each
        grown_memory = grow_memory(both, num_vectors, config)
        memories.append(replace(grown_memory, metrics=bank.memories[j].metrics))
        on_stage("select", j + 1, len(features))
    groups = [(i >= num_before, picture.group) for i, picture in enumerate(pictures)]
    light = bank.light
    if light is not None:
        light = light.widened([light_of(extracted.pixels, bank.roi, extracted.seen)])
    grown = replace(
        bank,
        memories=tuple(memories),
        pictures=_of_parts(pictures, groups, part_of),
        versions=program_versions(),
        light=light,
    )
    response = nominal_response(grown, features, num_before, on_stage, shown=extracted.judged)
    parts = [picture.group for picture in grown.pictures[num_before:]]
    suspects = find_suspects(response.spots, response.levels, parts)
    return judged_by(response, grown, num_before), [(num_before + i, z) for i, z in suspects]
